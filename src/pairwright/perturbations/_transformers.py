"""What inpainting by pipelines with a transformer has in common: everything but the sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairwright.perturbations import _pipelines, _regions
from pairwright.records import Edit, Edited, Failed


def check(steps: int, strength: float) -> None:
    """Before anything is loaded.

    Raises:
        ValueError: no step would be run.
    """
    if not 0 < strength <= 1 or int(steps * strength) < 1:
        raise ValueError(f"steps={steps}, strength={strength}: at least one step is needed")


@dataclass(frozen=True)
class Repainter:
    """Repaints masked regions; see :class:`pairwright.protocols.Perturbation`."""

    pipe: Any
    device: torch.device
    texts: _pipelines.Texts
    steps: int
    guidance: float
    strength: float
    batch_size: int
    crop: float | None

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One repainted picture per request, in order, of the size of the original."""
        return self._repaint(edits) if self.crop is None else _regions.close_up(edits, self.crop, self._repaint)

    def _repaint(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        factor = int(self.pipe.vae_scale_factor * self.pipe.transformer.config.patch_size)
        return _regions.repainted(edits, self._paint, factor=factor, batch_size=self.batch_size)

    def _paint(self, pixels: Tensor, masks: Tensor, edits: Sequence[Edit]) -> Tensor:
        """Whole pictures ``[b, 3, h, w]`` in 0..1, as the autoencoder decodes them."""
        raise NotImplementedError
