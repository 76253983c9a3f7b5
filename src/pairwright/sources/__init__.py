"""Shelf: where found pictures come from. One file per kind of collection; see ``protocols.Source``."""
