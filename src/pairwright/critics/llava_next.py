"""LLaVA-1.6 (LLaVA-NeXT) as critic, in this process through transformers.

By default with Mistral as its language model.

What is asked is a template, ``advice/templates/critique-1.toml`` or your own; its name is part of every pair. Answers are greedy.
One that is cut, empty or a refusal is a failure with a reason.
"""

from __future__ import annotations

from pydantic import PositiveInt

from pairwright import runtime
from pairwright.advice import asking
from pairwright.vlms import llava_next
from pairwright.vlms.advisers import Critic


def load(
    *,
    model: str = "llava-hf/llava-v1.6-mistral-7b-hf",
    template: str = "critique-1",
    side: PositiveInt = 1024,
    max_tokens: PositiveInt = 300,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> Critic:
    """A critic out of a model and a template.

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
    asked = asking.critic(template)
    return Critic("llava_next", llava_next.load(model, dtype=dtype, device=device), asked, side, max_tokens, batch_size)
