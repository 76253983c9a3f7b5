"""RichHF-18K's people as critic: the prompt's words that a picture misses, and where it is wrong or distorted, put into words.

Liang et al. 2024, "Rich Human Feedback for Text-to-Image Generation" (arXiv 2312.10240): one of the critics that "Rich Preference
Optimization" compares. Only pictures that were looked at have a critique: those that the source ``richhf`` gives, or others whose
provenance names Pick-a-Pic's ``uid``. The two heat maps go on as they are, for instructors that look at pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from pairwright import images, richhf, tfrecords
from pairwright.advice import reading
from pairwright.records import Critique, Failed, Picture, Prompt
from pairwright.richhf import Feedback

VERSION = "richhf-1"
"""Of the words below, part of every pair: changed words are another version."""
MOST_OF_IT = 0.6
"""Share of the picture beyond which a fault is everywhere."""
LEAST_SHARE = 0.2
"""Of what is marked that a ninth of the picture must hold to be named."""
PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)


def load(*, labels: Path, threshold: float = 0.5, least_pixels: PositiveInt = 64) -> RichHF:
    """A critic out of RichHF-18K's files.

    Args:
        labels: a ``.tfrecord`` file, or the folder of all three.
        threshold: heat from which on a place counts as faulty, 0..1; the maps are means over three people.
        least_pixels: of 512 x 512 that must be marked for a place to be named.

    Raises:
        RichHFError: there are no such files, or they are not RichHF-18K's.
        TFRecordError: a file is damaged.
        ValueError: a threshold out of range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold}: it must be above 0 and at most 1")
    return RichHF({richhf.uid(name): place for name, place in richhf.index(labels).items()}, threshold, least_pixels)


@dataclass(frozen=True)
class RichHF:
    """Says what people said; see :class:`pairwright.protocols.Critic`."""

    places: Mapping[str, tuple[Path, int]]
    """By Pick-a-Pic's uid, file and byte of the record."""
    threshold: float
    least_pixels: int

    def critique(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Critique | Failed]:
        """One critique per picture, in order."""
        return [self._critique(picture, prompt) for picture, prompt in zip(pictures, prompts, strict=True)]

    def _critique(self, picture: Picture, prompt: Prompt) -> Critique | Failed:
        name = picture.provenance.get("uid", "")
        if not name:
            return Failed("the picture does not say which of Pick-a-Pic's it is (uid); the source 'richhf' gives such pictures")
        if name not in self.places:
            return Failed("RichHF-18K says nothing of this picture")
        path, start = self.places[name]
        found = richhf.feedback(tfrecords.record(path, start), f"{path}, byte {start:,}")
        said = richhf.words(prompt.text)
        if len(said) != len(found.aligned):
            return Failed(f"RichHF-18K has labels for {len(found.aligned)} words, the prompt has {len(said)}: it is another prompt")
        try:
            maps = found.maps()
        except images.ImageError as error:
            return Failed(f"a heat map cannot be decoded: {error}")
        return Critique(self.words(found, said, maps), maps, {"critic": "richhf", "template": VERSION})

    def words(self, found: Feedback, said: Sequence[str], maps: Mapping[str, np.ndarray]) -> str:
        """The critique: words that are missed first, then where, then what is distorted."""
        missed = ", ".join(f'"{each}"' for each in phrases(said, found.aligned))
        wrong, distorted = (self._where(maps[name]) for name in ("misalignment", "artifact"))
        sentences = [
            f"The picture does not match these words of the prompt: {missed}." if missed else "",
            f"What does not match is {wrong}." if wrong else "",
            f"Something is distorted or implausible {distorted}." if distorted else "",
        ]
        return " ".join(each for each in sentences if each) or reading.NOTHING

    def _where(self, heat: np.ndarray) -> str:
        return where(heat >= self.threshold, self.least_pixels / 512**2)


def phrases(words: Sequence[str], aligned: Sequence[bool]) -> list[str]:
    """The words that are missed, those that follow one another together."""
    found: list[list[str]] = []
    before = True
    for word, good in zip(words, aligned, strict=True):
        if not good:
            if before:
                found.append([])
            found[-1].append(word)
        before = good
    return [" ".join(each) for each in found]


def where(marked: np.ndarray, least: float = 0.0) -> str:
    """``in the upper left and the centre``: the ninths of a picture that hold most of what is marked; ``""`` for next to nothing.

    Args:
        marked: ``bool [h, w]``.
        least: share of the picture that must be marked.
    """
    total = float(marked.mean())
    if total <= least or total == 0:
        return ""
    if total > MOST_OF_IT:
        return "in most of the picture"
    shares: dict[str, float] = {}
    for names, rows in zip(PLACES, np.array_split(marked, 3, axis=0), strict=True):
        for name, cell in zip(names, np.array_split(rows, 3, axis=1), strict=True):
            shares[name] = float(cell.sum()) / float(marked.sum())
    ranked = sorted(shares, key=lambda name: -shares[name])
    kept = [name for name in ranked if shares[name] >= LEAST_SHARE] or ranked[:1]
    named = [_with_article(name) for name in kept]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]


def _with_article(place: str) -> str:
    preposition = {"top": "at the", "bottom": "at the", "left": "on the", "right": "on the"}.get(place, "in the")
    return f"{preposition} {place}"
