"""Measurements that the project stands by: what was run, on what, and what came out. See ``README.md``."""
