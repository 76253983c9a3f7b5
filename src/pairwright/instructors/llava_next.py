"""LLaVA-1.6 (LLaVA-NeXT) as instructor, in this process through transformers.

By default with Mistral: one of the instructors that "Rich Preference Optimization" compares. Heat maps are shown as pictures.

With a critique it is asked what to change about that (two steps), without one from picture and prompt alone (one step). What is
asked is a template, ``advice/templates/instruction-1.toml`` or your own; its name is part of every pair. Answers are greedy and
read tolerantly; one that is cut, empty, too long or a refusal is a failure with a reason.
"""

from __future__ import annotations

from pydantic import PositiveInt

from pairwright import runtime
from pairwright.advice import asking
from pairwright.vlms import llava_next
from pairwright.vlms.advisers import Instructor


def load(
    *,
    model: str = "llava-hf/llava-v1.6-mistral-7b-hf",
    template: str = "instruction-1",
    side: PositiveInt = 1024,
    max_tokens: PositiveInt = 200,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> Instructor:
    """An instructor out of a model and a template.

    Args:
        model: folder or hub id, in transformers' layout.
        template: one that ships, or a ``.toml`` file of your own.
        side: longer sides are reduced to so many pixels.
        max_tokens: of the answer.
        dtype: number format of the network (7.6 billion parameters: 15 GB in bfloat16).
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        TemplateError: no such template, or one that is not whole.
        WeightsError: weights that are not there or do not fit, with the keys named.
    """
    asked = asking.instructor(template)
    return Instructor("llava_next", llava_next.load(model, dtype=dtype, device=device), asked, side, max_tokens, batch_size)
