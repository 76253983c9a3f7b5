"""What this machine has: processor, memory, accelerators, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PROBE_SECONDS = 0.3
_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16", "asimd")


@dataclass(frozen=True)
class Device:
    """One device as torch sees it. Memory in bytes; None where it cannot be read."""

    name: str
    """As torch spells it: ``cpu``, ``cuda:0``, ``mps``."""
    label: str
    total: int | None
    free: int | None


@dataclass(frozen=True)
class Processor:
    """The CPU."""

    model: str
    cores: int
    """Those that this process may use."""
    features: tuple[str, ...]
    """Of those that matter to networks; empty where they cannot be read."""


def processor() -> Processor:
    """The CPU, as far as the operating system tells."""
    known = _cpuinfo()
    flags = set(known.get("flags", known.get("Features", "")).split())
    model = known.get("model name", "") or platform.processor() or platform.machine()
    return Processor(model, cores(), tuple(each for each in _FLAGS if each in flags))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return {}
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def memory() -> tuple[int | None, int | None]:
    """Bytes of main memory, and those that are available now."""
    try:
        import psutil  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None, None
    found = psutil.virtual_memory()
    return int(found.total), int(found.available)


def devices() -> list[Device]:
    """Every device that torch can use, the CPU last."""
    import torch

    found = [describe(torch.device("cuda", index)) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(describe(torch.device("mps")))
    return [*found, describe(torch.device("cpu"))]


def describe(device: torch.device) -> Device:
    """A device that torch knows."""
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Device(str(device), torch.cuda.get_device_name(device), total, free)
    total_memory, available = memory()
    if device.type == "mps":
        # Apple's GPU shares the main memory; torch says how much of it a program should take.
        most = int(torch.mps.recommended_max_memory())
        return Device(str(device), f"Apple GPU ({platform.machine()})", most, min(most, available or most))
    count = cores()
    return Device("cpu", f"CPU with {count} core{'s' if count > 1 else ''}", total_memory, available)


@cache
def throughput(device: str, dtype: str, seconds: float = PROBE_SECONDS) -> float:
    """Floating point operations per second of a large matrix product, measured now, other programs' load included.

    Args:
        device: as torch spells it.
        dtype: ``bfloat16``, ``float16`` or ``float32``.
        seconds: how long to measure.
    """
    import torch

    where = torch.device(device)
    size = 1024 if where.type == "cpu" else 4096
    factor = torch.randn(size, size, device=where).to(getattr(torch, dtype))
    _waited(factor @ factor)
    started, products = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        result = factor @ factor
        products += 1
        if products % 4 == 0 or where.type == "cpu":
            _waited(result)  # an accelerator queues work: without this the queue would be measured
    return 2 * size**3 * products / spent


def _waited(product: torch.Tensor) -> None:
    product[0, 0].item()


def occupied(name: str, count: int = 1) -> dict[str, Any]:
    """What a step that was told to use a device worked on, as plain JSON values.

    Args:
        name: as in options (``auto``, ``cuda:1``).
        count: how many such devices worked at once.

    Returns:
        ``kind`` (``cuda``, ``cpu``, ``mps``), ``label`` (the device's name) and ``count``.
    """
    from pairwright import runtime

    where = runtime.device(name)
    return {"kind": where.type, "label": describe(where).label, "count": count}


def gpu_hours(seconds: float, ran_on: Mapping[str, Any]) -> float:
    """Hours of GPUs; none for a CPU."""
    return seconds * ran_on["count"] / 3600 if ran_on.get("kind") == "cuda" else 0.0
