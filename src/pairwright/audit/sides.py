"""Pairs that prefer nothing, or the wrong side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairwright.audit.findings import Finding

EXAMPLES = 3
_LEAST = "Ask for a least gap: gap = { reward = ..., at_least = ... } in curate."
_SCORE = "Negligible degradations teach noise: score both sides, in curate with gap = { reward = ..., at_least = ... }."


def same(ids: Sequence[str], winners: Sequence[str], losers: Sequence[str]) -> Finding:
    """Pairs whose two sides have the same pixels (given by their digests): they teach nothing, and weigh as much as others."""
    same = [name for name, one, other in zip(ids, winners, losers, strict=True) if one == other]
    if not same:
        return Finding("sides", "ok", "no pair has the same picture on both sides.")
    said = f"{len(same)} pairs have the same picture on both sides."
    return Finding("sides", "problem", said, "Drop them.", {"pairs": len(same)}, tuple(same[:EXAMPLES]))


def gaps(ids: Sequence[str], lineages: Sequence[Mapping[str, object]]) -> Finding:
    """Gaps (``lineage.gap``) that are negative, zero or missing: the wrong side, no side, or nobody has asked."""
    values = [_number(each.get("gap")) for each in lineages]
    known = [value for value in values if value is not None]
    if not known:
        said = "no pair says by how much its winner scores higher."
        return Finding("gap", "note", said, _SCORE, {"missing": len(values)})
    counts = {
        "negative": sum(value < 0 for value in known),
        "ties": sum(value == 0 for value in known),
        "missing": len(values) - len(known),
    }
    if not any(counts.values()):
        return Finding("gap", "ok", f"every winner scores higher, by {min(known):.4g} or more.", numbers=counts)
    wrong = tuple(name for name, value in zip(ids, values, strict=True) if value is None or value <= 0)
    said = (
        f"{counts['negative']} losers score higher than their winners, {counts['ties']} the same; of {counts['missing']} pairs it "
        "is not known."
    )
    return Finding("gap", "problem", said, _LEAST, counts, wrong[:EXAMPLES])


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
