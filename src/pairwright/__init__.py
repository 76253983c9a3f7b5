"""Preference pairs without human labels, aligned text-to-image models, and honest measurements.

The package is imported lazily on purpose: ``import pairwright`` costs nothing, and neither ``--help``
nor the validation of a recipe imports torch.
"""

__version__ = "0.1.0"
