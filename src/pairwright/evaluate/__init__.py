"""Scores of pictures, and what they say about the models that made them.

:func:`score` makes a table per model and reward; :func:`compare` pairs the models picture by picture. Pictures from anywhere
else are scored by :func:`score_collection`.
"""

from pairwright.evaluate.across import compare_runs
from pairwright.evaluate.compare import compare
from pairwright.evaluate.folder import check_format, export, outline, score_collection, summary
from pairwright.evaluate.score import score
from pairwright.evaluate.sweeps import table_of

__all__ = ["check_format", "compare", "compare_runs", "export", "outline", "score", "score_collection", "summary", "table_of"]
