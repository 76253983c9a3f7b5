"""Sets of pictures scored by the workers of an engine: a piece is a shard, and each worker builds its rewards once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pairwright import plugins
from pairwright.engines import Crew, Piece, PoolName
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress
from pairwright.scoring.pictures import Chosen, Stored
from pairwright.scoring.scorer import Scorer
from pairwright.scoring.together import fill, passes, score_together
from pairwright.store import Node, Store


def score_crewed(
    store: Store, pictures: Chosen | Stored, scorers: Sequence[Scorer], crew: Crew, progress: Progress = SILENT
) -> list[Node]:
    """As :func:`pairwright.scoring.score_together`, by the workers of an engine.

    Raises:
        EngineError: a worker met an error that explains itself.
        ValueError, StoreError: as :meth:`Scorer.node`.
    """
    nodes = [each.at(store, pictures) for each in scorers]
    unfinished = [(scorer, node) for scorer, node in zip(scorers, nodes, strict=True) if not node.complete]
    sizes = pictures.sizes()
    lacking = [shard for shard in sorted(sizes) if not all(node.shard(shard).exists() for _, node in unfinished)]
    if lacking:
        station = Scoring(tuple((replace(scorer, progress=SILENT), node) for scorer, node in unfinished))
        total = sum(sizes.values())
        with progress.task(station.label, total, total - sum(sizes[shard] for shard in lacking)) as task:
            for shard, _ in crew.do([station], _pieces(pictures, lacking)):
                task.advance(sizes[shard])
    # Nothing is left to score: this says of each result what is in it, and that it is complete.
    return score_together(store, pictures, scorers, progress=progress)


def score_sets_crewed(
    store: Store,
    sets: Mapping[str, Stored],
    rewards: Sequence[Plugin],
    crew: Crew,
    *,
    batch: int = 32,
    device: str = "auto",
    progress: Progress = SILENT,
) -> dict[str, list[Node]]:
    """As :func:`pairwright.scoring.score_sets`, by the workers of an engine; ``device`` is what each of them is told.

    Raises:
        EngineError, ValueError, StoreError: as :func:`score_crewed`.
    """
    scorers = [Scorer(each, batch, device, progress) for each in rewards]
    for group in passes(scorers):
        for pictures in sets.values():
            score_crewed(store, pictures, group, crew, progress)
    return {label: [each.at(store, pictures) for each in scorers] for label, pictures in sets.items()}


def _pieces(pictures: Chosen | Stored, shards: Sequence[int]) -> Iterator[Piece]:
    for shard in shards:
        yield Piece(shard, pictures.part(shard) if isinstance(pictures, Chosen) else pictures)


@dataclass(frozen=True)
class Scoring:
    """A station that scores the pictures of a shard; see :class:`pairwright.engines.Station`."""

    pairs: tuple[tuple[Scorer, Node], ...]
    """Rewards and their results."""

    @property
    def label(self) -> str:
        """See :class:`pairwright.engines.Station`."""
        return f"score {', '.join(dict.fromkeys(scorer.plugin.name for scorer, _ in self.pairs))}"

    @property
    def pool(self) -> PoolName:
        """Rewards without a network are done where pictures are read."""
        return "score" if self.accelerated else "read"

    @property
    def accelerated(self) -> bool:
        """Whether one of the rewards takes a device."""
        return any(takes_device(scorer.plugin) for scorer, _ in self.pairs)

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        lacking = [(scorer, node) for scorer, node in self.pairs if not node.shard(piece.number).exists()]
        if lacking:
            fill(piece.content, piece.number, lacking)


def takes_device(plugin: Plugin, shelf: plugins.Shelf = "rewards", function: str = "load") -> bool:
    """Whether a plug-in runs on a device that it can be told."""
    return "device" in {each.name for each in plugins.signature(shelf, plugin.name, function).options}
