"""Critics: what is wrong with a picture for its prompt. One file per critic; files that start with ``_`` hold what several share."""
