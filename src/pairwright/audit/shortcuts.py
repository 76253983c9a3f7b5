"""Shortcuts: does a trivial cue tell winners from losers by itself? Then training may learn the cue and stop there.

Two questions about each cue. *Within pairs*: in how many pairs has the winner more of it? That is what a loss sees that compares
the two sides. *Between pictures*: how well does the number alone tell a single winner from a single loser (area under the
ROC curve)? Both have prompt-clustered intervals, and p-values adjusted over all questions (:mod:`pairwright.stats`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairwright import stats, wording
from pairwright.audit.cues import CUES, Cue
from pairwright.audit.findings import Finding, Level
from pairwright.stats import Interval

SEPARATES, LEANS = 0.75, 0.6
"""Of a share or an area, one half being chance."""
SIGNIFICANT = 0.05

Sides = tuple[Mapping[str, float], Mapping[str, float]]
"""The cues of winner and loser."""


def findings(sides: Sequence[Sides], prompts: Sequence[str]) -> list[Finding]:
    """One finding per cue that both sides of some pair have.

    Args:
        sides: of every pair.
        prompts: ``prompts[i]`` is the caption of pair ``i``; pairs of one caption are taken together.
    """
    asked = [(cue, found) for cue in CUES if (found := _Answer.of(cue, sides, prompts)) is not None]
    adjusted = iter(stats.holm([p for _, answer in asked for p in (answer.within.p, answer.between.p)]))
    return [_finding(cue, answer, next(adjusted), next(adjusted)) for cue, answer in asked]


class _Answer:
    """What a cue says within pairs and between pictures."""

    def __init__(self, winners: list[float], losers: list[float], prompts: list[str]) -> None:
        self.pairs = len(winners)
        self.prompts = len(set(prompts))
        self.means = (sum(winners) / len(winners), sum(losers) / len(losers))
        self.within = stats.win_rate(winners, losers, prompts)
        self.between = stats.separation(winners, losers, prompts)

    @classmethod
    def of(cls, cue: Cue, sides: Sequence[Sides], prompts: Sequence[str]) -> _Answer | None:
        there = [place for place, (winner, loser) in enumerate(sides) if cue.name in winner and cue.name in loser]
        if not there:
            return None
        winners, losers = ([sides[place][side][cue.name] for place in there] for side in (0, 1))
        return cls(winners, losers, [prompts[place] for place in there])


def _finding(cue: Cue, answer: _Answer, p_within: float, p_between: float) -> Finding:
    within, between = answer.within, answer.between
    strength = max(
        (_away(share) for share, p in ((within.rate, p_within), (between.area, p_between)) if p < SIGNIFICANT), default=0.5
    )
    level: Level = "problem" if strength >= SEPARATES else "note" if strength >= LEANS else "ok"
    few = answer.prompts < stats.least_prompts(within.interval.confidence)
    head = {"problem": "it tells the sides apart.", "note": "it leans to one side.", "ok": "no shortcut shown."}[level]
    if few:
        level, head = "note", f"too few captions to tell ({answer.prompts})."
    sure = ["", ""] if few else [_interval(within.interval, percent=True), _interval(between.interval)]
    said = (
        f"{head} The winner {cue.more} in {wording.percent(within.rate)} of pairs{sure[0]}, ties counted half; alone it tells a "
        f"winner from a loser with AUC {between.area:.2f}{sure[1]}."
    )
    if within.ties == answer.pairs:
        level, said = "ok", "both sides of every pair are alike."
    numbers = {
        "pairs": answer.pairs,
        "winner_mean": answer.means[0],
        "loser_mean": answer.means[1],
        "ties": within.ties,
        "within": within.rate,
        "within_interval": None if few else _plain(within.interval),
        "within_p": p_within,
        "auc": between.area,
        "auc_interval": None if few else _plain(between.interval),
        "auc_p": p_between,
    }
    return Finding(cue.name, level, said, cue.advice if level != "ok" else "", numbers)


def _away(share: float) -> float:
    """Either direction counts: losers that are always sharper are as easily told."""
    return max(share, 1 - share)


def _interval(interval: Interval, *, percent: bool = False) -> str:
    low, high = (wording.percent(each) if percent else f"{each:.2f}" for each in (interval.low, interval.high))
    return f" ({wording.percent(interval.confidence)} interval {low} to {high})"


def _plain(interval: Interval) -> list[float]:
    return [interval.low, interval.high]
