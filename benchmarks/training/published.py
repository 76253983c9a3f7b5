"""Plain renderings, written anew, of the training loops that were published. Each is as fast as its original could be.

- :class:`LoraExample`: diffusers' example of Diffusion-DPO with LoRA. Pictures and captions are encoded in every step; winners
  and losers are one batch; the policy comes first, then the reference as the same network with its adapter disabled.
- :class:`FullExample`: the original Diffusion-DPO. The same with two networks, of which every weight of one is trained.
- :class:`DroLoop`: Diffusion-DRO. A trajectory of 20 steps for each sample, of which one state is used, then policy and
  reference on the real picture and on the policy's own state.

Two things are mended, or nothing could be compared: the posterior's mean is taken where they draw from it, which costs the
same, and the solver is right for every sample of a batch. What is drawn is given, so that both ways see the same.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn import functional

from pairwright.diffusion import adapters

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
POLICY, OLD = "default", "old"


@dataclass(frozen=True)
class Given:
    """A micro-batch as a data loader hands it over, and what is drawn for it."""

    winner: Tensor
    """``[b, 3, h, w]`` in -1..1."""
    loser: Tensor
    tokens: Tensor
    """``[b, 77]``."""
    noise: Tensor
    t: Tensor
    own_noise: Tensor
    """Where the policy's own trajectories start."""


@dataclass
class Loop:
    """What the three have in common: encoders, and an optimiser step over micro-batches."""

    unet: Any
    vae: Any
    text_encoder: Any
    alphas_cumprod: Tensor
    learning_rate: float
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.0
    """Decay of the trained weights' average; 0: none."""
    running: AbstractContextManager[object] = field(default_factory=nullcontext)
    """Autocast, where it is on."""
    trained: dict[str, nn.Parameter] = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    average: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        for network in (self.unet, self.vae, self.text_encoder):
            network.requires_grad_(requires_grad=False)
        self.trained = self.prepare()
        self.optimiser = torch.optim.AdamW(list(self.trained.values()), lr=self.learning_rate, weight_decay=self.weight_decay)
        self.average = {name: value.detach().clone() for name, value in self.trained.items()} if self.ema else {}

    def prepare(self) -> dict[str, nn.Parameter]:
        """Make what is trained trainable, and name it."""
        raise NotImplementedError

    def loss(self, given: Given) -> Tensor:
        """Of a micro-batch, a scalar."""
        raise NotImplementedError

    def step(self, batches: Sequence[Given]) -> float:
        """One optimiser step; its loss."""
        total = 0.0
        for given in batches:
            with self.running:
                loss = self.loss(given) / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        nn.utils.clip_grad_norm_(list(self.trained.values()), self.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        with torch.no_grad():
            for name, value in self.average.items():
                value.sub_((1 - self.ema) * (value - self.trained[name]))
        return total

    @torch.no_grad()
    def latents(self, pixels: Tensor) -> Tensor:
        """Of pictures."""
        found: Tensor = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        return found

    @torch.no_grad()
    def states(self, tokens: Tensor) -> Tensor:
        """Of captions."""
        found: Tensor = self.text_encoder(tokens)[0]
        return found

    def noised(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """States at ``t``."""
        share = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        return share.sqrt() * latents + (1 - share).sqrt() * noise

    def predict(self, state: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """The network's noise."""
        found: Tensor = self.unet(state, t, text).sample
        return found


def error(prediction: Tensor, target: Tensor) -> Tensor:
    """``[b]``."""
    return (prediction.float() - target.float()).pow(2).mean([1, 2, 3])


def add_lora(unet: Any, rank: int, name: str = POLICY) -> None:
    """Put an adapter on a network."""
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, init_lora_weights="gaussian")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")  # two are what is wanted
        unet.add_adapter(config, adapter_name=name)


@dataclass
class LoraExample(Loop):
    """Diffusion-DPO as diffusers' example has it."""

    rank: int = 4
    beta: float = 2000.0

    def prepare(self) -> dict[str, nn.Parameter]:
        """See :class:`Loop`."""
        add_lora(self.unet, self.rank)
        return adapters.parameters(self.unet, POLICY)

    def loss(self, given: Given) -> Tensor:
        """See :class:`Loop`."""
        latents = self.latents(torch.cat([given.winner, given.loser]))
        noise, t = given.noise.repeat(2, 1, 1, 1), given.t.repeat(2)
        state, text = self.noised(latents, noise, t), self.states(given.tokens).repeat(2, 1, 1)
        winner, loser = error(self.predict(state, t, text), noise).chunk(2)
        with torch.no_grad():
            reference_winner, reference_loser = error(self.reference(state, t, text), noise).chunk(2)
        gain = (winner - loser) - (reference_winner - reference_loser)
        return -functional.logsigmoid(-0.5 * self.beta * gain).mean()

    def reference(self, state: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """What the reference predicts."""
        self.unet.disable_adapters()
        found = self.predict(state, t, text)
        self.unet.enable_adapters()
        return found


@dataclass
class FullExample(LoraExample):
    """Diffusion-DPO as its authors published it."""

    second: Any = field(init=False)

    def prepare(self) -> dict[str, nn.Parameter]:
        """See :class:`Loop`."""
        self.second = copy.deepcopy(self.unet)
        self.unet.requires_grad_(requires_grad=True)
        return dict(self.unet.named_parameters())

    def reference(self, state: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """See :class:`LoraExample`."""
        found: Tensor = self.second(state, t, text).sample
        return found


@dataclass
class DroLoop(LoraExample):
    """Diffusion-DRO. The sampling policy is brought up to date every ``refresh`` optimiser steps."""

    margin: float = 0.001
    rollout: int = 20
    refresh: int = 1
    done: int = 0

    def prepare(self) -> dict[str, nn.Parameter]:
        """See :class:`Loop`."""
        trained = super().prepare()
        if self.refresh > 1:
            add_lora(self.unet, self.rank, OLD)
            self.unet.set_adapter(POLICY)  # which also makes the other one constant
        return trained

    def step(self, batches: Sequence[Given]) -> float:
        """See :class:`Loop`."""
        if self.refresh > 1 and self.done % self.refresh == 0:
            adapters.assign(self.unet, OLD, self.trained)
        self.done += 1
        return super().step(batches)

    def loss(self, given: Given) -> Tensor:
        """See :class:`Loop`."""
        text = self.states(given.tokens)
        own, predicted = self.sample(given, text)
        state = torch.cat([self.noised(self.latents(given.winner), given.noise, given.t), own])
        target, t, text = torch.cat([given.noise, predicted]), given.t.repeat(2), text.repeat(2, 1, 1)
        real_error, own_error = error(self.predict(state, t, text), target).chunk(2)
        with torch.no_grad():
            reference_real, reference_own = error(self.reference(state, t, text), target).chunk(2)
        gain = (reference_real - real_error) - (reference_own - own_error)
        return torch.relu(self.margin - gain).mean()

    @torch.no_grad()
    def sample(self, given: Given, text: Tensor) -> tuple[Tensor, Tensor]:
        """DPM-Solver++(2M) to the end, each sample on its own grid; the state at ``t`` and the noise predicted there."""
        gap = len(self.alphas_cumprod) // self.rollout
        level, offset = given.t // gap, given.t % gap
        state, before, used, predicted = given.own_noise, torch.zeros_like(given.own_noise), [], []
        if self.refresh > 1:
            self.unet.set_adapter(OLD)
        for index in range(self.rollout - 1, -1, -1):
            t = gap * index + offset
            noise = self.predict(state, t, text).float()
            used.append(state)
            predicted.append(noise)
            if index:
                state, before = self.advance(state, noise, before, t, gap, first=index == self.rollout - 1)
        if self.refresh > 1:
            self.unet.set_adapter(POLICY)
        place, rows = self.rollout - 1 - level, torch.arange(len(level))
        return torch.stack(used)[place, rows], torch.stack(predicted)[place, rows]

    def advance(self, state: Tensor, noise: Tensor, before: Tensor, t: Tensor, gap: int, *, first: bool) -> tuple[Tensor, Tensor]:
        """The state ``gap`` timesteps nearer to the picture, and the estimate of the picture."""
        signal, deviation, log = self.scales(t)
        signal_next, deviation_next, log_next = self.scales(t - gap)
        clean = (state - deviation * noise) / signal
        direction = clean
        if not first:
            ratio = (log - self.scales(t + gap)[2]) / (log_next - log)
            direction = clean + (clean - before) / (2 * ratio)
        return deviation_next / deviation * state - signal_next * torch.expm1(log - log_next) * direction, clean

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``sqrt(a)``, ``sqrt(1 - a)`` and the logarithm of their ratio, ``[b, 1, 1, 1]`` each."""
        share = self.alphas_cumprod[t].double()
        found = share.sqrt(), (1 - share).sqrt(), 0.5 * torch.log(share / (1 - share))
        signal, deviation, log = (each.float().reshape(-1, 1, 1, 1) for each in found)
        return signal, deviation, log
