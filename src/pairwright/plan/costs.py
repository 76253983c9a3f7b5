"""What a model costs, counted from its configuration on torch's meta device: no weights are read, nothing is computed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright import catalogue
from pairwright.catalogue import Costs

if TYPE_CHECKING:
    from torch import Tensor, nn

TOKENS = 77
POSITIONS = 180
"""A scorer's forward is taken as two operations per parameter and position. At 180 positions this comes within a sixth of
what CLIP-H and ImageReward need for a picture and its text."""
LORA_TARGETS = (".to_q", ".to_k", ".to_v", ".to_out.0")


def pipeline(name: str, folder: Path | None, side: int) -> Costs | None:
    """Of a Stable Diffusion pipeline: counted where it is here, else from the catalogue; None where nothing is known."""
    if folder is not None and (folder / "unet" / "config.json").is_file():
        return _pipeline(folder, side)
    known = catalogue.known(name)
    return known.at(side) if known and "unet" in known.parameters else None


def reward(name: str, path: Path | None) -> Costs | None:
    """Of a network that scores one picture and one text."""
    known = catalogue.known(name)
    if known and "score" in known.flop:
        return known
    count = sum(_numel(shape) for shape in shapes(path).values()) if path else 0
    return Costs({"network": count}, {"score": 2.0 * count * POSITIONS}, side=0, rough=True) if count else None


def saliency(name: str, path: Path | None, side: int | None) -> Costs | None:
    """Of a U^2-Net."""
    if path is not None and (found := _u2net(path, side)) is not None:
        return found
    known = catalogue.known(name)
    return known if known and "map" in known.flop else None


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors in a file or in a folder's own files, read from headers."""
    if path.is_dir():
        safe = sorted(path.glob("*.safetensors"))
        files = safe or sorted(each for each in path.iterdir() if each.suffix in {".pt", ".pth", ".bin"})
        return {name: shape for file in files for name, shape in shapes(file).items()}
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(min(length, 100_000_000)))
        return {name: tuple(each["shape"]) for name, each in header.items() if name != "__metadata__"}
    if path.suffix in {".pt", ".pth", ".bin"}:
        import torch

        return dict(_tensors(torch.load(path, map_location="meta", weights_only=True)))
    return {}


def _tensors(value: object, prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _tensors(each, f"{prefix}{name}")
    elif hasattr(value, "shape"):
        yield prefix, tuple(value.shape)


def _numel(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


@cache
def _pipeline(folder: Path, side: int) -> Costs:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(_config(folder / "unet"))
        vae = AutoencoderKL.from_config(_config(folder / "vae"))
        text = CLIPTextModel(CLIPTextConfig.from_dict(_config(folder / "text_encoder")))
        small = side // 2 ** (len(vae.config.block_out_channels) - 1)
        picture, latents = torch.empty(1, 3, side, side), torch.empty(1, vae.config.latent_channels, small, small)
        with torch.no_grad():
            flop = {
                "encode": counted(lambda: vae.encode(picture)),
                "decode": counted(lambda: vae.decode(latents)),
                "text": counted(lambda: text(torch.zeros(1, TOKENS, dtype=torch.long))),
            }
        flop["unet"], kept = unet_step(unet, small)
        unet.enable_gradient_checkpointing()
        _, checkpointed = unet_step(unet.train(), small)
    parameters = {name: _count(part) for name, part in (("unet", unet), ("vae", vae), ("text_encoder", text))}
    return Costs(parameters, flop, side, kept, checkpointed, adapter(unet))


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def _count(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def adapter(unet: nn.Module) -> int:
    """Parameters of an adapter of rank 1 on the attention's projections: its inputs and its outputs."""
    targets = [module for name, module in unet.named_modules() if name.endswith(LORA_TARGETS)]
    return sum(sum(module.weight.shape) for module in targets)


def unet_step(unet: nn.Module, side: int) -> tuple[float, float]:
    """Operations of one forward, and bytes that it keeps for the backward pass of an adapter, in 2-byte numbers.

    What an adapter needs kept is what its target would need if it were trained itself: the target's input.
    """
    import torch

    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(any(f"{target}." in name for target in LORA_TARGETS))
    own = {parameter.untyped_storage()._cdata for parameter in unet.parameters()}  # noqa: SLF001 - meta storages have no address
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:  # noqa: SLF001
            kept[storage._cdata] = storage  # noqa: SLF001 - held, so that no other storage takes its place
        return tensor

    config: Any = unet.config
    latents = torch.empty(1, config.in_channels, side, side, device="meta")
    states = torch.empty(1, TOKENS, config.cross_attention_dim, device="meta")
    step = torch.ones(1, dtype=torch.long, device="meta")
    with _fused_attention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        flop = counted(lambda: unet(latents, step, encoder_hidden_states=states))
    return flop, sum(each.nbytes() for each in kept.values()) / 2


def counted(forward: Callable[[], object]) -> float:
    """Floating point operations of what ``forward`` does, a multiply-add being two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        forward()
    return float(counter.get_total_flops())


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


@cache
def _u2net(path: Path, side: int | None) -> Costs | None:
    import torch

    from pairwright.saliency import u2net
    from pairwright.saliency.u2net_network import U2Net

    config = (path if path.is_dir() else path.parent) / "config.json"
    settings = _config(config.parent) if config.is_file() else {}
    size = side or int(settings.get("image_size", u2net.SIZE))
    with torch.device("meta"):
        try:
            network = U2Net(u2net.widths({name: torch.empty(shape) for name, shape in shapes(path).items()}))
        except KeyError:  # an ONNX file, or another network
            return None
        with torch.no_grad():
            flop = counted(lambda: network.eval().side_outputs(torch.empty(1, 3, size, size)))
    return Costs({"network": _count(network)}, {"map": flop}, side=0)
