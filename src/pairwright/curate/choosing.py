"""Who is kept: filters, the ranking, and the walk down it until enough have passed. Numbers and outcomes; no pictures, no files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from pairwright import selection
from pairwright.curate.order import cheap_first
from pairwright.curate.repaint import Outcome
from pairwright.errors import Explained
from pairwright.options import Curate, Filter, Keep
from pairwright.progress import SILENT, Progress
from pairwright.records import Rejected
from pairwright.selection import Funnel, Number

Ranking = dict[str, float | None]
"""The candidates in the order in which they are repainted, each with the score that ranks it, where there is one."""
Numbers = Callable[[Sequence[str], Filter | Keep], Mapping[str, Number]]
"""What a rule's reward gives for these pictures."""


class CurationError(Explained, RuntimeError):
    """Curation that cannot give pairs; the message says at which step everything was lost."""


class Candidates(Protocol):
    """Ranked candidates that can be repainted, in shards; see :class:`pairwright.curate.repaint.Repaints`."""

    @property
    def candidates(self) -> int:
        """How many there are."""
        ...

    @property
    def shards(self) -> int:
        """How many shards all candidates make."""
        ...

    def spread(self, candidates: int) -> list[int]:
        """Shards that hold so many candidates together, spread evenly over the ranking."""
        ...

    def outcomes(self, numbers: Iterable[int]) -> Generator[list[Outcome]]:
        """What became of the candidates of these shards, in this order. Closed where no more are needed."""
        ...


@dataclass
class Choice:
    """The decisions of one curation; what each step loses goes into the funnel."""

    options: Curate
    ids: Sequence[str]
    """All pictures, in the source's order."""
    numbers: Numbers
    funnel: Funnel
    vetoed: Mapping[str, str] = field(default_factory=dict)
    """Reasons by pair."""
    progress: Progress = SILENT

    @property
    def filters(self) -> list[Filter]:
        """The filters in the order in which they are asked; see :mod:`pairwright.curate.order`."""
        return list(self.options.filters) if self.options.eager else cheap_first(self.options.filters)

    def filtered(self) -> list[str]:
        """The ids that pass every filter.

        Raises:
            CurationError: none does.
        """
        ids, filters = list(self.ids), self.filters
        if filters != list(self.options.filters):
            asked = ", ".join(_name(each) for each in filters)
            self.progress.say(f"  cheap filters first, which keeps the same pictures: {asked}")
        for rule in filters:
            kept, rejected = selection.apply(rule.rule, rule.value, self.numbers(ids, rule), _name(rule))
            self.funnel.add(_name(rule), len(ids), rejected)
            ids = kept
        if not ids:
            raise CurationError(f"no picture is left: {self.funnel.losses()}")
        return ids

    def rank(self, ids: list[str]) -> Ranking:
        """The order in which candidates are repainted: by the score that decides who is kept, highest first."""
        if self.options.keep is None:
            return dict.fromkeys(ids)
        scores = self.numbers(ids, self.options.keep)
        ordered, unscored = selection.ranked(scores, "rank")
        if unscored:
            self.funnel.add("rank", len(ids), unscored)
        return {each: value for each in ordered if isinstance(value := scores[each], float)}

    def threshold(self, repaints: Candidates) -> float | None:
        """The least gap: given, or a quantile of the pilot's; None where nothing is asked.

        Raises:
            CurationError: the pilot has no gap at all.
        """
        gap = self.options.gap
        if gap is None or gap.pilot_quantile is None:
            return gap.at_least if gap else None
        outcomes = [each for shard in repaints.outcomes(repaints.spread(gap.pilot)) for each in shard]
        gaps = [outcome.gap for outcome in outcomes if outcome.gap is not None]
        if not gaps:
            reasons = sorted({each.failed.reason for each in outcomes if each.failed})
            raise CurationError(f"none of the pilot's {len(outcomes)} pictures could be repainted and scored: {'; '.join(reasons)}")
        # Never below 0: a pair whose loser scores higher would teach the wrong side.
        return max(0.0, selection.quantile(gaps, gap.pilot_quantile))

    def walk(self, repaints: Candidates, threshold: float | None) -> tuple[list[Outcome], int]:
        """Repaint down the ranking until enough have passed. Returns those that passed, and how many were tried."""
        keep = self.options.keep
        wanted = keep.top if keep and not self.options.eager else None
        passed: list[Outcome] = []
        lost: list[Rejected] = []
        tried = 0
        with (
            self.progress.task("repaint", wanted or repaints.candidates) as task,
            closing(repaints.outcomes(range(repaints.shards))) as shards,
        ):
            for outcomes in shards:
                verdicts = [each.rejected(threshold) or self._veto(each) for each in outcomes]
                here = [outcome for outcome, verdict in zip(outcomes, verdicts, strict=True) if verdict is None]
                passed += here
                lost += filter(None, verdicts)
                tried += len(outcomes)
                # The lazy order is done when enough have passed, the published one when all were tried.
                done = min(len(here), max(0, wanted - len(passed) + len(here))) if wanted is not None else len(outcomes)
                task.advance(done, tried=str(tried), passed=str(len(passed)))
                if wanted is not None and len(passed) >= wanted:
                    break
        entered = tried
        for step in ("mask", "repaint", *(["gap"] if self.options.gap else []), *(["veto"] if self.vetoed else [])):
            left = [each for each in lost if each.step == step]
            self.funnel.add(step, entered, left)
            entered -= len(left)
        return passed, tried

    def _veto(self, outcome: Outcome) -> Rejected | None:
        if outcome.id not in self.vetoed:
            return None
        reason = self.vetoed[outcome.id]
        return Rejected(outcome.id, "veto", f"vetoed: {reason}" if reason else "vetoed")

    def best(self, passed: list[Outcome]) -> list[Outcome]:
        """Those that are kept, of those that passed.

        Raises:
            CurationError: there are none.
        """
        if self.options.keep:
            top = self.options.keep.top
            self.funnel.add("keep", len(passed), [Rejected(each.id, "keep", f"not among the top {top}") for each in passed[top:]])
            passed = passed[:top]
        if not passed:
            raise CurationError(f"no pair is left: {self.funnel.losses()}")
        return passed


def _name(rule: Filter) -> str:
    return rule.column or rule.reward.name
