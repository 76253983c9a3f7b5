"""Plug-ins without weights, loaded by their dotted names: what they do is plain enough to work out by hand."""
