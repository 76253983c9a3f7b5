"""A source of small pictures of one colour each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from pairwright import images, seeds
from pairwright.records import Picture, Rejected


@dataclass(frozen=True)
class Colours:
    count: int
    seed: int
    size: int

    def fingerprint(self) -> str:
        return f"{self.count}-{self.seed}-{self.size}"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Picture | Rejected]:
        for number in range(self.count):
            colour = tuple(seeds.integer(256, self.seed, "colour", number, channel) for channel in range(3))
            data = images.encode(Image.new("RGB", (self.size, self.size), colour))
            if number % 29 == 28:
                yield Rejected(f"{number}.jpg", "decode", "truncated")
            else:
                yield Picture(
                    images.content_id(f"{number}".encode()), data, f"picture {number}", {"file": f"{number}.png", "license": "CC0"}
                )


def load(*, count: int = 40, seed: int = 0, size: int = 32) -> Colours:
    """So many pictures, every 29th unreadable."""
    return Colours(count, seed, size)
