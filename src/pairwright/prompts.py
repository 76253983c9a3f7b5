"""Prompts from files: ``.txt`` (one per line), ``.jsonl``, ``.csv`` and ``.tsv`` (with a header line).

A record's prompt is its column ``prompt``, ``text`` or ``caption``, its category ``category`` or ``style``, in whatever case,
so the files of PartiPrompts, DrawBench and HPDv2 are read as they are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pairwright import rowfiles, seeds, weights
from pairwright.errors import Explained
from pairwright.records import Prompt

TEXT_COLUMNS = ("prompt", "text", "caption")
CATEGORY_COLUMNS = ("category", "style")
SUFFIXES = (".txt", *rowfiles.SUFFIXES)


class PromptError(Explained, ValueError):
    """Prompts that cannot be had; the message names the file."""


def load(name: str, *, limit: int | None = None, seed: int = 0) -> list[Prompt]:
    """The prompts of a file, in its order.

    Each has an id that its text decides (and, for a text that comes again, how often it came before), so that pictures
    made for it stay valid when the file is sorted or grows.

    Args:
        name: path of the file; ``tiny:prompts.txt`` are those that come with the package.
        limit: at most so many. Which ones, the seed and each prompt's own id decide; they stay in order.
        seed: of that choice.

    Raises:
        PromptError: no such file, an unknown kind of file, or no prompt in it.
        RowError: a malformed line, or one without a prompt; names file and line.
    """
    prompts = list(_identified(_read(_locate(name))))
    if not prompts:
        raise PromptError(f"{name} holds no prompts")
    if limit is None or limit >= len(prompts):
        return prompts
    drawn = {each.id for each in sorted(prompts, key=lambda each: seeds.key(seed, "prompts", each.id))[:limit]}
    return [each for each in prompts if each.id in drawn]


def _locate(name: str) -> Path:
    path = weights.tiny(name)
    if not path.is_file():
        raise PromptError(f"There is no prompt file {name!r} (looked for {path.absolute()}).")
    if path.suffix.lower() not in SUFFIXES:
        raise PromptError(f"{path}: prompts are read from {', '.join(SUFFIXES)}.")
    return path


def _read(path: Path) -> Iterator[Prompt]:
    if path.suffix.lower() == ".txt":
        yield from (Prompt(line) for _, line in rowfiles.lines(path))
        return
    for row in rowfiles.read(path):
        text = row.text(TEXT_COLUMNS)
        if not text:
            raise row.error(f"no text in {', '.join(TEXT_COLUMNS)}; its columns: {', '.join(row.values) or 'none'}")
        yield Prompt(text, category=row.text(CATEGORY_COLUMNS))


def _identified(prompts: Iterator[Prompt]) -> Iterator[Prompt]:
    seen: Counter[str] = Counter()
    for each in prompts:
        digest = hashlib.sha256(f"{each.text}\n{seen[each.text]}".encode()).hexdigest()
        seen[each.text] += 1
        yield Prompt(each.text, digest[:16], each.category)
