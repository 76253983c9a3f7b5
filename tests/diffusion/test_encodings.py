from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pairwright import images, tables
from pairwright.context import Context
from pairwright.diffusion import encodings
from pairwright.diffusion.encodings import Encoded, EncodingError
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.models import ModelRef
from pairwright.store import Node, Store
from tests.miniatures.pairs import write_pairs

CPU = torch.device("cpu")


def encode(pairs: Node, base: str, store: Store, *, resolution: int | None = None, flips: bool = True) -> Encoded:
    context = Context(store)
    return encodings.encode(
        pairs, ModelRef(base, "sd15"), context, sides=("winner", "loser"), resolution=resolution, flips=flips, device=CPU
    )


def test_both_flips_of_both_sides_are_the_posterior_means(base: str, sd15: Sd15, store: Store) -> None:
    """Trap 6: the autoencoder's posterior sampled for each side by itself."""
    pairs = write_pairs(store, 3)
    found = encode(pairs, base, store)
    for row, pair in enumerate(tables.pairs(pairs)):
        for side, picture in (("winner", pair.winner), ("loser", pair.loser)):
            pixels = images.batch([picture])
            both = found.sides[side].take([row, row], [False, True])
            torch.testing.assert_close(both, sd15.encode(torch.cat([pixels, pixels.flip(-1)])), atol=1e-6, rtol=1e-4)
    assert found.ids == ("pair0", "pair1", "pair2")
    assert found.resolution == 32


def test_captions_are_encoded_once_and_the_empty_prompt_with_them(base: str, sd15: Sd15, store: Store) -> None:
    found = encode(write_pairs(store, 5, captions=2), base, store)
    assert found.captions == (1, 2, 1, 2, 1)
    expected = sd15.condition(["flower 1", "", "flower 0"])
    states = found.condition([3, 0, 4], [False, True, False]).tensors["states"]
    torch.testing.assert_close(states, expected.tensors["states"], atol=1e-5, rtol=1e-4)


def test_what_is_encoded_is_shared_and_not_encoded_again(base: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = write_pairs(store, 3)
    first = encode(pairs, base, store)

    def fail(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(Sd15, "encode", fail)
    monkeypatch.setattr(Sd15, "condition", fail)
    again = encode(pairs, base, store)
    assert torch.equal(again.sides["loser"].take([2], [True]), first.sides["loser"].take([2], [True]))


def test_an_interrupted_encoding_goes_on_at_the_missing_shard(base: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "SHARD", 2)
    pairs, calls, whole = write_pairs(store, 5), [0], Sd15.encode

    def killed(self: Sd15, pixels: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return whole(self, pixels)

    monkeypatch.setattr(Sd15, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        encode(pairs, base, store)
    found = encode(pairs, base, store)
    assert calls[0] == 3 + 2 * (2 + 3), "the first shard's two flips were kept"
    assert found.sides["winner"].take([0, 4], [False, False]).shape == (2, 4, 8, 8)


def test_other_resolutions_are_cropped_only_when_asked(base: str, store: Store) -> None:
    pairs = write_pairs(store, 2, size=48)
    assert encode(pairs, base, store).sides["winner"].take([0], [False]).shape == (1, 4, 12, 12)
    assert encode(pairs, base, store, resolution=32).sides["winner"].take([0], [False]).shape == (1, 4, 8, 8)


def test_mixed_sizes_without_a_resolution_are_an_error_that_names_the_pair(base: str, store: Store) -> None:
    mixed = store.node("curate", {"mixed": 1})
    rows = [next(iter(write_pairs(store, 1, size=size).rows())) for size in (32, 48)]
    mixed.write(0, rows, tables.PAIRS)
    mixed.finish()
    with pytest.raises(EncodingError, match="pair0 is 48 x 48"):
        encode(mixed, base, store)


def test_no_pairs_is_an_error(base: str, store: Store) -> None:
    empty = store.node("curate", {"empty": 1})
    empty.write(0, [], tables.PAIRS)
    with pytest.raises(EncodingError, match="no pairs"):
        encode(empty, base, store)


def test_without_flips_there_is_one_view(base: str, store: Store, load: Callable[..., Sd15], tmp_path: Path) -> None:
    found = encode(write_pairs(store, 2), base, store, flips=False)
    assert found.sides["winner"].shards[0].shape == (2, 1, 4, 8, 8)
