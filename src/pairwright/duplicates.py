"""Pictures that are the same although their files differ: equal pixels, or nearly equal to the eye.

Near duplicates are found by a difference hash (dHash): the picture in grey, 9 x 8 pixels, one bit per pair of neighbours that
says which is brighter. Scaling, recompression and small changes of colour move few of the 64 bits.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

BITS = 64
MOST = 16
"""Bits that may differ at most: beyond a quarter of them unlike pictures begin to meet."""


def pixels(image: Image.Image) -> str:
    """A digest of size and pixels: equal for every file that decodes to this picture."""
    return hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).hexdigest()[:32]


def dhash(image: Image.Image) -> int:
    """64 bits; the count of bits in which two hashes differ says how unlike the pictures are."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


@dataclass(frozen=True)
class Looks:
    """What tells whether two pictures are one."""

    pixels: str
    """See :func:`pixels`."""
    dhash: int | None
    """See :func:`dhash`; None where only equal pixels count."""


def look(image: Image.Image, *, near: bool) -> Looks:
    """What is kept in mind of a picture; ``near``: also what tells near duplicates."""
    return Looks(pixels(image), dhash(image) if near else None)


@dataclass
class Seen:
    """The pictures that were there before, by pixels and, where asked for, by likeness."""

    near: int | None = None
    """Bits in which the hashes of two pictures may differ that count as one; None: only equal pixels count."""
    _pixels: dict[str, str] = field(default_factory=dict)
    _bands: list[dict[int, list[tuple[int, str]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Two hashes that differ in at most ``near`` bits agree wholly in one of ``near + 1`` bands: only such are compared."""
        if self.near is not None and not 0 <= self.near <= MOST:
            raise ValueError(f"near must be 0 to {MOST} of {BITS} bits, got {self.near}")
        self._bands = [] if self.near is None else [{} for _ in range(self.near + 1)]

    def twin(self, image: Image.Image, name: str) -> str:
        """Why this picture is a duplicate of an earlier one, in words; ``""`` where it is new, and is kept in mind as ``name``."""
        return self.twin_of(look(image, near=self.near is not None), name)

    def twin_of(self, looks: Looks, name: str) -> str:
        """As :meth:`twin`, of a picture that somebody else has looked at."""
        if looks.pixels in self._pixels:
            return f"same pixels as {self._pixels[looks.pixels]}"
        if self.near is not None:
            code = looks.dhash
            assert code is not None, "near duplicates were asked for, so that the picture was looked at for them"
            bands = self._split(code)
            for band, part in zip(self._bands, bands, strict=True):
                for other, known in band.get(part, ()):
                    if (bits := (code ^ other).bit_count()) <= self.near:
                        return f"nearly the same as {known}: {bits} of {BITS} bits differ"
            for band, part in zip(self._bands, bands, strict=True):
                band.setdefault(part, []).append((code, name))
        self._pixels[looks.pixels] = name
        return ""

    def _split(self, code: int) -> list[int]:
        edges = [BITS * band // len(self._bands) for band in range(len(self._bands) + 1)]
        return [(code >> low) & ((1 << (high - low)) - 1) for low, high in itertools.pairwise(edges)]
