"""Pairs as data sets for other programs; each form is a folder, written whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pairwright import images, pairsets
from pairwright.errors import Explained
from pairwright.export.pair_formats import WRITERS
from pairwright.export.pairs_card import card
from pairwright.options import ExportPairs, PairFormat
from pairwright.pairsets import PairSet
from pairwright.progress import SILENT, Progress, Task
from pairwright.records import Pair
from pairwright.store import replace_folder, write_text

CARD = "README.md"


class PairsExportError(Explained, ValueError):
    """Pairs that cannot be written as asked; the message says why and what to do."""


def export_pairs(
    name: str,
    formats: Sequence[PairFormat],
    out: Path | None = None,
    chosen: ExportPairs | None = None,
    *,
    replace: bool = False,
    progress: Progress = SILENT,
) -> list[Path]:
    """Write pairs.

    Args:
        name: ``runs/<run>/<step>``, a result's folder in the store, or Parquet files of pairs.
        formats: ``parquet``, ``pickapic``, ``trl``, ``csv``, ``folders``.
        out: a folder, one folder in it for each form. Default: ``exports/<run>-<step>``.
        chosen: what the card says.
        replace: overwrite what is there.
        progress: told how far it is.

    Returns:
        What was written, the card last.

    Raises:
        PairsExportError: something is there already, or no picture can be read.
        PairSetError: there are no such pairs.
    """
    chosen = chosen or ExportPairs()
    forms = list(dict.fromkeys(formats))
    if not forms:
        raise PairsExportError(f"no format was named; give --as with {', '.join(WRITERS)}")
    found = pairsets.find(name)
    label = re.sub(r"[^\w.-]+", "-", "-".join(Path(found.name).parts[-2:])).strip("-.") or "pairs"
    folder = out or Path("exports") / label
    places = [*(folder / form for form in forms), folder / CARD]
    there = [str(path) for path in places if path.exists()]
    if there and not replace:
        raise PairsExportError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already; give --replace True to overwrite"
        )
    reader = _Reader(found)
    for form in forms:
        with progress.task(f"export {form}", len(found.outlines)) as task:
            replace_folder(folder / form, lambda path, form=form, task=task: WRITERS[form](path, reader.pairs(task), reader.total))  # type: ignore[misc]
    for pair, reason in reader.damaged.items():
        progress.say(f"  left out: {pair}: {reason}")
    write_text(folder / CARD, card(found, chosen, forms, chosen.title or label, len(reader.damaged)))
    return places


@dataclass
class _Reader:
    """Reads the pairs for each form anew."""

    found: PairSet
    damaged: dict[str, str] = field(default_factory=dict)
    """Why, by pair."""

    @property
    def total(self) -> int:
        """At most so many."""
        return len(self.found.outlines)

    def pairs(self, task: Task) -> Iterator[Pair]:
        """Those whose pictures can be read."""
        for outline, pair in self.found:
            if isinstance(pair, images.ImageError):
                self.damaged[outline.id] = str(pair)
            else:
                yield pair
            task.advance()
        if len(self.damaged) == self.total:  # before an empty folder is put in place
            why = next(iter(self.damaged.values()), "it is empty")
            raise PairsExportError(f"{self.found.name} has no pair whose pictures can be read: {why}")
