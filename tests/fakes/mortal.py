"""As ``dye``, but the first worker that paints dies of it (SIGKILL), in the middle of a shard, where nobody has died yet."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from pairwright.records import Edit, Edited, Failed
from tests.fakes.dye import Dye


class Mortal(Dye):
    def __init__(self, mark: Path, after: int) -> None:
        super().__init__(1.0)
        self.mark, self.left = mark, after

    def edit(self, edits: Sequence[Edit]) -> Sequence[Edited | Failed]:
        self.left -= 1
        if self.left < 0 and not self.mark.exists():
            if self.mark.parent.is_dir():
                self.mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().edit(edits)


def load(*, mark: Path, after: int = 3) -> Mortal:
    """``mark`` is there once somebody has died; ``after`` so many batches. Where its folder is not there, everybody dies."""
    return Mortal(mark, after)
