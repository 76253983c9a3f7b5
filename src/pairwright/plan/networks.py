"""The networks of a pipeline, counted from its configuration on torch's meta device: no weights are read, nothing is computed.

Of SD-1.x, SDXL and SD-3.x: the denoising network and what an adapter on it takes, the autoencoder, the text encoders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright import state_dicts
from pairwright.catalogue import Costs

if TYPE_CHECKING:
    from torch import Tensor, nn

TOKENS, T5_TOKENS = 77, 256
"""Of a caption, as CLIP and as T5 read it."""


@cache
def pipeline(folder: Path, side: int) -> Costs | None:
    """What a pipeline in diffusers' layout costs at ``side`` pixels; None where a part is not there or of another kind."""
    try:
        return _pipeline(folder, side)
    except FileNotFoundError:  # a download that is not finished
        return None


def _pipeline(folder: Path, side: int) -> Costs | None:
    import torch
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        network = _denoiser(folder)
        if network is None:
            return None
        vae: Any = AutoencoderKL.from_config(config(folder / "vae"))
        small = side // 2 ** (len(vae.config.block_out_channels) - 1)
        picture, latents = torch.empty(1, 3, side, side), torch.empty(1, vae.config.latent_channels, small, small)
        with torch.no_grad():
            flop = {"encode": counted(lambda: vae.encode(picture)), "decode": counted(lambda: vae.decode(latents))}
            parameters = {"unet": size(network), "vae": size(vae), **_texts(folder, flop)}
        flop["unet"], kept = step(network, small)
        _, kept_full = step(network, small, full=True)
        network.enable_gradient_checkpointing()
        _, checkpointed = step(network.train(), small)
    return Costs(parameters, flop, side, kept, checkpointed, kept_full, adapter(network), flow=_is_transformer(network))


@cache
def controlnet(folder: Path, side: int) -> Costs | None:
    """What a ControlNet costs, at one step for one picture of ``side`` pixels; None where it is not there."""
    import torch
    from diffusers import ControlNetModel

    if not (folder / "config.json").is_file():
        return None
    with torch.device("meta"), torch.no_grad(), state_dicts.quietly():
        network: Any = ControlNetModel.from_config(config(folder)).to(torch.bfloat16)
        small = side // 2 ** (len(network.config.conditioning_embedding_out_channels) - 1)
        latents, told = _empty(network.config.in_channels, small, small), _told(network)
        with _fused_attention():
            flop = counted(lambda: network(latents, controlnet_cond=_empty(3, side, side), **told))
    return Costs({"controlnet": size(network)}, {"controlnet": flop}, side)


def config(folder: Path) -> dict[str, Any]:
    """A part's ``config.json``."""
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def size(network: nn.Module) -> int:
    """How many parameters it has."""
    return sum(each.numel() for each in network.parameters())


def adapter(network: nn.Module) -> int:
    """Parameters of an adapter of rank 1 on the family's targets: its inputs and its outputs."""
    return sum(sum(module.weight.shape) for name, module in network.named_modules() if _is_target(name, network))


def step(network: Any, side: int, *, full: bool = False) -> tuple[float, float]:
    """Operations of one forward, and bytes that it keeps for the backward pass in bfloat16.

    What an adapter needs kept is what its target would need if it were trained itself: the target's input. Normalisations
    that compute in float32 keep float32.

    Args:
        network: on the meta device; it is cast.
        side: of the latents.
        full: every weight is trained, not an adapter.
    """
    import torch

    with state_dicts.quietly():  # diffusers warns of casting layers that must stay float32, also where it has none
        network.to(torch.bfloat16)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(full or _is_target(name.rpartition(".")[0], network))
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}  # noqa: SLF001 - meta storages have no address
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:  # noqa: SLF001
            kept[storage._cdata] = storage  # noqa: SLF001 - held, so that no other storage takes its place
        return tensor

    latents = _empty(network.config.in_channels, side, side)
    told = _told(network)
    with _fused_attention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        flop = counted(lambda: network(latents, **told))
    return flop, float(sum(each.nbytes() for each in kept.values()))


def counted(forward: Callable[[], object]) -> float:
    """Floating point operations of what ``forward`` does, a multiply-add being two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        forward()
    return float(counter.get_total_flops())


def _denoiser(folder: Path) -> Any:
    """A UNet or SD-3's transformer."""
    import diffusers

    if (folder / "unet" / "config.json").is_file():
        return diffusers.UNet2DConditionModel.from_config(config(folder / "unet"))
    place = folder / "transformer"
    if (place / "config.json").is_file() and config(place).get("_class_name") == "SD3Transformer2DModel":
        return diffusers.SD3Transformer2DModel.from_config(config(place))
    return None


def _texts(folder: Path, flop: dict[str, float]) -> dict[str, int]:
    """Parameters of the text encoders, CLIP's together; their operations for one caption are added to ``flop``."""
    import torch
    import transformers

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    found = {"text_encoder": 0}
    flop["text"] = 0.0
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        kind = index.get(name, [None, None])[1]
        if kind is None:
            continue
        cls: Any = getattr(transformers, kind)
        encoder = cls(cls.config_class.from_dict(config(folder / name)))
        label, tokens = ("t5", T5_TOKENS) if kind.startswith("T5") else ("text_encoder", TOKENS)
        found[label] = found.get(label, 0) + size(encoder)
        flop["text"] += counted(partial(encoder, torch.zeros(1, tokens, dtype=torch.long)))
    return found


def _is_target(module: str, network: Any) -> bool:
    """Whether the papers put an adapter on that module of the network."""
    return any(module.endswith(f".{target}") for target in _targets(transformer=_is_transformer(network)))


@cache
def _targets(*, transformer: bool) -> tuple[str, ...]:
    from pairwright.diffusion.families import sd15, sd35

    return sd35.Sd35.lora_targets if transformer else sd15.Sd15.lora_targets


def _is_transformer(network: Any) -> bool:
    return hasattr(network, "pos_embed")


def _told(network: Any) -> dict[str, Any]:
    """What a forward is given besides the latents."""
    import torch

    settings, when = network.config, torch.ones(1, dtype=torch.long, device="meta")
    if _is_transformer(network):
        states = _empty(TOKENS + T5_TOKENS, settings.joint_attention_dim)
        return {
            "timestep": when,
            "encoder_hidden_states": states,
            "pooled_projections": _empty(settings.pooled_projection_dim),
        }
    told = {"timestep": when, "encoder_hidden_states": _empty(TOKENS, settings.cross_attention_dim)}
    if settings.addition_embed_type != "text_time":
        return told
    width = settings.projection_class_embeddings_input_dim - 6 * settings.addition_time_embed_dim
    return {**told, "added_cond_kwargs": {"text_embeds": _empty(width), "time_ids": _empty(6)}}


def _empty(*shape: int) -> Tensor:
    import torch

    return torch.empty(1, *shape, device="meta", dtype=torch.bfloat16)


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention that keeps its inputs and its output, as the kernels of real devices do, and not the matrix between."""
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Tensor:
            query, key, value = inputs
            result = (query @ key.transpose(-1, -2)) @ value
            ctx.save_for_backward(*inputs, result)
            return result

    class Replaced(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is functional.scaled_dot_product_attention:
                return Attention.apply(*args[:3])  # type: ignore[no-untyped-call]
            return func(*args, **(kwargs or {}))

    with Replaced():
        yield
