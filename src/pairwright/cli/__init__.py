"""The command line: one command per verb. Heavy imports come after the arguments are understood.

Arguments are tyro's, made from the typed options, so that every field of every verb can be set and has its meaning in
``--help``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys

import tyro

from pairwright import __version__, ranks
from pairwright.cli.arguments import app, registry, spelled
from pairwright.errors import Explained

# The verbs register themselves, in the order in which --help lists them.
# isort: off
from pairwright.cli import steps, exports, studies, looking  # noqa: F401
# isort: on

_DESCRIPTION = "Preference pairs without labels, aligned text-to-image models, and whether it helped."
_CONFIG = (tyro.conf.FlagConversionOff,)
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What the user's disk has to say is no fault of ours."""


def call(words: list[str]) -> None:
    """Do what the words of a command line say."""
    app.cli(args=spelled(words), prog="pairwright", description=_DESCRIPTION, registry=registry, config=_CONFIG)


def main() -> None:
    """Entry point. Errors that explain themselves are one message, without a traceback."""
    if sys.argv[1:] == ["--version"]:
        print(f"pairwright {__version__}")
        return
    try:
        shared = sys.argv[1:2] == ["score"] and "--run" not in sys.argv  # every process scores its share
        with contextlib.nullcontext() if shared else ranks.together():
            if shared or ranks.rank() == 0:
                call(sys.argv[1:])
            else:
                from pairwright import train

                train.follow()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; what was computed is kept: run the same command again to go on")
    except Explained as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # `pairwright plan x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        sys.exit(f"error: {error.strerror}: {error.filename or 'the disk'}; what was computed is kept: mend it and run again")
