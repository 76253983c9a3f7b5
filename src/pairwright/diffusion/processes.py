"""Noising processes. t = 1 is noise, and velocity = noise - latents (SD3's convention).

Discrete processes count the same time in steps: 0 is (almost) the picture, ``length - 1`` is (almost) noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor


class Process(Protocol):
    """How a picture's latents become noise, and what a network is asked to predict on the way."""

    @property
    def prediction(self) -> str:
        """What the network predicts (``epsilon``, ``v_prediction``)."""
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
            ValueError: a prediction type that no objective here is defined for.
        """
        from diffusers import DDPMScheduler

        scheduler = DDPMScheduler.from_config(dict(config))
        prediction = scheduler.config.prediction_type
        if prediction not in {"epsilon", "v_prediction"}:
            raise ValueError(f"prediction_type {prediction!r}: only epsilon and v_prediction can be trained")
        return cls(scheduler.alphas_cumprod.float(), prediction)

    @property
    def length(self) -> int:
        """How many timesteps there are."""
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
        """The estimate of x_0 that a prediction at ``state`` amounts to."""
        signal, deviation = self._scales(t, state)
        if self.prediction == "epsilon":
            return (state - deviation * prediction) / signal
        return signal * state - deviation * prediction

    def _scales(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        share = self.alphas_cumprod[t.cpu()]
        return spread(share**0.5, like), spread((1 - share) ** 0.5, like)
