from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from pairwright.diffusion.batches import Batch, Batches
from pairwright.diffusion.encodings import Encoded, Latents
from pairwright.diffusion.families import Condition
from pairwright.diffusion.processes import Ddpm

PROCESS = Ddpm.from_config(
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
)
COUNT = 5


def encoded() -> Encoded:
    """Latents that say whose they are: pair + 0.5 where mirrored, losers 100 more; conditions say their row."""
    rows = torch.arange(float(COUNT)).reshape(-1, 1, 1, 1, 1)
    views = torch.cat([rows, rows + 0.5], dim=1).expand(COUNT, 2, 1, 2, 2)
    return Encoded(
        ids=tuple(f"pair{row}" for row in range(COUNT)),
        captions=tuple(range(1, COUNT + 1)),
        conditions=(Condition({"states": torch.arange(float(COUNT + 1)).reshape(-1, 1)}),),
        sides={"winner": Latents((views,)), "loser": Latents((views + 100,))},
        resolution=8,
    )


def batches(*, size: int = 4, micro: int = 4, seed: int = 0, dropout: float = 0.0, flips: bool = True) -> Batches:
    return Batches(encoded(), PROCESS, torch.device("cpu"), size, micro, seed, flips, dropout)


def joined(parts: Sequence[Batch]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([getattr(part, name) for part in parts]) for name in ("t", "noise", "winner", "loser")}


def test_winner_and_loser_are_mirrored_together() -> None:
    """Trap 5: flips drawn for each side by itself."""
    for step in range(10):
        (batch,) = batches().of_step(step)
        assert batch.loser is not None
        assert torch.equal(batch.loser, batch.winner + 100)
    mirrored = [float(value) % 1 for step in range(50) for batch in batches().of_step(step) for value in batch.winner[:, 0, 0, 0]]
    assert 0.4 < sum(mirrored) / len(mirrored) / 0.5 < 0.6
    assert all(float(batch.winner.sum()) % 1 == 0 for batch in batches(flips=False).of_step(0))


@pytest.mark.parametrize("micro", [1, 3])
def test_the_micro_batch_changes_nothing_that_is_drawn(micro: int) -> None:
    for step in range(3):
        whole, parts = list(batches(dropout=0.5).of_step(step)), list(batches(micro=micro, dropout=0.5).of_step(step))
        assert [len(part) for part in parts] == ([1] * 4 if micro == 1 else [3, 1])
        for name, value in joined(whole).items():
            assert torch.equal(value, joined(parts)[name]), name
        condition = Condition.cat([part.condition for part in parts])
        assert torch.equal(condition.tensors["states"], whole[0].condition.tensors["states"])
        assert torch.equal(whole[0].own_noise(torch.tensor([0])), parts[0].own_noise(torch.tensor([0])))


def test_each_pair_comes_once_per_pass_in_another_order() -> None:
    names = [name for step in range(5) for batch in batches().of_step(step) for name in batch.occasions]
    passes = [names[COUNT * number : COUNT * (number + 1)] for number in range(4)]
    assert all(Counter(passes[number]) == Counter(f"pair{row}#{number}" for row in range(COUNT)) for number in range(4))
    assert len({tuple(name.split("#")[0] for name in each) for each in passes}) > 1


def test_a_pair_that_comes_twice_in_a_step_gets_different_noise() -> None:
    (batch,) = batches(size=10, micro=10).of_step(0)
    assert len(set(batch.occasions)) == 10
    assert len({float(value) for value in batch.noise[:, 0, 0, 0]}) == 10


def test_timesteps_are_spread_over_the_schedule() -> None:
    t = torch.cat([batch.t for step in range(250) for batch in batches().of_step(step)]).double()
    assert t.mean().item() == pytest.approx(499.5, abs=35)
    assert t.min() < 20
    assert t.max() > 980


def test_dropped_captions_are_the_empty_prompt_at_the_asked_rate() -> None:
    found = torch.cat([batch.condition.tensors["states"] for step in range(250) for batch in batches(dropout=0.2).of_step(step)])
    assert (found == 0).float().mean().item() == pytest.approx(0.2, abs=0.04)
    assert all((batch.condition.tensors["states"] > 0).all() for batch in batches().of_step(0))


def test_seeds_differ() -> None:
    (one,), (other,) = batches().of_step(0), batches(seed=1).of_step(0)
    assert not torch.equal(one.noise, other.noise)
    assert one.t.tolist() != other.t.tolist()


def test_the_trajectorys_noise_is_not_the_pictures() -> None:
    (batch,) = batches().of_step(0)
    own = batch.own_noise(torch.arange(4))
    assert own.shape == batch.noise.shape
    assert not torch.equal(own, batch.noise)
    assert torch.equal(batch.own_noise(torch.tensor([2])), own[2:3])


def test_some_of_a_batchs_samples_are_a_batch() -> None:
    (batch,) = batches(dropout=0.5).of_step(2)
    part = batch.take(torch.tensor([3, 1]))
    assert part.occasions == (batch.occasions[3], batch.occasions[1])
    assert part.loser is not None
    assert batch.loser is not None
    for whole, some in ((batch.t, part.t), (batch.noise, part.noise), (batch.winner, part.winner), (batch.loser, part.loser)):
        assert torch.equal(some, whole[[3, 1]])
    assert torch.equal(part.condition.tensors["states"], batch.condition.tensors["states"][[3, 1]])
    assert torch.equal(part.own_noise(torch.tensor([0])), batch.own_noise(torch.tensor([3])))
