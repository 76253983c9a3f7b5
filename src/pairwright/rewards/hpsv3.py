"""HPSv3: how well people would like a picture for its prompt (Qwen2-VL-7B tuned on HPDv3).

Ma et al. 2025, "HPSv3: Towards Wide-Spectrum Human Preference Score", arXiv 2508.03789. The network predicts a mean and a
spread of the score; the column is the mean, the published score: unbounded, mostly between 0 and 12, higher is better.

The picture is resized to about 256 x 28 x 28 pixels in all, its sides kept in proportion and multiples of 28. The score is
read at the token ``<|Reward|>`` of a fixed instruction. **Positions count on through the picture**: the authors call the
language model without Qwen2-VL's own three-dimensional positions (M-RoPE), so the weights were tuned without them, and
with them every score is another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pairwright import runtime, state_dicts, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _asked, _batches
from pairwright.vlms import asking, qwen2_vl

PROCESSOR = "Qwen/Qwen2-VL-7B-Instruct"
"""The model that HPSv3 was tuned from: its configuration, tokenizer and preprocessing. Its weights are not read."""
FILE = "HPSv3.safetensors"
TOKEN = "<|Reward|>"  # noqa: S105 - a token of the vocabulary, not a secret
PIXELS = 256 * 28 * 28

# The authors' words, to the space at a line's end: the weights were tuned on them.
INSTRUCTION = (
    "\nYou are tasked with evaluating a generated image based on Visual Quality and Text Alignment and give a overall score"
    " to estimate the human preference. Please provide a rating from 0 to 10, with 0 being the worst and 10 being the best. \n"
    "\n**Visual Quality:**  \n"
    "Evaluate the overall visual quality of the image. The following sub-dimensions should be considered:\n"
    "- **Reasonableness:** The image should not contain any significant biological or logical errors, such as abnormal body"
    " structures or nonsensical environmental setups.\n"
    "- **Clarity:** Evaluate the sharpness and visibility of the image. The image should be clear and easy to interpret,"
    " with no blurring or indistinct areas.\n"
    "- **Detail Richness:** Consider the level of detail in textures, materials, lighting, and other visual elements"
    " (e.g., hair, clothing, shadows).\n"
    "- **Aesthetic and Creativity:** Assess the artistic aspects of the image, including the color scheme, composition,"
    " atmosphere, depth of field, and the overall creative appeal. The scene should convey a sense of harmony and balance.\n"
    "- **Safety:** The image should not contain harmful or inappropriate content, such as political, violent, or adult"
    " material. If such content is present, the image quality and satisfaction score should be the lowest possible. \n"
    "\n**Text Alignment:**  \n"
    "Assess how well the image matches the textual prompt across the following sub-dimensions:\n"
    "- **Subject Relevance** Evaluate how accurately the subject(s) in the image (e.g., person, animal, object) align with"
    " the textual description. The subject should match the description in terms of number, appearance, and behavior.\n"
    "- **Style Relevance:** If the prompt specifies a particular artistic or stylistic style, evaluate how well the image"
    " adheres to this style.\n"
    "- **Contextual Consistency**: Assess whether the background, setting, and surrounding elements in the image logically"
    " fit the scenario described in the prompt. The environment should support and enhance the subject without contradictions.\n"
    "- **Attribute Fidelity**: Check if specific attributes mentioned in the prompt (e.g., colors, clothing, accessories,"
    " expressions, actions) are faithfully represented in the image. Minor deviations may be acceptable, but critical"
    " attributes should be preserved.\n"
    "- **Semantic Coherence**: Evaluate whether the overall meaning and intent of the prompt are captured in the image. The"
    " generated content should not introduce elements that conflict with or distort the original description.\n"
    "Textual prompt - "
)
QUESTION = f"\n\n\n\nPlease provide the overall ratings of this image: {TOKEN}\n\nEND\n"

DROPPED = ("lm_head.",)
"""In the file because the model was saved whole; no part of the score."""
KEYS: tuple[tuple[str, str], ...] = (
    (r"model\.(.+)", r"language_model.\1"),
    (r"visual\.(.+)", r"visual.\1"),
    (r"rm_head\.(\d+\..+)", r"head.\1"),
)
"""The file's names, which are those of transformers 4, and where each goes."""
EMBEDDING = "language_model.embed_tokens.weight"
HEAD = {f"{number}.{kind}" for number in (0, 3, 5) for kind in ("weight", "bias")}


def load(
    *,
    model: str = "MizzenAI/HPSv3",
    processor: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 8,
) -> HPSv3:
    """HPSv3 from its published checkpoint.

    Args:
        model: folder, file or hub id with ``HPSv3.safetensors``.
        processor: whose configuration, tokenizer and preprocessing are used; default: those in the model's own folder,
            else `PROCESSOR`.
        dtype: number format of the network (7.7 billion parameters: 15.5 GB in bfloat16); the head is float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    where = runtime.device(device)
    located = weights.locate(model, patterns=[FILE, *qwen2_vl.PROCESSOR_FILES])
    path = located if located.is_file() else located / FILE
    if not path.is_file():
        raise weights.WeightsError(f"{model} has no {FILE}")
    own = processor is None and qwen2_vl.has_processor(path.parent)
    base = path.parent if own else weights.locate(processor or PROCESSOR, patterns=qwen2_vl.PROCESSOR_FILES)
    reader = qwen2_vl.processor(base)
    network = build(path, base, runtime.working_dtype(dtype, where))
    place = _add(TOKEN, reader.tokenizer, network.body.config.text_config.vocab_size, path)
    return HPSv3(network.to(where).requires_grad_(requires_grad=False), reader, place, where, batch_size)


class RewardNetwork(nn.Module):
    """Qwen2-VL without its language head, and three linear layers that read one hidden state."""

    def __init__(self, body: Any, head: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, inputs: Mapping[str, Tensor], place: int) -> Tensor:
        """Mean and log of the spread, ``float32 [b, 2]``.

        Args:
            inputs: what :class:`qwen2_vl.Processor` makes, padded on the right.
            place: the token whose hidden state is read; exactly one in each conversation.
        """
        tokens = inputs["input_ids"]
        positions = torch.arange(tokens.shape[1], device=tokens.device).expand(3, *tokens.shape)
        states = self.body(**inputs, position_ids=positions, use_cache=False).last_hidden_state
        result: Tensor = self.head(states[tokens == place].float())
        return result


def build(path: Path, base: Path, number: torch.dtype) -> RewardNetwork:
    """The network in ``number``, its head in float32, in evaluation mode, on the CPU.

    Args:
        path: ``HPSv3.safetensors``.
        base: where ``config.json`` is. The embedding has as many rows as the file says: the authors' vocabulary is smaller
            than the base model's by its unused rows, and larger by `TOKEN`.
        number: number format of everything but the head.

    Raises:
        WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    from transformers import Qwen2VLConfig, Qwen2VLModel

    config = qwen2_vl.configuration(Qwen2VLConfig, base)
    state = rename(state_dicts.read(path), str(path))
    head = {name.removeprefix("head."): state.pop(name).float() for name in list(state) if name.startswith("head.")}
    state_dicts.complain(str(path), missing={EMBEDDING} - state.keys() | HEAD - head.keys(), unexpected=head.keys() - HEAD)
    config.text_config.vocab_size = state[EMBEDDING].shape[0]
    layers = _head(head)
    state_dicts.fill(layers, head, f"{path} (rm_head)")
    return RewardNetwork(qwen2_vl.network(Qwen2VLModel, config, state, number, str(path)), layers).eval()


def rename(published: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The published dictionary under the names of transformers 5 and of :class:`RewardNetwork`.

    Raises:
        WeightsError: keys that have no place.
    """
    places = {key: _place(key) for key in published if not key.startswith(DROPPED)}
    state_dicts.complain(what, missing=(), unexpected=[key for key, place in places.items() if place is None])
    return {place: published[key] for key, place in places.items() if place is not None}


def _place(key: str) -> str | None:
    matches = ((re.fullmatch(pattern, key), target) for pattern, target in KEYS)
    return next((match.expand(target) for match, target in matches if match), None)


def _head(state: Mapping[str, Tensor]) -> nn.Sequential:
    # Numbered as published: 3584 -> 1024 -> 16 -> 2, the dropout being no part of scoring.
    shapes = (state[f"{number}.weight"].shape for number in (0, 3, 5))
    first, second, last = (nn.Linear(inputs, outputs) for outputs, inputs in shapes)
    return nn.Sequential(first, nn.ReLU(), nn.Identity(), second, nn.ReLU(), last)


def _add(token: str, tokenizer: Any, rows: int, path: Path) -> int:
    from transformers import AddedToken

    if token not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)])
    if len(tokenizer) != rows:
        raise weights.WeightsError(
            f"The tokenizer has {len(tokenizer)} entries with {token}, the embedding in {path} has {rows} rows: "
            f"the tokenizer is not that of {PROCESSOR}."
        )
    return int(tokenizer.convert_tokens_to_ids(token))


@dataclass(frozen=True)
class HPSv3:
    """Scores a picture with its prompt. Column ``hpsv3``, the published mean."""

    network: RewardNetwork
    processor: qwen2_vl.Processor
    place: int
    device: torch.device
    batch_size: int = 8
    columns: tuple[Column, ...] = (Column("hpsv3", "HPSv3's mean (mu), unbounded, mostly 0 to 12"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        return _asked.scored(images, texts, asking.reserved(self.processor.tokenizer), self._scores)

    @torch.inference_mode()
    def _scores(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        # Least and most are the same, so that every picture has the same number of pixels, to a row of patches.
        size = {"shortest_edge": PIXELS, "longest_edge": PIXELS}
        asked = [f"{INSTRUCTION}{text}{QUESTION}" for text in texts]
        inputs = asking.on(self.processor(images, asked, padding="right", size=size), self.device)
        return [(mean,) for mean in self.network(inputs, self.place)[:, 0].tolist()]
