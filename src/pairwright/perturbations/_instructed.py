"""What editors that follow an instruction share: the text that they are told, and which requests go together.

Requests of one size and of texts of equally many pieces share a forward, so that no text is filled up because of its
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm

from torch import Tensor

from pairwright.perturbations import _pipelines, _regions
from pairwright.perturbations._long_texts import LongTexts
from pairwright.records import Edit, Edited, Failed

Paint = Callable[[Tensor, Sequence[str], Sequence[int]], Tensor]
"""Pictures ``float32 [b, 3, h, w]`` in 0..1, what is said to the model of each, and their seeds -> pictures alike."""


def edited(
    edits: Sequence[Edit], say: Callable[[Edit], str], paint: Paint, pipeline: _pipelines.TextPipeline, texts: LongTexts, batch: int
) -> list[Edited | Failed]:
    """One changed picture per request, in order, of the size of the original; one without an instruction is a failure.

    Args:
        edits: the requests; a mask plays no part.
        say: the text of a request.
        paint: the network.
        pipeline: whose factor the sides are padded to.
        texts: how texts are read.
        batch: pictures per call of ``paint``.
    """

    def run(pixels: Tensor, _: Tensor, some: Sequence[Edit]) -> Tensor:
        return paint(pixels, [say(each) for each in some], [each.seed for each in some])

    results: list[Edited | Failed] = [Failed("there is no instruction")] * len(edits)
    places = [place for place, each in enumerate(edits) if (each.instruction or "").strip()]
    changed = _regions.repainted(
        [edits[place] for place in places],
        run,
        factor=lcm(pipeline.factor, 8),  # diffusers' pipelines ask for multiples of 8 whatever the autoencoder
        batch_size=batch,
        masked=False,
        alike=lambda each: texts.count(say(each)),
    )
    for place, result in zip(places, changed, strict=True):
        results[place] = result
    return results


def instruction(edit: Edit) -> str:
    """The instruction alone, in one line."""
    return " ".join((edit.instruction or "").split())


def prompt_and_instruction(edit: Edit) -> str:
    """``prompt + ", " + instruction``, as in "Rich Preference Optimization", its section on editing."""
    return ", ".join(each for each in (edit.caption.strip(), instruction(edit)) if each)
