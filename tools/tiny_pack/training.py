"""The training loop that every stage shares: keyed randomness, checkpoints, a card."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Plan:
    """How one stage is trained; the learning rate warms up and decays as a cosine."""

    name: str
    split: str
    steps: int
    batch: int
    learning_rate: float
    seed: int = 0
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.0  # 0 keeps no average
    save_every: int = 250


@dataclass
class Run:
    """A stage under way: what its checkpoint holds, and where it lies."""

    plan: Plan
    network: nn.Module
    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build the optimiser and go on from the checkpoint, where there is one."""
        self.network.to(self.device)
        self.optimiser = torch.optim.AdamW(
            [w for w in self.network.parameters() if w.requires_grad], self.plan.learning_rate, BETAS,
            weight_decay=self.plan.weight_decay, fused=True,
        )  # fmt: skip
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items() if self.plan.ema}
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept between processes."""
        return self.folder / f"{self.plan.name}.pt"

    @property
    def finished(self) -> bool:
        """Whether every planned step was taken."""
        return self.step >= self.plan.steps

    def best_state(self) -> dict[str, Tensor]:
        """The weights to export: the average where one is kept."""
        return self.average or self.network.state_dict()

    def save(self) -> None:
        """Write the checkpoint and the card, each under a temporary name first."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
            "notes": self.notes,
        }
        fresh = self.checkpoint.with_suffix(".part")
        with fresh.open("wb") as stream:
            torch.save(state, stream)
            os.fsync(stream.fileno())
        fresh.rename(self.checkpoint)
        card = self.folder / f"{self.plan.name}.json"
        card.with_suffix(".part").write_text(json.dumps(self.card(), indent=1), encoding="utf-8")
        card.with_suffix(".part").rename(card)

    def card(self) -> dict[str, Any]:
        """What the model card says about this stage."""
        window = max(1, len(self.losses) // 40)
        curve = [
            round(sum(part) / len(part), 5) for part in (self.losses[i : i + window] for i in range(0, len(self.losses), window))
        ]
        return asdict(self.plan) | {
            "steps_done": self.step,
            "seconds": round(self.seconds),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "torch": torch.__version__,
            "device": self.device.type,
            "loss_curve": curve,
        } | self.notes  # fmt: skip

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.losses, self.notes = state["losses"], state["notes"]


def forwards() -> torch.autocast:
    """Networks' forwards in bfloat16, where most of the time goes; losses and weights stay float32."""
    return torch.autocast("cpu", torch.bfloat16)


def keyed(seed: int, step: int) -> Generator:
    """A generator that belongs to one step: resuming draws what an unbroken run draws."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def rate_at(plan: Plan, step: int) -> float:
    """Linear warm-up, then a cosine down to 2 % of the learning rate."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    along = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.learning_rate * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, along))) / 2)


def train(run: Run, loss_at: Callable[[Generator], Tensor], after: Callable[[Run], None] | None = None) -> None:
    """Take the steps that are left; `after` is called at every checkpoint."""
    # Gradients that underflow slow a CPU's matrix products twentyfold.
    torch.set_flush_denormal(True)
    run.network.train()
    while not run.finished:
        began = time.monotonic()
        for group in run.optimiser.param_groups:
            group["lr"] = rate_at(run.plan, run.step)
        loss = loss_at(keyed(run.plan.seed, run.step))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
        run.optimiser.step()
        run.optimiser.zero_grad()
        run.step += 1
        run.losses.append(round(loss.item(), 5))
        _follow(run)
        run.seconds += time.monotonic() - began
        if run.step % run.plan.save_every == 0 or run.finished:
            _report(run)
            run.save()
            if after:
                after(run)
            run.network.train()


def _follow(run: Run) -> None:
    """Move the average towards the weights, faster at first."""
    if not run.average:
        return
    keep = min(run.plan.ema, (1 + run.step) / (10 + run.step))
    for name, value in run.network.state_dict().items():
        if value.is_floating_point():
            run.average[name].lerp_(value.detach(), 1 - keep)
        else:
            run.average[name].copy_(value)


def _report(run: Run) -> None:
    recent = run.losses[-run.plan.save_every :]
    print(
        f"{time.strftime('%H:%M:%S')} {run.plan.name} {run.step}/{run.plan.steps} "
        f"loss {sum(recent) / len(recent):.4f} "
        f"{run.seconds / run.step:.3f} s a step",
        flush=True,
    )
