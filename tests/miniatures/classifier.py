"""An image classifier in transformers' layout, with random weights: species, colours and backgrounds from one vector."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification

LABELS = ("species:rose", "species:daisy", "color:red", "color:green", "background:green", "background:red")


def write_classifier(folder: Path, labels: tuple[str, ...] = LABELS, seed: int = 0) -> Path:
    """Write the configuration, the weights and the preprocessing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 12],
            depths=[1, 1],
            layer_type="basic",
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
        network = ResNetForImageClassification(config)
        torch.nn.init.normal_(network.classifier[1].weight)
        network.save_pretrained(folder)
    settings = {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "crop_pct": 1.0,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
