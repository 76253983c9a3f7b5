"""Networks of the real size with random weights on a GPU: pairs per second, memory, share of the hardware's limit.

No weights are read: the network is made from its configuration on the device. Latents and text states are random and cached,
as they are in a real training after its first minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.training import networks
from benchmarks.training.networks import TOKENS, Config
from benchmarks.training.ways import CONTESTS, Contest, Looking
from pairwright import hardware, runtime, seeds
from pairwright.diffusion import families, microbatch, policy, training
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.encodings import Encoded, Latents
from pairwright.diffusion.families import Condition, Family, _unets
from pairwright.diffusion.families.sd35 import T5_TOKENS
from pairwright.diffusion.losers import Gated
from pairwright.diffusion.training import Trainer
from pairwright.models import ModelRef
from pairwright.options import Train
from pairwright.plan.networks import counted
from pairwright.store import Store, write_json

Name = Literal["sd15", "sd35"]
BACKWARD = {"lora": 1.13, "full": 2.0}
"""Operations of a backward pass, in forwards."""
LIMITS = {"H200": 790e12, "3090": 71e12}
"""Operations per second that a bfloat16 matrix product reaches on the device; others are measured."""
PAIRS = 64
CHANNELS = {"sd15": 4, "sd35": 16}
PAPERS = {
    "sd15": {"lora": {"rank": 4, "alpha": 4.0}},
    "sd35": {"lora": {"rank": 32, "alpha": 64.0}},
}
STATES = {"sd15": 20, "sd35": 10}
"""Of a sampling trajectory, in the papers."""


@dataclass(frozen=True)
class Speed:
    """What one kind of step does on a device."""

    label: str
    micro: int
    seconds: float
    """Of an optimiser step, median."""
    pairs_per_second: float
    memory: int | None
    """Bytes, the most in a step."""
    flop: float
    """Operations per sample (in stage 2: per pair), from forwards counted and backward passes taken as 1.13 forwards; at least
    so many where every rollout is needed, since a gate that stays shut has no backward pass."""
    share: float
    """Of the hardware's limit."""
    forwards: float
    """Per sample, without backward passes."""


def kinds(name: Name) -> dict[str, Contest]:
    """What is timed; SD-3.5-M has no realalign, whose sampling policy is always the policy itself."""
    return {key: CONTESTS[key] for key in ("dpo", "realalign", "dro-all", "dro-none") if name == "sd15" or key != "realalign"}


def family(name: Name, config: Config, folder: Path, device: torch.device, dtype: runtime.Dtype) -> Family:
    """A family whose network is made from a configuration."""
    part, kind = ("transformer", SD3Transformer2DModel) if name == "sd35" else ("unet", UNet2DConditionModel)
    networks.write_scheduler(folder, name)
    write_json(folder / "vae" / "config.json", {"block_out_channels": [1, 1, 1, 1], "latent_channels": CHANNELS[name]})
    write_json(folder / part / "config.json", json.loads(json.dumps(dict(config))))
    found = families.load_base(ModelRef(str(folder), name), dtype=dtype, device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        network: nn.Module = kind(**config)
    network = network.to(runtime.dtype(dtype)).requires_grad_(requires_grad=False).eval()
    if name == "sd15":
        network = network.to(memory_format=_unets.layout(device))  # type: ignore[call-overload]
    found.__dict__["network"] = network  # a cached property: what the instance has is not loaded
    return found


def encoded(name: Name, config: Config, side: int) -> Encoded:
    """Random latents and text states of :data:`PAIRS` pairs."""
    rows = [str(row) for row in range(PAIRS)]

    def drawn(what: str, *shape: int) -> Tensor:
        return seeds.noise(shape, rows, 0, what)

    if name == "sd15":
        told = {"states": drawn("states", TOKENS, config["cross_attention_dim"])}
    else:
        pooled, width = int(config["pooled_projection_dim"]), int(config["joint_attention_dim"])
        told = {
            "clip": drawn("clip", TOKENS, min(pooled, width)),
            "pooled": drawn("pooled", pooled),
            "t5": drawn("t5", T5_TOKENS, width).to(torch.bfloat16),
        }
    sides = {each: Latents((drawn(each, 1, CHANNELS[name], side // 8, side // 8),)) for each in ("winner", "loser")}
    return Encoded(tuple(rows), tuple(range(PAIRS)), (Condition(told),), sides, side)


def trainer(
    name: Name, config: Config, contest: Contest, folder: Path, *, side: int, device: torch.device, batch: int, micro: int | str
) -> Trainer:
    """Ours, ready for its first step."""
    rollout = {"steps": STATES[name], **contest.settings.get("rollout", {})}
    common = {"start": str(folder), "steps": 1_000_000, "batch": batch, "micro_batch": micro, "flips": False, "rollout": rollout}
    options = Train.model_validate({**contest.settings, **common, **PAPERS[name], "dtype": dtype_of(device)})
    base = family(name, config, folder, device, options.dtype)
    start = ModelRef(str(folder), name)
    actors = policy.build(base, start, None, Store(folder / "runs"), options.lora, seed=0, lagging=training.lagging(options))
    batches = Batches(encoded(name, config, side), base.process, device, batch, 1, 0, flips=False, dropout=0.0)
    found = Trainer(options, actors, batches)
    if contest.look:
        found.losers = Looking(options.rollout.steps, options.margin)
    microbatch.choose(found)
    return found


def dtype_of(device: torch.device) -> runtime.Dtype:
    """What the papers train in; a CPU only tries this out."""
    return "bfloat16" if device.type == "cuda" else "float32"


def speed(found: Trainer, contest: Contest, forward: float, limit: float, *, repeats: int, compiled: bool) -> Speed:
    """Time some steps, two more before them.

    Args:
        found: ours.
        contest: what it is called, and which losers it has.
        forward: operations of one forward with one sample.
        limit: operations per second.
        repeats: steps that are timed.
        compiled: run the network through ``torch.compile``.
    """
    if compiled:
        found.policy.network.compile()
    spent: list[float] = []
    memory: list[int] = []
    share: list[float] = []
    for number, step in enumerate(timed(found)):
        if number >= 2:
            spent.append(step[0])
            memory += [] if step[1] is None else [step[1]]
            share.append(step[2])
        if len(spent) == repeats:
            break
    graded = 0 if contest.look else 1 if isinstance(found.losers, Gated) else 2
    forwards = sum(share) / len(share)
    flop = (forwards + graded * BACKWARD[found.settings.method]) * forward
    seconds = median(spent)
    batch = found.settings.batch
    return Speed(
        contest.label.split(", against")[0],
        found.batches.micro,
        seconds,
        batch / seconds,
        max(memory, default=None),
        flop,
        flop * batch / seconds / limit,
        forwards,
    )


def timed(found: Trainer) -> Iterator[tuple[float, int | None, float]]:
    """Of each step: seconds, bytes, forwards per sample."""
    steps, device = training.steps(found), found.policy.family.device
    while True:
        began = time.perf_counter()
        step = next(steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        yield time.perf_counter() - began, step.memory, step.forwards


def limit_of(device: torch.device) -> tuple[float, str]:
    """Operations per second that can be reached at most, and where the number is from."""
    label = hardware.describe(device).label
    known = next((name for name in LIMITS if name in label), None)
    if known and device.type == "cuda":
        return LIMITS[known], f"{LIMITS[known] / 1e12:.0f} TFLOP/s, the limit taken for a {known}"
    measured = hardware.throughput(str(device), dtype_of(device))
    return measured, f"{measured / 1e12:.3g} TFLOP/s, measured now with a large matrix product"


def forward_flop(name: Name, config: Config, side: int) -> float:
    """Operations of one forward with one sample, counted on torch's meta device."""
    with torch.device("meta"), torch.no_grad():
        latents, t = torch.empty(1, CHANNELS[name], side // 8, side // 8), torch.ones(1)
        if name == "sd15":
            unet, states = UNet2DConditionModel(**config), torch.empty(1, TOKENS, config["cross_attention_dim"])
            return counted(lambda: unet(latents, t, states))
        transformer, pooled = SD3Transformer2DModel(**config), torch.empty(1, config["pooled_projection_dim"])
        states = torch.empty(1, TOKENS + T5_TOKENS, config["joint_attention_dim"])
        return counted(lambda: transformer(latents, states, pooled, t))


def measure(
    name: Name,
    config: Config,
    folder: Path,
    *,
    device: torch.device,
    side: int,
    batch: int,
    micro: int | str,
    repeats: int,
    compiled: bool,
) -> Mapping[str, Any]:
    """Every kind of step, each from a fresh network."""
    limit, said = limit_of(device)
    forward = forward_flop(name, config, side)
    found = []
    for contest in kinds(name).values():
        ready = trainer(name, config, contest, folder, side=side, device=device, batch=batch, micro=micro)
        found.append(asdict(speed(ready, contest, forward, limit, repeats=repeats, compiled=compiled)))
        microbatch.forget(ready)
    about = {"family": name, "side": side, "batch": batch, "compiled": compiled, "forward": forward, "limit": said}
    return {**about, "speeds": found}
