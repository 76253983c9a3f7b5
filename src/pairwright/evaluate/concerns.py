"""What a reader of a comparison must be told beside its numbers.

*Warnings* say why a number may mean less than it seems: the primary metric chose the pairs, captions of the pairs are among the
judged prompts. *Alarms* say that a model may have learned to please a scorer instead of making better pictures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pairwright import overlaps
from pairwright.evaluate.lineage import Lineage
from pairwright.wording import number


def warnings(found: Mapping[str, Any], lineages: Mapping[str, Lineage], texts: Sequence[str], reward: str) -> list[str]:
    """Sentences; models for which the same is true share one.

    Args:
        found: a comparison.
        lineages: what each model was trained with.
        texts: the prompts that were judged.
        reward: the one that reports the primary column.
    """
    said: dict[str, list[str]] = {}
    checked: dict[tuple[str, ...], str] = {}
    for label, lineage in lineages.items():
        if reward in lineage.rewards:
            said.setdefault(_CHOSE.format(primary=found["primary"], reward=reward), []).append(label)
        if lineage.captions not in checked:
            checked[lineage.captions] = _leak(lineage.captions, texts)
        if checked[lineage.captions]:
            said.setdefault(checked[lineage.captions], []).append(label)
    return [f"{', '.join(labels)}: {text}" for text, labels in said.items()]


_CHOSE = (
    "{reward} chose the pairs and {primary} is the primary metric; that it rises proves little. "
    "Name a primary metric that nothing was chosen by."
)


def _leak(captions: Sequence[str], texts: Sequence[str]) -> str:
    matches = overlaps.matches(captions, texts)
    if not matches:
        return ""
    exact = sum(each.exact for each in matches)
    return (
        f"captions that it was trained with are among the {len(set(texts)):,} judged prompts: {exact} exactly, "
        f"{len(matches) - exact} nearly, of {len(captions):,} (for instance {matches[0].prompt!r}). "
        "On these it is not tested on anything new."
    )


def alarms(found: Mapping[str, Any], aimed: Mapping[str, Collection[str]]) -> list[dict[str, Any]]:
    """Models on which a column that was aimed at rises while another falls, each with an interval that holds no 0.

    Intervals are those of the rows, not corrected for their number: an alarm is a reason to look, not a finding.

    Args:
        found: a comparison.
        aimed: by model, the columns of the rewards that its training or the choice of its pairs aimed at.

    Returns:
        for each such model ``model``, ``rises`` and ``falls`` (column names) and ``said``, a sentence.
    """
    return [each for label, columns in aimed.items() if (each := _alarm(found, label, columns))]


def _alarm(found: Mapping[str, Any], label: str, aimed: Collection[str]) -> dict[str, Any] | None:
    up = {metric["name"]: metric["higher_is_better"] for metric in found["metrics"]}
    rows = {row["metric"]: row for row in found["comparisons"] if row["model"] == label}
    rises = [name for name, row in rows.items() if name in aimed and _moved(row, better=True, up=up[name])]
    falls = [name for name, row in rows.items() if name not in aimed and _moved(row, better=False, up=up[name])]
    if not rises or not falls:
        return None
    said = (
        f"{label} may have learned the scorer rather than the picture: {_listed(rises, rows)}, which its training aimed at, "
        f"got better while {_listed(falls, rows)} got worse. Look at the pictures, and at an earlier checkpoint."
    )
    return {"model": label, "rises": rises, "falls": falls, "said": said}


def _moved(row: Mapping[str, Any], *, better: bool, up: bool) -> bool:
    if row["low"] is None or row["low"] <= 0 <= row["high"]:
        return False
    return ((row["difference"] > 0) is up) is better


def _listed(names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    return " and ".join(f"{name} ({number(rows[name]['difference'], sign=True)})" for name in names)


def aimed_at(lineages: Mapping[str, Lineage], rewards: Mapping[str, str], named: Collection[str]) -> dict[str, set[str]]:
    """By model, the columns whose reward chose its pairs, and those that are named for all.

    Args:
        lineages: what each model was trained with.
        rewards: which reward reports a column.
        named: columns that the comparison is told of.
    """

    def columns(lineage: Lineage) -> Iterator[str]:
        yield from named
        yield from (column for column, reward in rewards.items() if reward in lineage.rewards)

    return {label: set(columns(lineage)) for label, lineage in lineages.items()}
