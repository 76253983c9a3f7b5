"""Critics: what is wrong with a picture for its prompt. One file per critic; those that start with ``_`` are shared."""
