"""Every draw is decided by its key alone, today and on every machine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pairwright import seeds

PART = st.one_of(
    st.integers(-(2**70), 2**70), st.text(st.characters(blacklist_characters="\x1f", blacklist_categories=["Cs"]), max_size=8)
)


def test_keys_have_the_values_that_they_had_when_the_first_run_was_made():
    assert seeds.key(0, "noise") == 3666265573707827580
    assert seeds.key(0, "noise", "a", 1) == 8569051779534586118
    assert seeds.uniform(7, "timestep", "picture", 3) == 0.2718531902653736
    assert seeds.integer(1000, 7, "timestep", "picture", 3) == 427
    assert seeds.permutation(8, 7, "order", 2) == [0, 2, 6, 7, 4, 5, 3, 1]
    assert seeds.noise((3,), ["a"], 0, "noise")[0].tolist() == pytest.approx([0.007084, 0.231244, -0.504124], abs=2e-6)


@given(st.integers(), st.text(max_size=5), st.lists(PART, max_size=4))
def test_a_key_is_an_integer_of_63_bits(seed: int, purpose: str, parts: list[str | int]):
    assert 0 <= seeds.key(seed, purpose, *parts) < 2**63


@given(st.lists(PART, max_size=3), st.lists(PART, max_size=3))
def test_different_parts_are_different_keys(one: list[str | int], other: list[str | int]):
    assert (seeds.key(0, "x", *one) == seeds.key(0, "x", *other)) is (one == other)


def test_seed_purpose_type_and_order_all_count():
    keys = [
        seeds.key(0, "a", 1, 2),
        seeds.key(1, "a", 1, 2),
        seeds.key(0, "b", 1, 2),
        seeds.key(0, "a", 2, 1),
        seeds.key(0, "a", "1", 2),
        seeds.key(0, "a", 12),
        seeds.key(0, "a", 1),
    ]
    assert len(set(keys)) == len(keys)


def test_uniform_numbers_are_uniform_and_not_correlated_with_their_neighbours():
    values = np.array([seeds.uniform(0, "test", index) for index in range(20_000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03


def test_integers_cover_their_range_evenly():
    counts = np.bincount([seeds.integer(20, 0, "test", index) for index in range(20_000)], minlength=20)
    assert len(counts) == 20
    assert stats.chisquare(counts).pvalue > 1e-3


def test_an_empty_range_is_an_error():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        seeds.integer(0, 0, "test")


def test_noise_is_standard_normal():
    noise = seeds.noise((64, 64), list(range(16)), 0, "test").numpy()
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert stats.kstest(noise.ravel()[::7], "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(noise.reshape(16, -1)) - np.eye(16)).max() < 0.08


def test_noise_of_a_sample_does_not_depend_on_its_neighbours_or_its_place():
    together = seeds.noise((4, 8, 8), ["a", "b", "c"], 5, "noise", 10)
    assert torch.equal(together[1], seeds.noise((4, 8, 8), ["b"], 5, "noise", 10)[0])
    assert torch.equal(together[2], seeds.noise((4, 8, 8), ["c", "d"], 5, "noise", 10)[0])
    assert not torch.equal(together[0], seeds.noise((4, 8, 8), ["a"], 5, "noise", 11)[0])
    assert seeds.noise((4, 8, 8), [], 5, "noise").shape == (0, 4, 8, 8)


def test_drawing_leaves_torchs_own_stream_alone_and_is_not_moved_by_it():
    torch.manual_seed(1)
    first = seeds.noise((5,), ["a"], 0, "noise")
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, seeds.noise((5,), ["a"], 0, "noise"))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@given(st.integers(0, 50), st.integers(0, 10))
def test_a_permutation_holds_every_number_once(n: int, epoch: int):
    assert sorted(seeds.permutation(n, 0, "order", epoch)) == list(range(n))


def test_permutations_of_two_epochs_differ_and_put_every_number_everywhere():
    orders = np.array([seeds.permutation(5, 0, "order", epoch) for epoch in range(2_000)])
    counts = np.array([np.bincount(orders[:, place], minlength=5) for place in range(5)])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3
