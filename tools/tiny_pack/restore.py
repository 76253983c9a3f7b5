"""The finished stages' checkpoints, out of a pack that was exported: one stage can then be trained anew without the others.

Weights come back in fp16's precision and optimisers empty: the steps of such a stage are done, only what follows it goes on. Of a
stage that a later one refined (`decoder`, `*_refined`) the pack holds the refined weights alone, so both come back with those: to
refine anew, remove the checkpoints of both and train both.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from pairwright.saliency.u2net_network import U2Net

from . import autoencoder, classifier, controlnet, diffusion, export, inpainting, judging, layouts, saliency, scorers, text_encoder
from .cards import CARDS
from .training import Plan, Run
from .vocabulary import write_bert_tokenizer, write_clip_tokenizer


def restore(pack: Path, work: Path) -> None:
    """Write the checkpoints of all stages that `pack` has the weights and the card of, but for those that `work` has."""
    work.mkdir(parents=True, exist_ok=True)
    cards = json.loads((pack / CARDS).read_text(encoding="utf-8"))
    clip = write_clip_tokenizer(work / "clip-tokenizer")
    words = export.reward_vocabulary(len(write_bert_tokenizer(work / "bert-tokenizer")))
    vae = load_file(pack / "base/vae/diffusion_pytorch_model.safetensors")
    text = nn.ModuleDict({"encoder": layouts.text_encoder(clip), "reader": text_encoder.reader()})
    reward = layouts.RewardModel(words)
    published = {layouts.published_reward_key(name): name for name in reward.state_dict()}
    for plan, network, weights in (
        (autoencoder.PLAN, layouts.autoencoder(), vae),
        (autoencoder.DECODER, layouts.autoencoder(), vae),
        (text_encoder.PLAN, text, _under(load_file(pack / "base/text_encoder/model.safetensors"), "encoder.")),
        (diffusion.PLAN, layouts.unet(), load_file(pack / "base/unet/diffusion_pytorch_model.safetensors")),
        (inpainting.PLAN, layouts.inpainting_unet(), load_file(pack / "inpaint/unet/diffusion_pytorch_model.safetensors")),
        (controlnet.PLAN, layouts.controlnet(), _read(pack / "controlnet/diffusion_pytorch_model.safetensors")),
        (scorers.PICKSCORE, layouts.pickscore(clip), load_file(pack / "pickscore/model.safetensors")),
        (scorers.IMAGEREWARD, reward, _named(load_file(pack / "imagereward/ImageReward.safetensors"), published)),
        (classifier.PLAN, layouts.classifier(), load_file(pack / "classifier/model.safetensors")),
        (judging.REWARD_PLAN, reward, _named(load_file(pack / "imagereward/ImageReward.safetensors"), published)),
        (judging.CLASSIFIER_PLAN, layouts.classifier(), load_file(pack / "classifier/model.safetensors")),
        (saliency.PLAN, U2Net(layouts.U2NET_WIDTHS), load_file(pack / "u2net/u2net.safetensors")),
    ):
        if weights and plan.name in cards and not (work / f"{plan.name}.pt").exists():
            _checkpoint(plan, network, weights, cards[plan.name], work)


def _read(path: Path) -> dict[str, Tensor]:
    """Nothing where a pack is older than the stage."""
    return load_file(path) if path.exists() else {}


def _under(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def _named(weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    return {names[name]: value for name, value in weights.items()}


def _checkpoint(plan: Plan, network: nn.Module, weights: dict[str, Tensor], card: dict[str, Any], work: Path) -> None:
    state = network.state_dict()
    unknown = sorted(set(weights) - set(state))
    if unknown:
        raise ValueError(f"{plan.name}: the pack has {unknown[0]!r}, which the network does not have")
    state.update({name: value.float() for name, value in weights.items()})
    network.load_state_dict(state)
    run = Run(replace(plan, steps=card["steps"]), network, work)
    run.step, run.seconds, run.losses = card["steps_done"], card["seconds"], card["loss_curve"]
    run.notes = {name: value for name, value in card.items() if name not in run.card()}
    run.save()
