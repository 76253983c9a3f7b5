"""What this machine has: processor, memory, accelerators, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Dtype = Literal["bfloat16", "float16", "float32"]
PROBE_SECONDS = 0.3
_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16", "asimd")
_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}


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
def multiplies(dtype: Dtype) -> bool:
    """Whether this CPU multiplies in that number format as it stands; where it does not, torch imitates it.

    On an AMD EPYC with oneDNN held to AVX2, a convolution and a matrix product took 455 and 41 ms in bfloat16, 18 and 8 ms in
    float32; held to AVX-512 without its bfloat16 part 29 and 16 ms, and 15 and 6 in float32; with it 6 and 3 ms.
    """
    import torch

    if dtype == "float32":
        return True
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call, unused-ignore]
        return False
    if dtype == "float16":
        return _kernels("_is_mkldnn_fp16_supported")
    features = processor().features
    return _kernels("_is_mkldnn_bf16_supported") and (not features or bool(_BFLOAT16 & set(features)))


def _kernels(question: str) -> bool:
    """What oneDNN says; True where this torch has no such question, so that what a recipe asks for is done."""
    import torch

    asked = getattr(torch.ops.mkldnn, question, None)
    return True if asked is None else bool(asked())


def working_dtype(dtype: Dtype, device: str) -> Dtype:
    """The number format in which networks are kept and run on a device: the asked one, or float32 on a CPU that lacks it.

    float32 holds every number of the other two, so that a result is then as good and nearer to the exact one; it takes twice
    the memory.

    Args:
        dtype: as a recipe asks.
        device: as torch spells it (``cpu``, ``cuda:1``).
    """
    return dtype if not device.startswith("cpu") or multiplies(dtype) else "float32"


@cache
def throughput(device: str, dtype: Dtype, seconds: float = PROBE_SECONDS) -> float:
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


def occupied(where: torch.device, count: int = 1) -> dict[str, Any]:
    """What a step worked on, as plain JSON values.

    Args:
        where: the device, or one of several.
        count: how many such devices worked at once.

    Returns:
        ``kind`` (``cuda``, ``cpu``, ``mps``), ``label`` (the device's name) and ``count``.
    """
    return {"kind": where.type, "label": describe(where).label, "count": count}


def gpu_hours(seconds: float, ran_on: Mapping[str, Any]) -> float:
    """Hours of GPUs; none for a CPU."""
    return seconds * ran_on["count"] / 3600 if ran_on.get("kind") == "cuda" else 0.0
