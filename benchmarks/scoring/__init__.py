"""How fast pictures are scored, against the way published scripts do it."""
