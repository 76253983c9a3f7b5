"""LoRA files of every common spelling, as changes of the network's modules.

Read are peft's and diffusers' keys (``lora_A/lora_B``, ``lora.down/up``, ``to_q_lora.down/up``), kohya's
(``lora_unet_...lora_down.weight`` with ``.alpha``, convolutions, LyCORIS' ``lora_mid``) and ComfyUI's
(``diffusion_model....``). Nothing is left out silently: a key that is not understood, another kind of adapter, or a part
for the text encoders is an error that names it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pairwright.diffusion.lora_files.changes import Change, swap_halves, unstack
from pairwright.diffusion.lora_files.spellings import Place, Spellings
from pairwright.models import ModelError

METADATA_KEY = "lora_adapter_metadata"
"""Where diffusers keeps peft's settings in a LoRA file."""
PEFT_CONFIG = "adapter_config.json"
"""Where peft keeps them: beside the file."""
_PEFT_PREFIX = "base_model.model."
_ENDINGS = {
    "down": (".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight"),
    "up": (".lora_B.weight", ".lora_B.default.weight", ".lora_up.weight", ".lora.up.weight", "_lora.up.weight"),
    "mid": (".lora_mid.weight",),
    "alpha": (".alpha",),
}
_FOREIGN = {
    "DoRA (weights decomposed into direction and magnitude)": r"\.(dora_scale|lora_magnitude_vector(\.\w+)*)",
    "LoHa (Hadamard products)": r"\.hada_[wt]\d(_[ab])?(\.\w+)*",
    "LoKr (Kronecker products)": r"\.lokr_[wt]\d(_[ab])?(\.\w+)*",
    "OFT (orthogonal rotations)": r"\.oft_\w+(\.\w+)*",
    "GLoRA": r"\.[ab][12]\.weight",
    "(IA)3": r"\.(on_input|ia3_l(\.\w+)*)",
    "a full difference of weights": r"\.(diff|diff_b|w_norm|b_norm|set_weight)",
    "LoRA with biases": r"\.lora_B(\.\w+)?\.bias",
}
"""Kinds of adapters by the ending of a key, as a regular expression."""
_TEXT = re.compile(r"(base_model\.model\.)?(lora_te\d?_|text_encoders?(_\d)?\.|lora_prior_te_)")
_SHOWN = 5


def read(path: Path, names: Spellings, *, network_only: bool = False) -> dict[str, Change]:
    """The changes that a LoRA file makes, by the network's module names.

    Strengths are the file's own: its ``.alpha`` keys, else diffusers' or peft's settings; without any, 1.

    Args:
        path: a ``.safetensors`` file.
        names: of the network that it is for.
        network_only: leave out what changes the text encoders, instead of refusing the file.

    Raises:
        ModelError: keys or shapes that are not this network's; another kind of adapter; a change of the text encoders;
            peft's keys without the settings that give their strength.
    """
    stored, metadata = _open(path)
    _refuse_other_kinds(path, stored)
    spoken = {key for key in stored if _TEXT.match(key)}
    if spoken and not network_only:
        raise ModelError(
            f"{path} also changes the text encoders ({len(spoken)} of its {len(stored)} keys: {_some(spoken)}). Text encoders "
            "are not trained here and such a part is not applied; set network_only = true on the model to use the rest without it"
        )
    parts, unknown = _parts({key: value for key, value in stored.items() if key not in spoken})
    places = {owner: names.find(owner) for owner in parts}
    unknown += [owner for owner, place in places.items() if place is None]
    if unknown or not parts:
        said = f"{len(unknown)} keys that are not of this network: {_some(unknown)}" if unknown else "no keys of this network"
        raise ModelError(f"{path} has {said}")
    strengths = _Strengths.of(path, parts, metadata, names.prefix)
    changes: dict[str, Change] = {}
    for owner, tensors in parts.items():
        place = places[owner]
        assert place is not None
        for module, change in _placed(path, owner, tensors, place, names, strengths):
            if module in changes:
                raise ModelError(f"{path} changes {module} twice; the second time as {owner}")
            changes[module] = change
    return dict(sorted(changes.items()))


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


def _refuse_other_kinds(path: Path, stored: Mapping[str, Tensor]) -> None:
    for kind, ending in _FOREIGN.items():
        found = [key for key in stored if re.search(f"{ending}$", key)]
        if found:
            raise ModelError(
                f"{path} is {kind}, not a plain LoRA ({_some(found)}); merge it into a base elsewhere and name that base"
            )


def _parts(stored: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Tensors by owner and role, and the keys with no known ending or without a counterpart."""
    parts: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    for key, value in stored.items():
        for role, endings in _ENDINGS.items():
            ending = next((each for each in endings if key.endswith(each)), None)
            if ending is not None:
                parts.setdefault(key.removesuffix(ending), {})[role] = value.float()
                break
        else:
            unknown.append(key)
    halves = [owner for owner, tensors in parts.items() if not {"down", "up"} <= tensors.keys()]
    return {owner: tensors for owner, tensors in parts.items() if owner not in halves}, unknown + halves


@dataclass(frozen=True)
class _Strengths:
    """What a file says of its strengths beside ``.alpha`` keys: peft's settings, where there are any."""

    alpha: float | None = None
    """Of all modules; None: each module's rank."""
    patterns: Mapping[str, float] = field(default_factory=dict)
    """Alphas of single modules, by a regular expression for the end of the module's name."""
    stabilised: bool = False
    """Rank-stabilised LoRA divides by the root of the rank."""
    prefix: str = ""

    @classmethod
    def of(cls, path: Path, owners: Iterable[str], metadata: Mapping[str, str], prefix: str) -> _Strengths:
        """The settings in the header (diffusers) or beside the file (peft).

        Raises:
            ModelError: they are not readable, are needed and not there, or are those of another kind of adapter.
        """
        where = f"{METADATA_KEY} of {path}" if METADATA_KEY in metadata else str(path.parent / PEFT_CONFIG)
        try:
            if METADATA_KEY in metadata:
                said = dict(json.loads(metadata[METADATA_KEY]))
                said = {key.removeprefix(f"{prefix}."): value for key, value in said.items() if key.startswith(f"{prefix}.")}
            elif any(owner.startswith(_PEFT_PREFIX) for owner in owners):
                said = dict(json.loads((path.parent / PEFT_CONFIG).read_text(encoding="utf-8")))
            else:
                return cls()
            alpha = said.get("lora_alpha")
            patterns = {str(key): float(value) for key, value in (said.get("alpha_pattern") or {}).items()}
            found = cls(None if alpha is None else float(alpha), patterns, bool(said.get("use_rslora")), prefix)
        except FileNotFoundError:
            raise ModelError(f"{path} has peft's keys, whose strength stands in {PEFT_CONFIG}, and that is not beside it") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(f"{where} is not readable: {error}") from error
        if said.get("use_dora"):
            raise ModelError(f"{path} is DoRA, not a plain LoRA; merge it into a base elsewhere and name that base")
        return found

    def __call__(self, owner: str, rank: int) -> float:
        """The alpha of a module whose file has no ``.alpha`` for it."""
        name = owner.removeprefix(_PEFT_PREFIX).removeprefix(f"{self.prefix}.")
        alpha = self.patterns.get(get_pattern_key(list(self.patterns), name), self.alpha)
        if alpha is None:
            return float(rank)
        return alpha * math.sqrt(rank) if self.stabilised else alpha


def _placed(
    path: Path, owner: str, tensors: Mapping[str, Tensor], place: Place, names: Spellings, strengths: _Strengths
) -> Iterator[tuple[str, Change]]:
    """What one owner of the file changes, module by module of the network."""
    shapes = [names.shapes[module] for module in place.modules]
    down, up = _untuckered(tensors), tensors["up"]
    outputs, inputs = sum(shape[0] for shape in shapes), shapes[0][1:]
    rank = len(down)
    # A convolution with a 1 x 1 kernel is a linear layer, and files differ in how they write it.
    fits = len(up) == outputs and up.numel() == outputs * rank and down.numel() == rank * inputs.numel()
    if not rank or not fits or down.shape[1] != inputs[0]:
        found, wanted = f"{tuple(down.shape)} and {tuple(up.shape)}", (outputs, *inputs)
        raise ModelError(f"{path} does not fit: {owner} is {found}, and the weight that it changes is {wanted}")
    alpha = float(tensors["alpha"]) if "alpha" in tensors else strengths(owner, rank)
    ones = (1,) * (len(inputs) - 1)
    change = Change(down.reshape(rank, *inputs), up.reshape(outputs, rank, *ones), alpha)
    if not (change.down.isfinite().all() and change.up.isfinite().all() and math.isfinite(alpha)):
        raise ModelError(f"{path} holds numbers that are not finite, in {owner}")
    if place.swapped:
        change = swap_halves(change)
    if len(place.modules) == 1:
        yield place.modules[0], change
        return
    for module, part in zip(place.modules, unstack(change, [shape[0] for shape in shapes]), strict=True):
        if part is not None:
            yield module, part


def _untuckered(tensors: Mapping[str, Tensor]) -> Tensor:
    """``[rank, in, ...]``; LyCORIS factors a convolution once more: ``mid [rank, rank, kh, kw]`` after a 1 x 1 ``down``."""
    down = tensors["down"]
    if "mid" not in tensors:
        return down
    return torch.einsum("ijkl,jm->imkl", tensors["mid"], down.flatten(1))


def _some(keys: Any) -> str:
    listed = sorted(keys)
    rest = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
