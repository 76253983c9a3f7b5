"""Perturbations: what makes the loser of a pair out of a photograph. One file per method."""
