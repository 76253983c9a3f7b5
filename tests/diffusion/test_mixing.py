"""Several sets of pairs in one training: exact shares over a pass, every pair in it, and joined encodings."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from pairwright.diffusion.encodings import Encoded, EncodingError, Latents, joined
from pairwright.diffusion.families import Condition
from pairwright.diffusion.mixing import Mix


@pytest.mark.parametrize(
    ("sizes", "shares", "counts"),
    [
        ((100, 100), (1.0, 1.0), (100, 100)),
        ((100, 30), (0.5, 0.5), (100, 100)),  # the smaller one comes more often
        ((100, 30), (100, 30), (100, 30)),
        ((10, 10, 10), (3, 2, 1), (30, 20, 10)),
        ((7, 5), (2, 1), (10, 5)),
        ((3, 4), (1 / 3, 2 / 3), (3, 6)),
    ],
)
def test_a_pass_has_the_shares_and_every_pair(sizes, shares, counts):
    mix = Mix(sizes, shares)
    assert mix.counts == counts
    drawn = [mix.sample(place, seed=3) for place in range(sum(counts))]
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    of = Counter(next(number for number, end in enumerate(ends) if row < end) for row, _ in drawn)
    assert tuple(of[number] for number in range(len(sizes))) == counts
    assert {row for row, _ in drawn} == set(range(sum(sizes)))
    assert len(set(drawn)) == len(drawn), "a pair that comes again has another number"


def test_a_later_pass_goes_on_where_a_set_was():
    mix = Mix((10, 4), (1, 1))
    drawn = [mix.sample(place, seed=1) for place in range(40)]
    small = Counter(row for row, _ in drawn if row >= 10)
    assert sorted(small.values()) == [5, 5, 5, 5], "two passes of ten draws from four pairs"
    assert max(number for row, number in drawn if row >= 10) == 4
    assert drawn != [mix.sample(place, seed=2) for place in range(40)]
    assert [mix.sample(place, seed=1) for place in reversed(range(40))] == drawn[::-1]


def test_sets_are_taken_turns_at():
    mix = Mix((500, 500), (1, 1))
    steps = [sum(mix.sample(place, 0)[0] < 500 for place in range(start, start + 50)) for start in range(0, 1000, 50)]
    assert 15 < min(steps) < 25 < max(steps) < 35
    assert sum(steps) == 500


def encoded(first: int, count: int, texts: int, resolution: int = 8) -> Encoded:
    rows = torch.arange(first, first + count).float().view(-1, 1, 1, 1, 1).expand(-1, 2, 4, 1, 1)
    told = torch.arange(first, first + texts).float().view(-1, 1, 1)
    return Encoded(
        ids=tuple(f"p{number}" for number in range(first, first + count)),
        captions=tuple(1 + number % (texts - 1) for number in range(count)),
        conditions=(Condition({"states": told[:2]}), Condition({"states": told[2:]})),
        sides={"winner": Latents((rows[:5], rows[5:]))},
        resolution=resolution,
    )


def test_joined_sets_keep_their_pictures_and_captions():
    sets = [encoded(0, 8, 3), encoded(100, 7, 4)]
    whole = joined(sets)
    assert whole.ids == tuple(f"0/{each}" for each in sets[0].ids) + tuple(f"1/{each}" for each in sets[1].ids)
    rows = [0, 4, 5, 7, 8, 12, 13, 14]
    assert whole.sides["winner"].take(rows, [False] * 8)[:, 0, 0, 0].tolist() == [0, 4, 5, 7, 100, 104, 105, 106]
    states = whole.condition(rows, [False] * 7 + [True]).tensors["states"][:, 0, 0].tolist()
    expected = [1 + row % 2 for row in rows[:4]] + [101 + (row - 8) % 3 for row in rows[4:7]]
    assert states == [*expected, 0], "the empty prompt is the first set's"
    with pytest.raises(EncodingError, match="8 and 16 pixels"):
        joined([sets[0], encoded(0, 3, 3, 16)])
