"""``pairwright pairs``: a page on this machine to look at pairs, one at a time, and to veto what should not be trained on."""

from pairwright.report.gallery.server import Gallery, serve

__all__ = ["Gallery", "serve"]
