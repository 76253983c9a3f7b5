"""Two readings of one scorer: whether they are the same, and what has changed between them, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import pstdev

from pairwright.doctor.probes import Seen
from pairwright.wording import number

SPREAD = {"": 1e-6, "float32": 1e-3, "bfloat16": 0.05, "float16": 0.05}
"""Which part of the scores' own spread over the pictures a difference may have: what is below changes no ranking."""
STEP = {"": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Between neighbouring numbers of a format, relative: a score that went through it is known no better."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a scorer's second reading."""

    text: str
    wrong: str = ""
    """What the difference comes from, where there is one that counts."""


@dataclass(frozen=True)
class _Largest:
    """The largest difference, by how often it holds the tolerance."""

    column: str = ""
    difference: float = 0.0
    tolerance: float = 0.0
    why: str = ""
    lost: int = 0
    """Pictures that had a score in one of the readings only."""

    @property
    def counts(self) -> bool:
        return self.lost > 0 or self.difference > self.tolerance

    @property
    def said(self) -> str:
        if not self.column:
            return "nothing could be scored, then as now"
        if not self.difference:
            return "the same to the last digit"
        allowed = f"tolerance {number(self.tolerance, digits=2)}: {self.why}"
        return f"largest difference {number(self.difference, digits=2)} in {self.column}; {allowed}"


def comparable(first: Seen, now: Seen) -> bool:
    """Whether both are about the same pictures, prompts and columns."""
    return first.probe == now.probe and first.scores.keys() == now.scores.keys()


def compare(first: Seen, now: Seen, source: str) -> Verdict:
    """What has become of a scorer's numbers.

    Args:
        first: the reading that counts.
        now: today's.
        source: how the first one is called in the sentence: ``first seen on 2026-11-25``.
    """
    if not comparable(first, now):
        return Verdict(f"{source} with other pictures or columns: there is nothing to compare")
    largest = _largest(first, now)
    replaced, others = list(_replaced(first, now)), list(_changed(first, now))
    if not largest.counts and not replaced:
        since = f"; although {'; '.join(others)}" if others else ""
        return Verdict(f"as {source} ({largest.said}{since})")
    lost = f"{largest.lost} of {len(next(iter(now.scores.values())))} pictures had a score in one of the two readings only; "
    text = f"{'not as' if largest.counts else 'within tolerance as'} {source}: {lost if largest.lost else ''}{largest.said}"
    causes = [*replaced, *others]
    unknown = "same files, versions and hardware: such a scorer does not repeat itself"
    return Verdict(text, "; ".join(causes) or unknown)


def tolerance(values: Sequence[float], dtype: str) -> tuple[float, str]:
    """How far a score may move without a cause, and why.

    Args:
        values: the scores of several pictures.
        dtype: number format of the network.
    """
    step = STEP[dtype] * max((abs(value) for value in values), default=0.0)
    part = SPREAD[dtype] * pstdev(values) if len(values) > 1 else 0.0
    if part > step:
        return part, f"{SPREAD[dtype]:.4g} of the spread over the pictures"
    return step, f"one step of {dtype or 'float64'} at such scores"


def _largest(first: Seen, now: Seen) -> _Largest:
    found = _Largest()
    lost: set[int] = set()
    for column, before in first.scores.items():
        pairs = list(zip(before, now.scores[column], strict=True))
        lost |= {place for place, (one, other) in enumerate(pairs) if (one is None) is not (other is None)}
        both = [(one, other) for one, other in pairs if one is not None and other is not None]
        if not both:
            continue
        allowed, why = tolerance([one for one, _ in both], now.dtype)
        difference = max(abs(one - other) for one, other in both)
        if not found.column or difference * found.tolerance > found.difference * allowed:
            found = _Largest(column, difference, allowed, why)
    return _Largest(found.column, found.difference, found.tolerance, found.why, len(lost))


def _replaced(first: Seen, now: Seen) -> Iterator[str]:
    """Weights and what belongs to them that are others now."""
    for option, name in first.names.items():
        other = now.names.get(option, "none")
        if other != name:
            yield f"another {option}: {name} -> {other}"
            continue
        files = [each for each in first.files if each.startswith(f"{option}/") and now.files.get(each) != first.files[each]]
        if files:
            before, after = (each.revisions.get(option, "") for each in (first, now))
            moved = f"revision {before[:12]} -> {after[:12]}" if before != after else "the same revision, other content"
            said = moved if after else "other content"
            yield f"silently updated weights of {name}: {said} ({', '.join(each.partition('/')[2] for each in files)})"


def _changed(first: Seen, now: Seen) -> Iterator[str]:
    """What else is not as it was."""
    versions = [
        f"{name} {first.versions.get(name, 'none')} -> {version}"
        for name, version in now.versions.items()
        if first.versions.get(name) != version
    ]
    if versions:
        yield f"other library version{'s' if len(versions) > 1 else ''}: {', '.join(versions)}"
    if first.device != now.device:
        yield f"other hardware: {first.device} -> {now.device}"
    if first.dtype != now.dtype:
        yield f"other number format: {first.dtype or 'none'} -> {now.dtype or 'none'}"
