"""Randomness keyed by what it is for: ``(seed, purpose, id, step)``.

There is no shared random stream anywhere. Every draw names its purpose and its sample, and the key alone
decides the value. That is what makes resuming exact without saving generator states, lets work be skipped
(a rollout that is not needed) without changing later draws, and keeps a picture's noise independent of
its neighbours in a batch and of the number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Key = str | int


def key(seed: int, purpose: str, *parts: Key) -> int:
    """A 63-bit integer for ``(seed, purpose, *parts)``, equal on every platform and Python version.

    Raises:
        TypeError: a part is neither text nor a Python integer (NumPy's would give another key than Python's).
    """
    for part in parts:
        if type(part) not in {str, int}:
            raise TypeError(f"a key is made of str and int, got {part!r} ({type(part).__name__})")
    text = "\x1f".join([str(seed), purpose, *(f"{type(part).__name__}:{part}" for part in parts)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniform(seed: int, purpose: str, *parts: Key) -> float:
    """One number in [0, 1)."""
    return (key(seed, purpose, *parts) >> 10) / float(1 << 53)


def integer(high: int, seed: int, purpose: str, *parts: Key) -> int:
    """One integer in ``0 .. high - 1``."""
    if high < 1:
        raise ValueError(f"high must be at least 1, got {high}")
    # 63 bits against any `high` met here (a few thousand): the modulo's bias is below 1e-15.
    return key(seed, purpose, *parts) % high


def generator(seed: int, purpose: str, *parts: Key) -> torch.Generator:
    """A CPU generator of its own, for libraries that ask for one. The CPU's numbers are the same whatever the device.

    torch's CPU generator reads only the low 32 bits of its seed, so among 77,000 keys two are expected to share their
    stream; :func:`noise` has no such limit.
    """
    import torch

    return torch.Generator("cpu").manual_seed(key(seed, purpose, *parts))


def noise(shape: Sequence[int], keys: Sequence[Key], seed: int, purpose: str, *parts: Key) -> torch.Tensor:
    """Standard normal noise, one sample per key: ``float32 [len(keys), *shape]`` on the CPU.

    Row ``i`` depends on ``keys[i]`` (and on seed, purpose and ``parts``), never on the other rows.
    """
    import numpy as np
    import torch

    rows = np.empty((len(keys), *shape), dtype=np.float32)
    for row, each in zip(rows, keys, strict=True):
        # Philox is made for keys: 128 bits of it, and streams of different keys are independent.
        row[...] = np.random.Generator(np.random.Philox(key=key(seed, purpose, each, *parts))).standard_normal(shape, np.float32)
    return torch.from_numpy(rows)


def permutation(n: int, seed: int, purpose: str, *parts: Key) -> list[int]:
    """The numbers ``0 .. n - 1`` in an order decided by the key alone."""
    return sorted(range(n), key=lambda index: key(seed, purpose, *parts, index))
