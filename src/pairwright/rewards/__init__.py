"""Rewards: what scores pictures. One file per scorer; files that start with ``_`` hold what several of them share."""
