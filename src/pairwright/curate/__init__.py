"""Curation: from photographs to pairs, without a label ("When Preference Labels Fall Short", arXiv 2605.19839).

The photograph is the winner; the same photograph with its salient region repainted by a weak model is the loser::

    photographs -> views -> filters -> rank -> saliency -> repaint -> gap -> top k -> pairs

**The lazy order.** The paper repaints every candidate and keeps the top k by a score *of the photograph*. Ranking first
and repainting in descending order until k have passed the gap gives the identical set, since whether a candidate
passes depends on that candidate alone (every repaint is seeded by its picture's id). Filters that are thresholds are asked
cheap ones first (:mod:`pairwright.curate.order`). ``eager = true`` is the published order.

Everything expensive is its own result in the store (views, scores, repaints, gap scores), in shards whose membership
is fixed before work starts. A killed run goes on at the shard where it was; another ``top`` or another gap repaints
nothing again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairwright import engines, locks, plugins, resolve, scoring, selection, tables, vetoes
from pairwright.context import Context
from pairwright.curate import views
from pairwright.curate.choosing import Choice, CurationError, Ranking
from pairwright.curate.repaint import Outcome, Repaints
from pairwright.engines import Crew
from pairwright.options import Curate, Filter, Gap, Keep, Plugin
from pairwright.protocols import Source
from pairwright.records import Pair, Picture, Rejected
from pairwright.selection import Funnel, Number
from pairwright.store import Node
from pairwright.tables import PictureIndex

VERSION = 1
ROWS_PER_SHARD = 64

__all__ = ["CurationError", "curate"]


def curate(options: Curate, context: Context) -> Node:
    """Make pairs out of photographs.

    Returns:
        a node with the tables ``data`` (:data:`~pairwright.tables.PAIRS`) and ``rejected``; its summary holds the funnel.

    Raises:
        CurationError: no photograph passes a step.
    """
    if options.engine != "local":
        context = context.absolute()
    source = plugins.load("sources", options.source.name, **options.source.options)
    vetoed = vetoes.every(options.vetoes) if options.vetoes else context.vetoed
    meaning = _meaning(options) | ({"vetoes": dict(sorted(vetoed.items()))} if vetoed else {})
    node = context.node("curate", {"version": VERSION, "options": meaning}, [source.fingerprint()])
    if vetoed:
        context.progress.say(f"  vetoed pairs, which are left out: {len(vetoed)}")
    if node.complete:
        return node
    _validate(options)
    funnel = Funnel()
    try:
        with engines.crew(options.engine, options.ray, context.store.root, context.progress) as crew:
            return _curate(node, source, options, context, funnel, vetoed, crew)
    except CurationError:
        _write_rejected(node, funnel)  # who left, and why, is wanted most where nobody is left
        raise


def _curate(
    node: Node,
    source: Source,
    options: Curate,
    context: Context,
    funnel: Funnel,
    vetoed: Mapping[str, str],
    crew: Crew | None,
) -> Node:
    started = time.monotonic()
    bench = _Bench(options, context, views.prepare(source, options, context, funnel, crew), crew)
    choice = Choice(options, bench.index.ids, bench.numbers, funnel, vetoed, context.progress)
    ranking = choice.rank(choice.filtered())
    repaints = Repaints(options, context, bench.index, list(ranking), bench.scorer, crew)
    with locks.claimed(repaints.nodes, context.progress):
        threshold = choice.threshold(repaints)
        passed, tried = choice.walk(repaints, threshold)
    kept = choice.best(passed)
    funnel.rejected += [Rejected(each, "not reached", "enough had passed") for each in list(ranking)[tried:]]
    _write(node, kept, ranking, bench, funnel)
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


def _validate(options: Curate) -> None:
    """Every option's value before any work: a perturbation that cannot be built would be met after all was filtered."""
    plugins.validate("perturbations", options.perturbation.name, options.perturbation.options)
    if options.saliency:
        plugins.validate("saliency", options.saliency.name, options.saliency.options)
    for rule in (*options.filters, options.gap, options.keep):
        if rule:
            plugins.validate("rewards", rule.reward.name, rule.reward.options)


def _with_reward(rule: Filter | Gap | Keep) -> dict[str, Any]:
    return {**rule.meaning(), "reward": resolve.meaning("rewards", rule.reward)}


@dataclass
class _Bench:
    """What the steps of one curation share: the views, and each reward, built once."""

    options: Curate
    context: Context
    pictures: Node
    crew: Crew | None
    scores: list[Node] = field(default_factory=list)
    """Score tables made on the way."""

    def __post_init__(self) -> None:
        self.index = PictureIndex.of(self.pictures)
        self._scorers: dict[str, scoring.Scorer] = {}

    def scorer(self, plugin: Plugin) -> scoring.Scorer:
        """The scorer of a reward; the same for the same reward, so that its network is loaded once."""
        return self._scorers.setdefault(
            plugin.model_dump_json(),
            scoring.Scorer(plugin, self.options.batch_size, self.options.device, self.context.progress),
        )

    def numbers(self, ids: Sequence[str], rule: Filter | Keep) -> dict[str, Number]:
        """What a rule's reward gives for these pictures; scored where that is not in the store yet."""
        scorer = self.scorer(rule.reward)
        if self.crew is None:
            node = scorer.some(self.context.store, self.pictures, ids, self.index)
        else:
            chosen = scoring.Chosen(self.pictures, tuple(ids), self.index)
            (node,) = scoring.score_crewed(self.context.store, chosen, [scorer], self.crew, self.context.progress)
        self.scores.append(node)
        scores = scoring.read_scores(node)
        return {each: selection.number(scores[each], rule.column) for each in ids}


def _write(node: Node, kept: Sequence[Outcome], ranking: Ranking, bench: _Bench, funnel: Funnel) -> None:
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
    _write_rejected(node, funnel)


def _write_rejected(node: Node, funnel: Funnel) -> None:
    if funnel.rejected:
        node.write(0, [tables.rejected_row(each) for each in funnel.rejected], tables.REJECTED, "rejected")


def _pair(outcome: Outcome, winner: Picture, lineage: Mapping[str, Any]) -> Pair:
    loser = Picture(outcome.loser_id, outcome.loser(), winner.caption)
    return Pair(outcome.id, winner.caption, winner, loser, outcome.mask(), lineage)
