"""Noising processes. t = 1 is noise, and velocity = noise - latents (SD3's convention).

A timestep is always given in the network's own unit. :class:`Ddpm` counts the same time in whole steps: 0 is (almost) the
picture, ``length - 1`` is (almost) noise. :class:`RectifiedFlow` counts it in thousandths: ``t = length * sigma``, a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from pairwright.errors import Explained


class ProcessError(Explained, ValueError):
    """A scheduler's configuration that stands for no process that can be trained here."""


class Process(Protocol):
    """How a picture's latents become noise, and what a network is asked to predict on the way."""

    @property
    def prediction(self) -> str:
        """What the network predicts, in diffusers' words (``epsilon``, ``v_prediction``, ``flow_prediction``)."""
        ...

    @property
    def length(self) -> int:
        """How many timesteps training draws from."""
        ...

    def draw(self, uniform: Tensor) -> Tensor:
        """``[b]`` in [0, 1) -> timesteps ``[b]`` as training draws them, in the network's own unit."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The state ``[b, ...]`` at ``t [b]``."""
        ...

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a perfect network would predict at that state, ``[b, ...]``."""
        ...

    def clean(self, state: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """The estimate of the latents that a prediction at ``state`` amounts to, ``[b, ...]``."""
        ...


def spread(values: Tensor, like: Tensor) -> Tensor:
    """``[b]`` -> ``[b, 1, 1, ...]``, with the rank of ``like`` and on its device, float32."""
    # Narrowed before it moves: Apple's devices have no float64.
    return values.float().to(like.device).reshape(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Ddpm:
    """``x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise`` with a_t the cumulative product of 1 - beta (Ho et al. 2020, eq. 4).

    ``alphas_cumprod`` is ``[length]`` float32 on the CPU, as diffusers computes it from the scheduler's configuration.
    """

    alphas_cumprod: Tensor
    prediction: Literal["epsilon", "v_prediction"]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Ddpm:
        """From a diffusers scheduler's configuration.

        Raises:
            ProcessError: a prediction type that no objective here is defined for.
        """
        from diffusers import DDPMScheduler

        scheduler = DDPMScheduler.from_config(dict(config))
        prediction = scheduler.config.prediction_type
        if prediction not in {"epsilon", "v_prediction"}:
            raise ProcessError(f"prediction_type {prediction!r}: only epsilon and v_prediction can be trained")
        return cls(scheduler.alphas_cumprod.float(), prediction)

    @property
    def length(self) -> int:
        """See :class:`Process`."""
        return len(self.alphas_cumprod)

    def draw(self, uniform: Tensor) -> Tensor:
        """Uniform over ``0 .. length - 1``, int64."""
        return (uniform.double() * self.length).long().clamp_(max=self.length - 1)

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See :class:`Process`."""
        signal, deviation = self._scales(t, latents)
        return signal * latents + deviation * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noise, or ``sqrt(a_t) noise - sqrt(1 - a_t) x_0`` (Salimans and Ho 2022) for v-prediction."""
        if self.prediction == "epsilon":
            return noise
        signal, deviation = self._scales(t, latents)
        return signal * noise - deviation * latents

    def clean(self, state: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """See :class:`Process`."""
        signal, deviation = self._scales(t, state)
        if self.prediction == "epsilon":
            return (state - deviation * prediction) / signal
        return signal * state - deviation * prediction

    def _scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        share = self.alphas_cumprod[t.cpu()]
        return spread(share**0.5, like), spread((1 - share) ** 0.5, like)


@dataclass(frozen=True)
class RectifiedFlow:
    """``x_t = (1 - s) x_0 + s noise`` with s = sigma, in the timesteps ``t = length * s`` (Liu et al. 2022; Esser et al. 2024).

    ``shift`` bends the schedule towards noise: ``s' = shift * s / (1 + (shift - 1) * s)`` (Esser et al. 2024,
    arXiv 2403.03206, eq. 23, with ``shift = sqrt(m / n)``); 3 for Stable Diffusion 3 and 3.5.
    """

    shift: float
    length: int = 1000
    prediction: Literal["flow_prediction"] = "flow_prediction"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RectifiedFlow:
        """From the configuration of diffusers' ``FlowMatchEulerDiscreteScheduler``.

        Raises:
            ProcessError: no flow's configuration; a shift that depends on the resolution; noise at the other end.
        """
        if "shift" not in config:
            raise ProcessError(f"{config.get('_class_name', 'the scheduler')} names no 'shift': not a rectified flow's schedule")
        for name in ("use_dynamic_shifting", "invert_sigmas"):
            if config.get(name):
                raise ProcessError(
                    f"the scheduler's {name} is on; only a flow with one fixed shift (Stable Diffusion 3) can be trained"
                )
        return cls(float(config["shift"]), int(config.get("num_train_timesteps", 1000)))

    @property
    def timesteps(self) -> Tensor:
        """What training draws from, ``[length]`` float32, from noise (``length``) towards the picture."""
        return self._shifted(torch.arange(self.length, 0, -1) / self.length) * self.length

    def draw(self, uniform: Tensor) -> Tensor:
        """Logit-normal(0, 1) over the shifted schedule (Esser et al. 2024, section 3.1), float32.

        As diffusers' SD3 trainer does it: ``u = sigmoid(normal)`` counts from the noisy end of :attr:`timesteps`. The normal
        number is the quantile of ``uniform``, so that no stream of draws is needed.
        """
        share = torch.sigmoid(torch.special.ndtri(uniform.double()))
        return self.timesteps[(share * self.length).long().clamp_(max=self.length - 1)]

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """See :class:`Process`."""
        sigma = self._sigma(t, latents)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:  # noqa: ARG002 - a Process
        """The velocity ``noise - latents``, the same all along the way."""
        return noise - latents

    def clean(self, state: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """See :class:`Process`."""
        return state - self._sigma(t, state) * prediction

    def grid(self, steps: int) -> Tensor:
        """The sigmas at which diffusers samples in ``steps`` steps, ``[steps + 1]`` float64 from 1 to 0.

        diffusers shifts twice: it spaces the steps evenly between the ends of the schedule that is shifted already, and shifts
        the result. With a shift of 3 and 10 steps the last step therefore starts at sigma 0.0089, not at 0.25.
        """
        ends = self._shifted(torch.tensor([1.0, 1 / self.length], dtype=torch.float64))
        spaced = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)
        return torch.cat([self._shifted(spaced), spaced.new_zeros(1)])

    def _shifted(self, sigma: Tensor) -> Tensor:
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)

    def _sigma(self, t: Tensor, like: Tensor) -> Tensor:
        return spread(t, like) / self.length
