"""The mark of errors that explain themselves."""


class Explained(Exception):  # noqa: N818 - a mark that errors carry, not an error of its own
    """An error that a user can mend: its message names the file or field and says what to do.

    The command line shows such an error as its message alone. Everything else is a fault of ours and is shown with its
    traceback.
    """
