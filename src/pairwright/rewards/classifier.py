"""Classifier: how surely an image classifier sees what the prompt names.

Any transformers image classifier. Labels may be grouped by a prefix, ``species:rose``, ``color:red``; labels without one
form a single group. In each group a softmax over its own labels gives probabilities, and the score of a group is the
probability of the label or labels of that group that the prompt names. The column is the mean over the groups that the
prompt names; a picture whose prompt names none is unscored. To have one group's number for itself, ask for that group
alone: its column then carries its name.

A label is named where its words stand in the prompt as words, in any case, in the singular or the plural ("roses",
"daisies"). A word that is a label of several groups ("red", a colour and a background) counts for the group whose name
follows it ("a red background"), else for the first group in the checkpoint's order that has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pairwright import runtime, state_dicts, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _batches

ANONYMOUS = ""
"""The group of labels without a prefix."""

Groups = dict[str, dict[str, int]]
"""Group -> label -> place in the vector of logits, in the checkpoint's order."""


def load(
    *,
    model: str,
    groups: tuple[str, ...] = (),
    dtype: runtime.Dtype = "float32",
    device: str = "auto",
    batch_size: int = 32,
) -> Classifier:
    """A classifier in transformers' layout.

    Args:
        model: folder or hub id with ``config.json``, weights and ``preprocessor_config.json``.
        groups: which groups count; all where empty. Named in the column: ``classifier_species``.
        dtype: number format of the network; the softmax is float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit.
        ValueError: a group that the checkpoint does not have.
    """
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    where = runtime.device(device)
    folder = weights.locate(
        model, patterns=["config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"]
    )
    network = state_dicts.pretrained(AutoModelForImageClassification, folder, runtime.working_dtype(dtype, where))
    # The PIL backend by name: with torchvision present transformers would choose another, up to 1/255 away.
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    known = grouped(network.config.id2label)
    unknown = [group for group in groups if group not in known]
    if unknown:
        raise ValueError(f"{model} has no group {unknown[0]!r} of labels; it has: {', '.join(repr(each) for each in known)}")
    return Classifier(
        network.to(where).requires_grad_(requires_grad=False), processor, known, groups or tuple(known), _column(groups), batch_size
    )


@dataclass(frozen=True)
class Classifier:
    """Scores a picture with its prompt. Column ``classifier`` or ``classifier_<group>``, a probability."""

    network: Any
    processor: Any
    labels: Groups
    counted: tuple[str, ...]
    columns: tuple[Column, ...]
    batch_size: int = 32

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    @torch.inference_mode()
    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"]
        logits = self.network(pixels.to(self.network.device, self.network.dtype)).logits.float().cpu()
        return [self._row(each, text) for each, text in zip(logits, texts, strict=True)]

    def _row(self, logits: Tensor, text: str) -> Row:
        found = named(text, self.labels)
        scores = [_mass(logits, self.labels[group], found[group]) for group in self.counted if group in found]
        if not scores:
            return Unscored("the prompt names none of the classifier's labels")
        return (sum(scores) / len(scores),)


def grouped(labels: Mapping[int, str]) -> Groups:
    """``{0: "species:rose", ...}`` -> groups, in order."""
    result: Groups = {}
    for index in sorted(labels):
        group, colon, label = labels[index].partition(":")
        if not colon:
            group, label = ANONYMOUS, labels[index]
        result.setdefault(group, {})[label.strip()] = index
    return result


def named(text: str, labels: Groups) -> dict[str, set[str]]:
    """Group -> those of its labels that the text names. Groups of which it names none are left out."""
    found: dict[str, set[str]] = {}
    owners: dict[str, list[str]] = {}
    for group, members in labels.items():
        for label in members:
            owners.setdefault(label, []).append(group)
    for label, groups in owners.items():
        for match in re.finditer(rf"\b(?:{_forms(label)})\b", text, re.IGNORECASE):
            rest = text[match.end() :].lstrip().lower()
            followed = [group for group in groups if group and re.match(rf"{re.escape(group.lower())}s?\b", rest)]
            found.setdefault((followed or groups)[0], set()).add(label)
    return found


def _forms(label: str) -> str:
    words = r"\s+".join(re.escape(word) for word in label.split())
    plural = rf"|{words[:-1]}ies" if label.endswith("y") else ""
    return f"{words}(?:s|es)?{plural}"


def _mass(logits: Tensor, members: Mapping[str, int], found: set[str]) -> float:
    places = list(members.values())
    probabilities = logits[places].softmax(-1)
    return float(sum(probabilities[places.index(members[label])] for label in sorted(found)))


def _column(groups: tuple[str, ...]) -> tuple[Column, ...]:
    name = "_".join(["classifier", *(re.sub(r"\W+", "_", group.lower()) for group in groups)])
    return (Column(name, "probability of what the prompt names"),)
