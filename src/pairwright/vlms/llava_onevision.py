"""LLaVA-OneVision's raw checkpoints in this process: lmms-lab/llava-critic-7b and its relatives with Qwen2 and SigLIP.

Li et al. 2024, "LLaVA-OneVision" (arXiv 2408.03326); Xiong et al. 2024, "LLaVA-Critic" (arXiv 2410.02712). The authors' files
are those of their own code, which is not needed: names are changed to those of transformers' ``LlavaOnevision``, and what has no
place or is missing is an error that names it.

A picture is seen whole at 384 x 384 and in up to 6 x 6 tiles of that size, at most 9 tiles' worth of features (``anyres_max_9``).
Features are SigLIP's last hidden states, before its last normalisation: of its 27 layers the authors run 26.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairwright import runtime, state_dicts, weights
from pairwright.vlms import asking, qwen2_vl
from pairwright.vlms.asking import Question

SYSTEM = "You are a helpful assistant."
PLACE = "<image>"
"""The token after those of Qwen2's tokenizer, where a picture's features go."""
HEAD_WIDTH = 72
"""Of each of SigLIP-so400m's attention heads."""
LONGEST = 164
"""Of pictures more oblong than this, less than one patch of 14 pixels would be left in six tiles of 384."""
KEYS: tuple[tuple[str, str], ...] = (
    (r"model\.vision_tower\.vision_tower\.vision_model\.(.+)", r"model.vision_tower.\1"),
    (r"model\.mm_projector\.0\.(.+)", r"model.multi_modal_projector.linear_1.\1"),
    (r"model\.mm_projector\.2\.(.+)", r"model.multi_modal_projector.linear_2.\1"),
    (r"model\.image_newline", r"model.image_newline"),
    (r"model\.((?:embed_tokens|layers|norm)\..+)", r"model.language_model.\1"),
    (r"lm_head\.weight", r"lm_head.weight"),
)
"""The authors' names, and where each goes."""
NEEDED = {"mm_projector_type": "mlp2x_gelu", "mm_patch_merge_type": "spatial_unpad"}
"""What this reads; other settings are of other models of the family."""


@dataclass(frozen=True)
class Processor:
    """Makes the model's inputs from pictures and texts."""

    tokenizer: Any
    pictures: Any
    body: Any
    """The network's ``LlavaOnevisionModel``, which knows how many features a picture of some size has."""

    def read(self, questions: Sequence[Question]) -> dict[str, Tensor]:
        """What the network takes by keyword.

        Returns:
            ``input_ids`` and ``attention_mask``, ``int64 [b, n]``, filled up on the left; ``pixel_values``
            ``float32 [b, tiles, 3, h, w]`` and ``image_sizes`` ``int64 [b, 2]``, height and width.
        """
        seen = self.pictures(images=[each.images[0] for each in questions], return_tensors="pt")
        counts = [self.places(size) for size in seen["image_sizes"]]
        turns = [conversation(each, count) for each, count in zip(questions, counts, strict=True)]
        read = self.tokenizer(turns, padding=True, padding_side="left", return_tensors="pt")
        kept = {name: read[name] for name in ("input_ids", "attention_mask")}
        return kept | {name: seen[name] for name in ("pixel_values", "image_sizes")}

    def places(self, size: Tensor) -> int:
        """How many features a picture of ``[height, width]`` pixels has, counted by the model's own packing on empty tensors."""
        from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

        config = self.body.config
        side = config.vision_config.image_size
        tiles = image_size_to_num_patches(image_size=size, grid_pinpoints=config.image_grid_pinpoints, patch_size=side)
        empty = torch.empty(tiles, (side // config.vision_config.patch_size) ** 2, 1, device="meta")
        newline = torch.empty(1, device="meta")
        (packed,), _ = self.body.pack_image_features([empty], size[None], newline, config.vision_aspect_ratio)
        return int(packed.shape[0])


def conversation(question: Question, places: int) -> str:
    """The authors' template ``qwen_1_5`` for one picture and one message, up to where the model would answer."""
    said = f"{PLACE * places}\n{question.text}"
    return f"<|im_start|>system\n{question.system or SYSTEM}<|im_end|>\n<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"


def load(model: str, *, dtype: runtime.Dtype, device: str) -> asking.Speaker:
    """A model that is shown one picture with each question.

    Args:
        model: folder or hub id, in the authors' own layout.
        dtype: number format of the network.
        device: see :func:`pairwright.runtime.device`.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    where = runtime.device(device)
    folder = weights.locate(model, patterns=qwen2_vl.WEIGHT_FILES)
    settings = _settings(folder)
    state = rename({name: each for path in state_dicts.files(folder) for name, each in state_dicts.read(path).items()}, model)
    tokenizer = _tokenizer(folder)
    place = int(tokenizer.convert_tokens_to_ids(PLACE))
    network = build(settings, state, place, runtime.working_dtype(dtype, where), str(folder))
    network.generation_config = _generation(folder, tokenizer)
    processor = Processor(tokenizer, _pictures(network.config), network.model)
    network = network.to(where).requires_grad_(requires_grad=False)
    loaded, reserved = weights.identity(model), asking.reserved(tokenizer)
    return asking.Speaker(network, tokenizer, processor.read, where, loaded, reserved, longest_side=LONGEST)


def rename(published: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The authors' dictionary under transformers' names.

    Raises:
        WeightsError: keys that have no place, all of them named.
    """
    places = {key: _place(key) for key in published}
    state_dicts.complain(what, missing=(), unexpected=[key for key, place in places.items() if place is None])
    return {place: published[key] for key, place in places.items() if place is not None}


def _place(key: str) -> str | None:
    matches = ((re.fullmatch(pattern, key), target) for pattern, target in KEYS)
    return next((match.expand(target) for match, target in matches if match), None)


def build(settings: Mapping[str, Any], state: dict[str, Tensor], place: int, number: torch.dtype, what: str) -> Any:
    """The network on the CPU, in evaluation mode; the sizes that the settings leave out are read off the tensors.

    Args:
        settings: the authors' ``config.json``.
        state: under transformers' names.
        place: the id of :data:`PLACE`.
        number: number format.
        what: where it comes from, for messages.

    Raises:
        WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config

    sight = _sight(state, what)
    rows = state["model.language_model.embed_tokens.weight"].shape[0]
    if place >= rows:
        raise weights.WeightsError(f"{what}: the tokenizer's {PLACE} is number {place}, the embedding has {rows} rows")
    text = {name: value for name, value in settings.items() if name not in {"model_type", "architectures"}}
    config = LlavaOnevisionConfig(
        vision_config=sight,
        text_config=Qwen2Config.from_dict({**text, "vocab_size": rows}),
        image_token_index=place,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=settings["image_aspect_ratio"],
        image_grid_pinpoints=_grid(settings["image_grid_pinpoints"], sight["image_size"], what),
        tie_word_embeddings=False,
    )
    return qwen2_vl.network(LlavaOnevisionForConditionalGeneration, config, state, number, what)


def _sight(state: Mapping[str, Tensor], what: str) -> dict[str, Any]:
    """SigLIP's configuration, which the authors' files do not hold."""
    tower = "model.vision_tower."
    layers = {match[1] for name in state if (match := re.match(rf"{re.escape(tower)}encoder\.layers\.(\d+)\.", name))}
    needed = [f"{tower}embeddings.patch_embedding.weight", f"{tower}embeddings.position_embedding.weight"]
    needed += [f"{tower}encoder.layers.0.mlp.fc1.weight", "model.language_model.embed_tokens.weight"]
    state_dicts.complain(what, missing=[name for name in needed if name not in state], unexpected=())
    patches, positions, inner, _ = (state[name].shape for name in needed)
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": patches[0],
        "intermediate_size": inner[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(patches[0] // HEAD_WIDTH, 1),
        "patch_size": patches[-1],
        "image_size": patches[-1] * math.isqrt(positions[0]),
        "vision_use_head": False,
    }


def _grid(pinpoints: Any, side: int, what: str) -> list[list[int]]:
    """The sizes in pixels that tiles may fill together, as ``[height, width]``: listed, or as ``(1x1),...,(6x6)``."""
    if isinstance(pinpoints, str):
        ends = [tuple(map(int, each)) for each in re.findall(r"\((\d+)x(\d+)\)", pinpoints)]
        if len(ends) == 2:
            (top, left), (bottom, right) = ends
            return [[side * down, side * across] for down in range(top, bottom + 1) for across in range(left, right + 1)]
    if isinstance(pinpoints, list) and pinpoints and all(isinstance(each, list) and len(each) == 2 for each in pinpoints):
        return [[int(height), int(width)] for height, width in pinpoints]
    raise weights.WeightsError(f"{what}: image_grid_pinpoints {pinpoints!r} cannot be read")


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise weights.WeightsError(f"{folder} has no config.json")
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wrong = {name: settings.get(name) for name, value in NEEDED.items() if settings.get(name) != value}
        aspect = str(settings.get("image_aspect_ratio"))
    except (ValueError, AttributeError) as error:
        raise weights.WeightsError(f"{path} is not a configuration: {error}") from error
    if wrong or not re.fullmatch(r"anyres_max_\d+", aspect) or "image_grid_pinpoints" not in settings:
        said = ", ".join(f"{name} = {value!r}" for name, value in {**wrong, "image_aspect_ratio": aspect}.items())
        raise weights.WeightsError(f"{path} is not that of a raw LLaVA-OneVision: {said}")
    return settings


def _tokenizer(folder: Path) -> Any:
    from transformers import AddedToken, Qwen2Tokenizer

    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise weights.WeightsError(f"{folder} lacks a tokenizer (tokenizer.json or vocab.json)")
    with state_dicts.quietly():
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.add_tokens([AddedToken(PLACE, special=True, normalized=False)])
    return tokenizer


def _generation(folder: Path, tokenizer: Any) -> Any:
    from transformers import GenerationConfig

    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)


def _pictures(config: Any) -> Any:
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    side, half = config.vision_config.image_size, [0.5] * 3
    return LlavaOnevisionImageProcessorPil(
        size={"height": side, "width": side}, image_mean=half, image_std=half, image_grid_pinpoints=config.image_grid_pinpoints
    )
