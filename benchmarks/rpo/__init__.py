"""Whether edits by rich feedback teach more than random pairs of samples: see PROTOCOL.md."""
