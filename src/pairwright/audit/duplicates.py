"""Winners that are there more than once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pairwright.audit.findings import Finding

NEAR = 6
"""Bits of 64 in which the difference hashes of two pictures may differ that count as nearly the same."""
EXAMPLES = 3
_BLOCK = 1024


def findings(ids: Sequence[str], digests: Sequence[str], codes: Sequence[int], photographs: Sequence[str]) -> list[Finding]:
    """Exact and near duplicates among the winners, and views of one photograph.

    Args:
        ids: of the pairs.
        digests: of the winners' pixels.
        codes: of the winners, see :func:`pairwright.duplicates.dhash`.
        photographs: what a winner is a view of; ``""`` where that is not known.
    """
    known = [
        f"photograph {photograph}" if photograph else f"pair {name}" for name, photograph in zip(ids, photographs, strict=True)
    ]
    near = [
        (ids[one], ids[other]) for one, other in close(codes, NEAR) if digests[one] != digests[other] and known[one] != known[other]
    ]
    views = _groups(ids, known)
    return [_copies(_groups(ids, digests)), _alike(near), *([_views(views)] if views else [])]


def _copies(groups: Sequence[Sequence[str]]) -> Finding:
    if not groups:
        return Finding("duplicates", "ok", "no winner is there twice.")
    copies = sum(len(each) - 1 for each in groups)
    said = f"{copies} winners are copies, pixel for pixel, of others."
    advice = "Keep one of each: a copy makes its pair weigh twice, and a comparison counts it as evidence of its own."
    examples = tuple(" = ".join(each) for each in groups[:EXAMPLES])
    return Finding("duplicates", "problem", said, advice, {"copies": copies, "groups": len(groups)}, examples)


def _alike(near: Sequence[tuple[str, str]]) -> Finding:
    if not near:
        return Finding("near duplicates", "ok", "no two winners look nearly the same.")
    involved = len({name for pair in near for name in pair})
    said = f"{involved} winners look nearly like another one ({NEAR} of 64 bits of a difference hash or fewer differ)."
    advice = "Look at them (pairwright pairs): the same scene again, or an edited copy, is best vetoed."
    examples = tuple(" ~ ".join(pair) for pair in near[:EXAMPLES])
    return Finding("near duplicates", "note", said, advice, {"winners": involved, "pairs": len(near)}, examples)


def _views(views: Sequence[Sequence[str]]) -> Finding:
    said = f"{sum(map(len, views))} pairs show {len(views)} photographs from several views."
    advice = "They are not independent: split by photograph and not by pair where you hold some back."
    return Finding("views", "note", said, advice, {"photographs": len(views)})


def _groups(ids: Sequence[str], keys: Sequence[str]) -> list[list[str]]:
    """Those that share a key, where more than one does."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, key in zip(ids, keys, strict=True):
        found[key].append(name)
    return [each for each in found.values() if len(each) > 1]


def close(codes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Places of all pairs of 64-bit codes that differ in at most ``most`` bits, the smaller place first."""
    values = np.array(codes, dtype=np.uint64)
    found: list[tuple[int, int]] = []
    for start in range(0, len(values), _BLOCK):
        differing = np.bitwise_count(values[start : start + _BLOCK, None] ^ values[None, start:])
        rows, columns = np.nonzero(differing <= most)
        found += [(start + int(row), start + int(column)) for row, column in zip(rows, columns, strict=True) if row < column]
    return found
