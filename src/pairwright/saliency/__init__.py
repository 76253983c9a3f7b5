"""Saliency: what finds the region that a viewer looks at. One file per model."""
