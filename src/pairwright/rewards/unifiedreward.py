"""UnifiedReward: how well a picture shows its prompt and how good it looks, said in words by a vision-language model.

Wang et al. 2025, "Unified Reward Model for Multimodal Understanding and Generation", arXiv 2503.05236. The model (tuned
from Qwen2.5-VL-7B) is asked the authors' question, answers in free text, and the number after "Final Score:" is the
column: 1 to 5. An answer without one is unscored, never 0; its beginning is in the reason.

Version 2.0 asks for three numbers: that is the reward ``unifiedreward2``, and the two are not to be compared.
"""

from __future__ import annotations

from pairwright import runtime
from pairwright.records import Column
from pairwright.rewards import _unifiedreward

# The authors' words: the weights were tuned on them.
INSTRUCTION = (
    "You are given a text caption and a generated image based on that caption. Your task is to evaluate this image based on two"
    " key criteria:\n"
    "1. Alignment with the Caption: Assess how well this image aligns with the provided caption. Consider the accuracy of"
    " depicted objects, their relationships, and attributes as described in the caption.\n"
    "2. Overall Image Quality: Examine the visual quality of this image, including clarity, detail preservation, color accuracy,"
    " and overall aesthetic appeal.\n"
    "Extract key elements from the provided text caption, evaluate their presence in the generated image using the format:"
    " 'element (type): value' (where value=0 means not generated, and value=1 means generated), and assign a score from 1 to 5"
    " after 'Final Score:'.\n"
    "Your task is provided as follows:\n"
)


def load(
    *,
    model: str = "CodeGoat24/UnifiedReward-qwen-7b",
    max_tokens: int = 512,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 8,
) -> _unifiedreward.UnifiedReward:
    """UnifiedReward from its published checkpoint. Column ``unifiedreward``.

    Args:
        model: folder or hub id with a Qwen2.5-VL in transformers' layout. Published weights have been changed in place:
            ``owner/name@commit`` holds on to one state. The commit is part of a score's fingerprint either way.
        max_tokens: length of an answer at most, the authors' 512.
        dtype: number format of the network (8.3 billion parameters: 16.6 GB in bfloat16).
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures that are answered about at once.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    column = Column("unifiedreward", "UnifiedReward's final score, 1 to 5")
    return _unifiedreward.load(
        model,
        question,
        ("Final Score",),
        (column,),
        longest=max_tokens,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
    )


def question(prompt: str) -> str:
    """The published question about a picture and its prompt."""
    return f"{INSTRUCTION}Text Caption: [{prompt}]"
