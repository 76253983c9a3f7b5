"""UnifiedReward 2.0: alignment, coherence and style of a picture, said in words by a vision-language model.

The second version of UnifiedReward (Wang et al. 2025, arXiv 2503.05236; released 2025-09) is tuned to give three numbers
from 1 to 5 in place of one: how well the picture matches the prompt, how consistent it is in itself, and how it looks
whatever the prompt. Each is a column of its own, and none is comparable with ``unifiedreward``. An answer in which one is
missing is unscored.
"""

from __future__ import annotations

from pairwright import runtime
from pairwright.records import Column
from pairwright.rewards import _unifiedreward

# The authors' words: the weights were tuned on them.
INSTRUCTION = (
    "You are presented with a generated image and its associated text caption. Your task is to analyze the image across multiple"
    " dimensions in relation to the caption. Specifically:\n"
    "Provide overall assessments for the image along the following axes (each rated from 1 to 5):\n"
    "- Alignment Score: How well the image matches the caption in terms of content.\n"
    "- Coherence Score: How logically consistent the image is (absence of visual glitches, object distortions, etc.).\n"
    "- Style Score: How aesthetically appealing the image looks, regardless of caption accuracy.\n"
    "\n"
    "Output your evaluation using the format below:\n"
    "\n"
    "Alignment Score (1-5): X\n"
    "Coherence Score (1-5): Y\n"
    "Style Score (1-5): Z\n"
    "\n"
    "Your task is provided as follows:\n"
)
AXES = ("Alignment", "Coherence", "Style")


def load(
    *,
    model: str = "CodeGoat24/UnifiedReward-2.0-qwen-7b",
    max_tokens: int = 256,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 8,
) -> _unifiedreward.UnifiedReward:
    """UnifiedReward 2.0 from its published checkpoint. Columns ``unifiedreward2_alignment``, ``_coherence``, ``_style``.

    Args:
        model: folder or hub id with a Qwen2.5-VL in transformers' layout (the published sizes are 3b, 7b, 32b and 72b);
            ``owner/name@commit`` holds on to one state. Those tuned from Qwen3-VL are another kind of model: a server runs
            them.
        max_tokens: length of an answer at most; the three lines that are asked for take about 90.
        dtype: number format of the network (8.3 billion parameters: 16.6 GB in bfloat16).
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures that are answered about at once.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    columns = tuple(Column(f"unifiedreward2_{axis.lower()}", f"UnifiedReward 2.0's {axis.lower()}, 1 to 5") for axis in AXES)
    return _unifiedreward.load(
        model,
        question,
        tuple(f"{axis} Score (1-5)" for axis in AXES),
        columns,
        longest=max_tokens,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
    )


def question(prompt: str) -> str:
    """The published question about a picture and its prompt."""
    return f"{INSTRUCTION}Text Caption: [{prompt}]"
