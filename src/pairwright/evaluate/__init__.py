"""Scores of generated pictures, and what they say about the models that made them.

:func:`score` makes a table per model and reward; :func:`compare` pairs the models picture by picture.
"""

from pairwright.evaluate.compare import compare
from pairwright.evaluate.score import score

__all__ = ["compare", "score"]
