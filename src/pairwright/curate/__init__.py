"""Curation: from photographs to pairs, without a label ("When Preference Labels Fall Short", arXiv 2605.19839).

The photograph is the winner; the same photograph with its salient region repainted by a weak model is the loser::

    photographs -> views -> filters -> rank -> saliency -> repaint -> gap -> top k -> pairs

**The lazy order.** The paper repaints every candidate and keeps the top k by a score *of the photograph*. Ranking first
and repainting in descending order until k have passed the gap gives the identical set, since whether a candidate
passes depends on that candidate alone (every repaint is seeded by its picture's id). ``eager = true`` is the
published order.

Everything expensive is its own result in the store (views, scores, repaints, gap scores), in shards whose membership
is fixed before work starts. A killed run goes on at the shard where it was; another ``top`` or another gap repaints
nothing again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairwright import plugins, resolve, scoring, selection, tables, vetoes
from pairwright.context import Context
from pairwright.curate import views
from pairwright.curate.repaint import Outcome, Repaints
from pairwright.errors import Explained
from pairwright.options import Curate, Filter, Gap, Keep, Plugin
from pairwright.protocols import Source
from pairwright.records import Pair, Picture, Rejected
from pairwright.selection import Funnel, Number
from pairwright.store import Node
from pairwright.tables import PictureIndex

VERSION = 1
ROWS_PER_SHARD = 64

Ranking = dict[str, float | None]
"""The candidates in the order in which they are repainted, each with the score that ranks it, where there is one."""


class CurationError(Explained, RuntimeError):
    """Curation that cannot give pairs; the message says at which step everything was lost."""


def curate(options: Curate, context: Context) -> Node:
    """Make pairs out of photographs.

    Returns:
        a node with the tables ``data`` (:data:`~pairwright.tables.PAIRS`) and ``rejected``; its summary holds the funnel.

    Raises:
        CurationError: no photograph passes a step.
    """
    source = plugins.load("sources", options.source.name, **options.source.options)
    vetoed = vetoes.every(options.vetoes) if options.vetoes else context.vetoed
    meaning = _meaning(options) | ({"vetoes": dict(sorted(vetoed.items()))} if vetoed else {})
    node = context.node("curate", {"version": VERSION, "options": meaning}, [source.fingerprint()])
    if vetoed:
        context.progress.say(f"  vetoed pairs, which are left out: {len(vetoed)}")
    if node.complete:
        return node
    funnel = Funnel()
    try:
        return _curate(node, source, options, context, funnel, vetoed)
    except CurationError:
        _write_rejected(node, funnel)  # who left, and why, is wanted most where nobody is left
        raise


def _curate(node: Node, source: Source, options: Curate, context: Context, funnel: Funnel, vetoed: Mapping[str, str]) -> Node:
    started = time.monotonic()
    bench = _Bench(options, context, views.prepare(source, options, context, funnel), funnel, vetoed)
    ranking = bench.rank(bench.filtered())
    repaints = Repaints(options, context, bench.index, list(ranking), bench.scorer)
    threshold = bench.threshold(repaints)
    passed, tried = bench.walk(repaints, threshold)
    kept = bench.best(passed)
    funnel.rejected += [Rejected(each, "not reached", "enough had passed") for each in list(ranking)[tried:]]
    _write(node, kept, ranking, bench)
    node.finish(
        parts=[bench.pictures, *bench.scores, *repaints.nodes],
        funnel=funnel.steps,
        threshold=threshold,
        tried=tried,
        kept=len(kept),
        not_reached=len(ranking) - tried,
        repainted=repaints.repainted,
        repaint_seconds=round(repaints.seconds, 3),
        seconds=round(time.monotonic() - started, 3),
    )
    return node


def _meaning(options: Curate) -> dict[str, Any]:
    """The options with every plug-in's defaults and weights. The source is fingerprinted by what it reads, and so are vetoes."""
    said = options.model_copy(update={"vetoes": None}).meaning()
    del said["vetoes"]
    said["source"] = options.source.name
    said["filters"] = [_with_reward(each) for each in options.filters]
    said["saliency"] = resolve.meaning("saliency", options.saliency) if options.saliency else None
    said["perturbation"] = resolve.meaning("perturbations", options.perturbation)
    said["gap"] = _with_reward(options.gap) if options.gap else None
    said["keep"] = _with_reward(options.keep) if options.keep else None
    return said


def _with_reward(rule: Filter | Gap | Keep) -> dict[str, Any]:
    return {**rule.meaning(), "reward": resolve.meaning("rewards", rule.reward)}


@dataclass
class _Bench:
    """What the steps of one curation share: the views, the funnel, and each reward, built once."""

    options: Curate
    context: Context
    pictures: Node
    funnel: Funnel
    vetoed: Mapping[str, str]
    """Reasons by pair."""
    scores: list[Node] = field(default_factory=list)
    """Score tables made on the way."""

    def __post_init__(self) -> None:
        self.index = PictureIndex(self.pictures)
        self._scorers: dict[str, scoring.Scorer] = {}

    def scorer(self, plugin: Plugin) -> scoring.Scorer:
        """The scorer of a reward; the same for the same reward, so that its network is loaded once."""
        return self._scorers.setdefault(
            plugin.model_dump_json(),
            scoring.Scorer(plugin, self.options.batch_size, self.options.device, self.context.progress),
        )

    def filtered(self) -> list[str]:
        """The ids that pass every filter, in the order of the source."""
        ids = list(self.index.ids)
        for rule in self.options.filters:
            name = rule.column or rule.reward.name
            kept, rejected = selection.apply(rule.rule, rule.value, self._numbers(ids, rule), name)
            self.funnel.add(name, len(ids), rejected)
            ids = kept
        if not ids:
            raise CurationError(f"no picture is left: {self.funnel.losses()}")
        return ids

    def rank(self, ids: list[str]) -> Ranking:
        """The order in which candidates are repainted: by the score that decides who is kept, highest first."""
        if self.options.keep is None:
            return dict.fromkeys(ids)
        scores = self._numbers(ids, self.options.keep)
        ordered, unscored = selection.ranked(scores, "rank")
        if unscored:
            self.funnel.add("rank", len(ids), unscored)
        return {each: value for each in ordered if isinstance(value := scores[each], float)}

    def threshold(self, repaints: Repaints) -> float | None:
        """The least gap: given, or a quantile of the pilot's; None where nothing is asked."""
        gap = self.options.gap
        if gap is None or gap.pilot_quantile is None:
            return gap.at_least if gap else None
        outcomes = [outcome for shard in repaints.spread(gap.pilot) for outcome in repaints.shard(shard)]
        gaps = [outcome.gap for outcome in outcomes if outcome.gap is not None]
        if not gaps:
            reasons = sorted({each.failed.reason for each in outcomes if each.failed})
            raise CurationError(f"none of the pilot's {len(outcomes)} pictures could be repainted and scored: {'; '.join(reasons)}")
        # Never below 0: a pair whose loser scores higher would teach the wrong side.
        return max(0.0, selection.quantile(gaps, gap.pilot_quantile))

    def walk(self, repaints: Repaints, threshold: float | None) -> tuple[list[Outcome], int]:
        """Repaint down the ranking until enough have passed. Returns those that passed, and how many were tried."""
        keep = self.options.keep
        wanted = keep.top if keep and not self.options.eager else None
        passed: list[Outcome] = []
        lost: list[Rejected] = []
        tried = 0
        with self.context.progress.task("repaint", wanted or repaints.candidates) as task:
            for shard in range(repaints.shards):
                if wanted is not None and len(passed) >= wanted:
                    break
                outcomes = repaints.shard(shard)
                verdicts = [each.rejected(threshold) or self._veto(each) for each in outcomes]
                here = [outcome for outcome, verdict in zip(outcomes, verdicts, strict=True) if verdict is None]
                passed += here
                lost += filter(None, verdicts)
                tried += len(outcomes)
                # The lazy order is done when enough have passed, the published one when all were tried.
                done = min(len(here), max(0, wanted - len(passed) + len(here))) if wanted is not None else len(outcomes)
                task.advance(done, tried=str(tried), passed=str(len(passed)))
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
        """Those that are kept, of those that passed."""
        if self.options.keep:
            top = self.options.keep.top
            self.funnel.add("keep", len(passed), [Rejected(each.id, "keep", f"not among the top {top}") for each in passed[top:]])
            passed = passed[:top]
        if not passed:
            raise CurationError(f"no pair is left: {self.funnel.losses()}")
        return passed

    def _numbers(self, ids: Sequence[str], rule: Filter | Keep) -> dict[str, Number]:
        node = self.scorer(rule.reward).some(self.context.store, self.pictures, ids)
        self.scores.append(node)
        scores = scoring.read_scores(node)
        return {each: selection.number(scores[each], rule.column) for each in ids}


def _write(node: Node, kept: Sequence[Outcome], ranking: Ranking, bench: _Bench) -> None:
    perturbation = resolve.meaning("perturbations", bench.options.perturbation)
    places = {each: place for place, each in enumerate(ranking)}
    for shard, start in enumerate(range(0, len(kept), ROWS_PER_SHARD)):
        some = kept[start : start + ROWS_PER_SHARD]
        rows = []
        for outcome, winner in zip(some, bench.index.get([each.id for each in some]), strict=True):
            lineage = {
                **winner.provenance,
                "perturbation": perturbation,
                "seed": outcome.seed,
                **({"edit": outcome.how} if outcome.how else {}),
                "mask_area": outcome.area,
                "winner_score": outcome.winner_score,
                "loser_score": outcome.loser_score,
                "gap": outcome.gap,
                "gap_reward": bench.options.gap.reward.name if bench.options.gap else None,
                "rank": places[outcome.id],
                "rank_score": ranking[outcome.id],
            }
            rows.append(tables.pair_row(_pair(outcome, winner, lineage)))
        node.write(shard, rows, tables.PAIRS)
    _write_rejected(node, bench.funnel)


def _write_rejected(node: Node, funnel: Funnel) -> None:
    if funnel.rejected:
        node.write(0, [tables.rejected_row(each) for each in funnel.rejected], tables.REJECTED, "rejected")


def _pair(outcome: Outcome, winner: Picture, lineage: Mapping[str, Any]) -> Pair:
    loser = Picture(outcome.loser_id, outcome.loser(), winner.caption)
    return Pair(outcome.id, winner.caption, winner, loser, outcome.mask(), lineage)
