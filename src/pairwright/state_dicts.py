"""Weights as a dictionary of tensors: read safely, and put into a network without anything left over.

Foreign checkpoints fail here, loudly and with the keys named, or not at all: a network that was half filled still
returns numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairwright import runtime
from pairwright.weights import WeightsError

COUNTERS = ("num_batches_tracked", "position_ids")
"""Endings of buffers that carry nothing learned: some files have them, some do not."""

WRAPPERS = ("state_dict", "model_state_dict")
"""Under which names training scripts put the tensors beside their other state."""

FILES = ("model.safetensors", "pytorch_model.bin")
"""A model's weights in transformers' layout, or ``.index.json`` after these, which lists its shards. The first is preferred."""

_SHOWN = 12


def read(path: Path) -> dict[str, Tensor]:
    """Every tensor of a ``.safetensors`` file or of a pickle, on the CPU.

    Pickles are read with ``weights_only=True``: code in them is not executed.

    Raises:
        WeightsError: the file is not a dictionary of tensors, or not readable.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state: dict[str, Tensor] = load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
        return state
    content = _unpickle(path)
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(each, Tensor) for each in content.values()):
        raise WeightsError(f"{path} holds no dictionary of tensors")
    return content


def _unpickle(path: Path) -> Any:
    import pickle

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error


def files(folder: Path) -> list[Path]:
    """The files that hold a model's weights, one file or the shards of an index, in a fixed order.

    Raises:
        WeightsError: there are none, or an index that cannot be read or lists what is not there.
    """
    for name in FILES:
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
        if (folder / name).is_file():
            return [folder / name]
    raise WeightsError(f"{folder} has no {' and no '.join(FILES)}, whole or in shards")


def _shards(index: Path) -> list[Path]:
    try:
        listed = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of weights: {error!r}") from error
    # A name that leads elsewhere is not one of the folder's files.
    missing = [name for name in listed if Path(name).name != name or not (index.parent / name).is_file()]
    if missing or not listed:
        raise WeightsError(f"{index} lists {_some(missing) or 'nothing'}, which is not beside it: download the model again")
    return [index.parent / name for name in listed]


def fill(network: nn.Module, state: dict[str, Tensor], what: str, *, assign: bool = False) -> None:
    """Copy ``state`` into ``network``; counters of batches and positions may be missing or left over.

    Args:
        network: gets the values.
        state: by the network's keys.
        what: where they come from, for messages.
        assign: take the tensors themselves, in their own number format, instead of copying them; for networks without
            storage.

    Raises:
        WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    expected = {name: tuple(each.shape) for name, each in network.state_dict().items()}
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    complain(what, missing=expected.keys() - state.keys(), unexpected=state.keys() - expected.keys(), shapes=shapes)
    network.load_state_dict({name: each for name, each in state.items() if name in expected}, strict=False, assign=assign)


def pretrained(kind: Any, folder: Path, number: torch.dtype | None = None) -> Any:
    """``kind.from_pretrained`` of transformers or diffusers, on the CPU and in evaluation mode, that refuses a partial fit.

    Both libraries themselves only log that a layer was left as it was drawn at random.

    Args:
        kind: the model's class.
        folder: a local folder with its configuration and weights.
        number: the number format (transformers only); default: as stored.

    Raises:
        WeightsError: the folder cannot be loaded, or missing or unexpected keys, all of them named.
    """
    options = {} if number is None else {"dtype": number}
    with quietly():
        try:
            network, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"{folder} cannot be loaded as {kind.__name__}: {error}") from error
    complain(str(folder), missing=report["missing_keys"], unexpected=report["unexpected_keys"])
    return network.eval()


@contextmanager
def quietly() -> Iterator[None]:
    """No progress bars and no warnings of transformers and diffusers while weights are loaded.

    What does not fit is an error here already, and what they would rather have installed is noise.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    before = [(each, each.get_verbosity()) for each in (diffusers_logging, transformers_logging)]
    for each, _ in before:
        each.set_verbosity_error()
    try:
        with runtime.quiet():
            yield
    finally:
        for each, verbosity in before:
            each.set_verbosity(verbosity)


def complain(what: str, *, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str] = ()) -> None:
    """Raises :class:`WeightsError` where anything but counters is missing or left over."""
    problems = {
        "missing keys": _learned(missing),
        "unexpected keys": _learned(unexpected),
        "other shapes": sorted(shapes),
    }
    found = [f"{len(keys)} {name}: {_some(keys)}" for name, keys in problems.items() if keys]
    if found:
        raise WeightsError(f"The weights in {what} do not fit. {'. '.join(found)}.")


def _learned(keys: Iterable[str]) -> list[str]:
    return sorted(key for key in keys if not key.endswith(COUNTERS))


def _some(keys: list[str]) -> str:
    rest = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
