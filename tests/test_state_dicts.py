"""Foreign weights fit wholly or are refused, with the keys named."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pairwright import state_dicts
from pairwright.weights import WeightsError


def test_both_formats_are_read(tmp_path):
    state = {"a": torch.arange(3.0)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "nested.pt")
    for name in ("a.safetensors", "a.pt", "nested.pt"):
        assert state_dicts.read(tmp_path / name)["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("name", "content"), [("a.safetensors", b"\x00" * 7), ("a.pt", b"garbage"), ("empty.pt", b"")])
def test_garbage_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        state_dicts.read(tmp_path / name)


def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path):
    torch.save({"a": 1}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        state_dicts.read(tmp_path / "a.pt")


def test_a_models_files_are_the_shards_of_its_index_or_the_single_one(tmp_path):
    with pytest.raises(WeightsError, match=r"has no model\.safetensors and no pytorch_model\.bin"):
        state_dicts.files(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert state_dicts.files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    shards = [tmp_path / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard in shards:
        shard.touch()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shards[1].name, "b": shards[0].name, "c": shards[1].name}}))
    assert state_dicts.files(tmp_path) == shards


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weight_map": {"a": "gone.safetensors"}}, r"lists gone\.safetensors, which is not beside it"),
        ({"weight_map": {"a": "../outside.bin"}}, r"lists \.\./outside\.bin, which is not beside it"),
        ({"weight_map": {}}, "lists nothing"),
        ({"weight_map": 3}, "is no index of weights"),
        ([], "is no index of weights"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(tmp_path, content, said):
    (tmp_path / "outside.bin").touch()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=said):
        state_dicts.files(folder)


def test_a_full_fit_is_copied_and_counters_do_not_matter():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = {name: torch.full_like(value, 3.0) for name, value in network.state_dict().items() if value.is_floating_point()}
    state_dicts.fill(network, {**state, "embeddings.position_ids": torch.arange(4)}, "here")
    assert all(bool((value == 3).all()) for name, value in network.state_dict().items() if name != "1.num_batches_tracked")


def test_missing_unexpected_and_misshapen_keys_are_all_named():
    network = nn.Linear(2, 2)
    said = r"do not fit\. 1 missing keys: bias\. 1 unexpected keys: scale\. 1 other shapes: weight \(3, 2\) instead of \(2, 2\)"
    with pytest.raises(WeightsError, match=said):
        state_dicts.fill(network, {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}, "here")


def test_a_long_list_says_how_many_more_there_are():
    with pytest.raises(WeightsError, match=r"20 missing keys: k00, k01, .*, k11 and 8 more\."):
        state_dicts.complain("here", missing=[f"k{number:02}" for number in range(20)], unexpected=())


def test_progress_bars_come_back():
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    with state_dicts.quietly():
        assert not logging.is_progress_bar_enabled()
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
