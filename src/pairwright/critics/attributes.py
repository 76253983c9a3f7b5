"""A critic without a language model: which objects, counts and colours of the prompt a CLIP-like scorer does not find.

Each attribute is a contrast of texts on the same picture: ``a photo of a red rose`` against the same with another colour, another
count, or with the object replaced or left out. An attribute is missing where the text as asked scores less than the best of the
others plus a margin. Objects are checked first; counts and colours only of objects that are there. CLIP-like scorers find objects
and colours well, counts badly, and relations not at all: what this critic does not read it does not blame.

It serves small models and tests of the road; a vision-language model is the better critic wherever one can be had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import PositiveInt

from pairwright import plugins, runtime
from pairwright.advice import attributes, reading
from pairwright.advice.attributes import COLOURS, NUMBERS, Asked, Fault
from pairwright.protocols import Reward, Row
from pairwright.records import Critique, Failed, Picture, Prompt, Unscored

MOST = 3
"""Faults that a critique names."""


def load(
    *,
    model: str = "yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800",
    processor: str | None = None,
    objects: tuple[str, ...] = (),
    frame: str = "a photo of {}",
    without: str = "a photo",
    object_margin: float = 0.0,
    count_margin: float = 0.0,
    colour_margin: float = 0.0,
    counts: bool = False,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 32,
) -> AttributeCritic:
    """A ``CLIPModel`` in PickScore's layout.

    Args:
        model: the weights (see :mod:`pairwright.weights`).
        processor: whose tokenizer and preprocessing are used; default: as the reward ``pickscore``.
        objects: what an object may be taken for (``rose``, ``tulip``, ...); without any, its text is contrasted with ``without``.
        frame: text around an object; ``{}`` stands for it.
        without: text of a picture without the object.
        object_margin: by how much the text as asked must score above the others, on PickScore's ``100 * cosine``.
        count_margin: the same of counts.
        colour_margin: the same of colours.
        counts: whether counts are checked.
        dtype: number format of the network.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit.
        ValueError: a frame without ``{}``.
    """
    if "{}" not in frame:
        raise ValueError(f"frame={frame!r}: it must hold {{}}")
    given = {"model": model, "processor": processor, "dtype": dtype, "device": device, "batch_size": batch_size}
    scorer: Reward = plugins.load("rewards", "pickscore", **given)
    margins = {"object": object_margin, "count": count_margin, "colour": colour_margin}
    return AttributeCritic(scorer, model, tuple(each.lower() for each in objects), frame, without, margins, counts)


@dataclass(frozen=True)
class _Contrast:
    """An attribute, its text, and the texts that it is held against with what they would mean."""

    asked: Asked
    kind: str
    text: str
    others: dict[str, str] = field(default_factory=dict)
    """Text -> what seems to be there where it scores best."""


@dataclass(frozen=True)
class AttributeCritic:
    """Names what a scorer does not find; see :class:`pairwright.protocols.Critic`."""

    scorer: Reward
    model: str
    objects: tuple[str, ...]
    frame: str
    without: str
    margins: dict[str, float]
    counts: bool

    def critique(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Critique | Failed]:
        """One critique per picture, in order; a prompt that names no object is a failure."""
        wanted = [attributes.asked(prompt.text) for prompt in prompts]
        missing = self._held([[self._object(each) for each in some] for some in wanted], pictures)
        further: list[list[_Contrast]] = []
        for some, lost in zip(wanted, missing, strict=True):
            gone = {fault.asked for fault, _ in lost} if not isinstance(lost, Failed) else set(some)
            further.append([contrast for each in some if each not in gone for contrast in self._properties(each)])
        wrong = self._held(further, pictures)
        return [self._said(*each) for each in zip(wanted, missing, wrong, strict=True)]

    def _object(self, asked: Asked) -> _Contrast:
        plain = Asked(asked.object)
        own = {
            asked.object,
            attributes.singular(asked.object),
            *asked.object.split(),
            attributes.singular(asked.object).split()[-1],
        }
        others = [each for each in self.objects if each not in own]
        named = {self._text(attributes.with_article(each)): attributes.with_article(each) for each in others}
        return _Contrast(asked, "object", self._text(plain.named()), named or {self.without: ""})

    def _properties(self, asked: Asked) -> Iterable[_Contrast]:
        if asked.count and self.counts:
            others = {self._text(asked.named(count=n)): NUMBERS[n - 1] for n in range(1, len(NUMBERS) + 1) if n != asked.count}
            yield _Contrast(asked, "count", self._text(asked.named(count=asked.count)), others)
        if asked.colour:
            others = {self._text(asked.named(colour=each)): each for each in COLOURS if each != asked.colour}
            yield _Contrast(asked, "colour", self._text(asked.named(colour=asked.colour)), others)

    def _text(self, words: str) -> str:
        return self.frame.replace("{}", words)

    def _held(
        self, contrasts: Sequence[Sequence[_Contrast]], pictures: Sequence[Picture]
    ) -> list[list[tuple[Fault, float]] | Failed]:
        """Faults of each picture with how much is missing."""
        texts = [[text for each in some for text in (each.text, *each.others)] for some in contrasts]
        repeated = [picture for picture, some in zip(pictures, texts, strict=True) for _ in some]
        rows = iter(self.scorer.score(repeated, [Prompt(text) for some in texts for text in some]) if repeated else [])
        return [self._faults(some, [next(rows) for _ in said]) for some, said in zip(contrasts, texts, strict=True)]

    def _faults(self, contrasts: Sequence[_Contrast], rows: list[Row]) -> list[tuple[Fault, float]] | Failed:
        scores = [row for row in rows if not isinstance(row, Unscored)]
        if len(scores) < len(rows):
            return Failed(next(row.reason for row in rows if isinstance(row, Unscored)))
        left = iter(scores)
        found = []
        for each in contrasts:
            own = next(left)[0]
            best, instead = max((next(left)[0], meant) for meant in each.others.values())
            lacking = best + self.margins[each.kind] - own
            if lacking > 0:
                found.append((Fault(each.asked, each.kind, instead if best > own else ""), lacking))
        return found

    def _said(
        self, wanted: Sequence[Asked], missing: list[tuple[Fault, float]] | Failed, wrong: list[tuple[Fault, float]] | Failed
    ) -> Critique | Failed:
        if not wanted:
            return Failed("the prompt names no object, count or colour that can be checked")
        if isinstance(missing, Failed) or isinstance(wrong, Failed):
            return missing if isinstance(missing, Failed) else Failed("not reached")
        found = attributes.ordered([*missing, *wrong])[:MOST]
        text = " ".join(each.sentence() for each in found) or reading.NOTHING
        return Critique(text, made_by={"critic": "attributes", "model": self.model})
