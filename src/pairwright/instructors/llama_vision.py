"""Llama 3.2 Vision as instructor, in this process through transformers.

One of the instructors that "Rich Preference Optimization" compares; gated: accept Meta's terms on the hub first. Heat maps are
shown as pictures.

With a critique it is asked what to change about that (two steps), without one from picture and prompt alone (one step). What is
asked is a template, ``advice/templates/instruction-1.toml`` or your own; its name is part of every pair. Answers are greedy and
read tolerantly; one that is cut, empty, too long or a refusal is a failure with a reason.
"""

from __future__ import annotations

from pydantic import PositiveInt

from pairwright import runtime
from pairwright.advice import asking
from pairwright.vlms import llama_vision
from pairwright.vlms.advisers import Instructor


def load(
    *,
    model: str = "meta-llama/Llama-3.2-11B-Vision-Instruct",
    template: str = "instruction-1",
    side: PositiveInt = 1024,
    max_tokens: PositiveInt = 200,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> Instructor:
    """An instructor out of a model and a template.

    Args:
        model: folder or hub id, in transformers' layout; the published one is gated.
        template: one that ships, or a ``.toml`` file of your own.
        side: longer sides are reduced to so many pixels.
        max_tokens: of the answer.
        dtype: number format of the network (10.7 billion parameters: 21 GB in bfloat16).
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        TemplateError: no such template, or one that is not whole.
        WeightsError: weights that are not there or do not fit, with the keys named.
    """
    asked = asking.instructor(template)
    return Instructor("llama_vision", llama_vision.load(model, dtype=dtype, device=device), asked, side, max_tokens, batch_size)
