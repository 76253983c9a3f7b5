"""Where a model's parts are read from: a folder in diffusers' layout, or a single file in the original one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairwright import single_files, state_dicts, weights
from pairwright.models import ModelError
from pairwright.weights import WeightsError

_CONFIGURATIONS = ("model_index.json", "scheduler/*.json", "tokenizer*/*", "*/config.json")
_CONVERTERS = {
    "UNet2DConditionModel": "convert_ldm_unet_checkpoint",
    "AutoencoderKL": "convert_ldm_vae_checkpoint",
    "SD3Transformer2DModel": "convert_sd3_transformer_checkpoint_to_diffusers",
}
"""Functions of diffusers' ``single_file_utils`` by class; text encoders have one that builds them too."""
_LISTS = ("model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json")
_SAFETENSORS = (
    "model.safetensors",
    "model-*-of-*.safetensors",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model-*-of-*.safetensors",
)


def patterns(*networks: str) -> tuple[str, ...]:
    """The files of a hub repository that are read: safetensors only, no half-precision or EMA duplicates."""
    return (*_CONFIGURATIONS, *(f"{part}/{name}" for part in networks for name in (*_LISTS, *_SAFETENSORS)))


@dataclass(frozen=True)
class Parts:
    """The parts of a model, in a folder in diffusers' layout or a single file in the original one. Nothing is kept.

    A single file has weights only: what it lacks comes from ``folder`` (see :mod:`pairwright.single_files`).
    """

    base: str
    """What the model is called in recipes, and in messages."""
    folder: Path
    """Configurations, tokenizers, scheduler; without ``file`` all weights, with it those that it lacks."""
    device: torch.device
    file: Path | None = None

    @property
    def index(self) -> dict[str, Any]:
        """``model_index.json``.

        Raises:
            WeightsError: there is none.
        """
        return self._json("model_index.json")

    def has(self, name: str) -> bool:
        """Whether the model has such a part (an optional one is ``[null, null]`` in the index)."""
        return self.index.get(name, [None])[0] is not None

    def config(self, name: str) -> dict[str, Any]:
        """A part's ``config.json``."""
        return self._json(f"{name}/config.json")

    def scheduler(self) -> Any:
        """A fresh diffusers scheduler."""
        import diffusers

        config = self._json("scheduler/scheduler_config.json")
        if self.file is not None:
            config |= single_files.schedule(self.file)
        kind = getattr(diffusers, config["_class_name"], None)
        if kind is None:
            raise ModelError(f"{self.base}: diffusers has no scheduler {config['_class_name']!r}")
        return kind.from_config(config)

    def tokenizer(self, kind: Any, name: str = "tokenizer") -> Any:
        """A tokenizer of transformers."""
        try:
            return kind.from_pretrained(self.folder / name, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{self.folder / name} cannot be loaded as {kind.__name__}: {error}") from error

    def network(self, kind: Any, name: str, dtype: torch.dtype | None, original: str) -> Any:
        """A network on the device, frozen and in evaluation mode.

        Args:
            kind: its class in diffusers or transformers.
            name: its folder in diffusers' layout.
            dtype: None: as it is stored.
            original: the beginning of its keys in a single file.

        Raises:
            WeightsError: missing or unexpected keys; a file or folder that is not there.
        """
        state = read_file(self.file, original) if self.file is not None else {}
        network = self._from_keys(kind, name, state) if state else self._from_folder(kind, name)
        with state_dicts.quietly():  # diffusers warns of casting layers that must stay float32, also where it has none
            network = network.to(self.device) if dtype is None else network.to(self.device, dtype)
        return network.requires_grad_(requires_grad=False)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} cannot be read, which {self.base} needs: {error}") from error
        return found

    def _from_folder(self, kind: Any, name: str) -> Any:
        if self.file is None:
            return state_dicts.pretrained(kind, self.folder / name)
        # The folder was located for its configuration alone; on the hub its weights are asked for only here.
        source = single_files.configuration(self.file, single_files.family(self.file))
        try:
            return state_dicts.pretrained(kind, weights.locate(source, patterns=patterns(name)) / name)
        except WeightsError as error:
            raise WeightsError(
                f"{self.file} has no {name}, so it is taken from {source}, where it is not either: {error}"
            ) from error

    def _from_keys(self, kind: Any, name: str, state: dict[str, Tensor]) -> Any:
        """A network from tensors in the original keys, through diffusers' own converters."""
        eighths = next((key for key, value in state.items() if value.dtype.itemsize == 1), None)
        if eighths is not None:
            raise WeightsError(f"{self.file} holds {name} in 8 bits ({eighths}), which is not read; take a file in 16 or 32 bits")
        with state_dicts.quietly():
            try:
                network = self._converted(kind, name, state)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                if isinstance(error, WeightsError):
                    raise
                raise WeightsError(f"{self.file} does not fit the configuration in {self.folder / name}: {error!r}") from error
        return network.eval()

    def _converted(self, kind: Any, name: str, state: dict[str, Tensor]) -> Any:
        from accelerate import init_empty_weights
        from diffusers.loaders import single_file_utils as converters

        where = {"subfolder": name, "local_files_only": True, "config": str(self.folder)}
        if converter := _CONVERTERS.get(kind.__name__):
            config = kind.load_config(self.folder / name, local_files_only=True)
            with init_empty_weights():
                network = kind.from_config(config)
            # The converter takes its input apart.
            found = getattr(converters, converter)(checkpoint=dict(state), config=config)
            state_dicts.fill(network, found, str(self.file), assign=True)
            return network
        if converters.is_t5_in_single_file(state):
            network = converters.create_diffusers_t5_model_from_checkpoint(kind, state, **where)
            network.set_input_embeddings(network.shared)  # one table under two names; files may have it once
        else:
            network = converters.create_diffusers_clip_model_from_ldm(kind, state, **where)
        # What the file lacks is left without storage.
        state_dicts.complain(
            str(self.file), missing=[key for key, each in network.named_parameters() if each.is_meta], unexpected=()
        )
        return network


def locate(base: str, family: str, device: torch.device, networks: Sequence[str]) -> Parts:
    """Where the parts of a base are.

    Args:
        base: as :mod:`pairwright.weights` reads it.
        family: which it is taken for.
        device: where the parts shall be.
        networks: names of the parts with weights.

    Raises:
        WeightsError: it is not there, or a single file's configuration is not.
        SingleFileError: a single file of another family, or of none.
    """
    path = weights.locate(base, patterns=patterns(*networks))
    if path.is_dir():
        return Parts(base, path, device)
    found = single_files.family(path)
    if found != family:
        raise single_files.SingleFileError(f"{path} is of the family {found}, not {family}")
    source = single_files.configuration(path, family)
    try:
        folder = weights.locate(source, patterns=_CONFIGURATIONS)
    except WeightsError as error:
        raise WeightsError(
            f"{path} is a single file, whose configuration, tokenizers and scheduler are read from {source} "
            f"or from a folder {path.with_suffix('').name}/ beside it in diffusers' layout. {error}"
        ) from error
    return Parts(base, folder, device, path)


def read_file(path: Path, beginning: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose keys begin so, with their whole keys.

    Raises:
        WeightsError: it is not readable.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys() if key.startswith(beginning)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
