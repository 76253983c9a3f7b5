"""Instructors: what to change in a picture, in words. One file per instructor."""
