from __future__ import annotations

from PIL import Image

from pairwright import images
from pairwright.records import Picture, Prompt
from pairwright.rewards import chance


def pictures(count: int) -> list[Picture]:
    found = [images.encode(Image.new("RGB", (2, 2), (index, index // 7, 0))) for index in range(count)]
    return [Picture(images.content_id(data), data) for data in found]


def scores(given: list[Picture], seed: int = 0) -> list[float]:
    rows = chance.load(seed=seed).score(given, [Prompt("x", "x")] * len(given))
    return [float(row[0]) for row in rows]  # type: ignore[index]


def test_a_score_hangs_on_picture_and_seed_alone() -> None:
    given = pictures(5)
    assert scores(given) == scores(given[::-1])[::-1]
    assert scores(given[2:3]) == scores(given)[2:3]
    assert scores(given) != scores(given, seed=1)


def test_scores_are_spread_evenly() -> None:
    found = sorted(scores(pictures(200)))
    # The largest distance from the uniform distribution; 200 draws exceed 1.63 / sqrt(200) = 0.115 once in a hundred seeds.
    assert max(abs(value - (rank + 0.5) / 200) for rank, value in enumerate(found)) < 0.115
