"""Llama 3.2 Vision as critic, in this process through transformers.

The published weights are gated: accept Meta's terms on the hub first.

What is asked is a template, ``advice/templates/critique-1.toml`` or your own; its name is part of every pair. Answers are greedy.
One that is cut, empty or a refusal is a failure with a reason.
"""

from __future__ import annotations

from pydantic import PositiveInt

from pairwright import runtime
from pairwright.advice import asking
from pairwright.vlms import llama_vision
from pairwright.vlms.advisers import Critic


def load(
    *,
    model: str = "meta-llama/Llama-3.2-11B-Vision-Instruct",
    template: str = "critique-1",
    side: PositiveInt = 1024,
    max_tokens: PositiveInt = 300,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> Critic:
    """A critic out of a model and a template.

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
    asked = asking.critic(template)
    return Critic("llama_vision", llama_vision.load(model, dtype=dtype, device=device), asked, side, max_tokens, batch_size)
