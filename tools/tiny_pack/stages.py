"""The stages in their order; each trains from its checkpoint and exports what it made."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionControlNetImg2ImgPipeline, UNet2DConditionModel
from transformers import BertTokenizer, CLIPTextModel, CLIPTokenizer

from pairwright.doctor.scorers import write_golden
from pairwright.saliency.u2net_network import U2Net

from . import diffusion, export, judging, layouts, scorers
from .autoencoder import load_autoencoder, refine_decoder, train_autoencoder
from .cards import write_cards
from .classifier import accuracy, train_classifier
from .controlnet import train_controlnet
from .data import Data, prepare
from .fakes import Fakes, Painters, make_fakes
from .inpainting import train_inpainting
from .saliency import train_saliency
from .samples import write_base_sheet, write_control_sheet, write_inpaint_sheet, write_round_trips
from .teacher import load_teacher
from .text_encoder import TextStates, train_text_encoder
from .training import Run, train
from .vocabulary import write_bert_tokenizer, write_clip_tokenizer


@dataclass
class Workshop:
    """Where everything lies, and what several stages need, read when first asked for."""

    photographs: Path
    teacher: Path
    work: Path
    out: Path

    @cached_property
    def data(self) -> Data:
        """Photographs, saliency and traits."""
        return prepare(self.photographs, self.teacher, self.work)

    @cached_property
    def clip_tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of the base and of PickScore."""
        return write_clip_tokenizer(self.work / "clip-tokenizer")

    @cached_property
    def bert_tokenizer(self) -> BertTokenizer:
        """The tokenizer of ImageReward."""
        return write_bert_tokenizer(self.work / "bert-tokenizer")

    def vae(self) -> AutoencoderKL:
        """The trained autoencoder, a fresh copy: exporting one halves its precision."""
        return load_autoencoder(self.work)

    def text_encoder(self) -> CLIPTextModel:
        """The base's text encoder, trained first and then frozen; a fresh copy."""
        return train_text_encoder(self.clip_tokenizer, self.work)

    @cached_property
    def text(self) -> TextStates:
        """Captions' hidden states."""
        return TextStates(self.text_encoder(), self.clip_tokenizer)

    def base(self) -> UNet2DConditionModel:
        """The base's averaged UNet, a fresh copy."""
        unet = layouts.unet()
        diffusion.averaged(unet, torch.load(self.work / "base.pt", weights_only=True)["average"])
        return unet

    def inpainting(self) -> UNet2DConditionModel:
        """The inpainting model's averaged UNet, a fresh copy."""
        unet = layouts.inpainting_unet()
        diffusion.averaged(unet, torch.load(self.work / "inpaint.pt", weights_only=True)["average"])
        return unet

    def controlnet(self) -> ControlNetModel:
        """The averaged ControlNet, a fresh copy."""
        network = layouts.controlnet()
        diffusion.averaged(network, torch.load(self.work / "controlnet.pt", weights_only=True)["average"])
        return network

    def fakes(self) -> Fakes:
        """What the pack's models paint of the judges' photographs."""
        return make_fakes(Painters(self.base(), self.vae(), self.text, self.out), self.data, "judge", self.work)


def make_autoencoder(shop: Workshop) -> None:
    """Train the autoencoder and draw its round trips."""
    train_autoencoder(shop.data.photographs, shop.work)
    write_round_trips(shop.data.photographs, shop.vae(), shop.work / "autoencoder.png")


def make_decoder(shop: Workshop) -> None:
    """Refine the decoder and draw its round trips anew."""
    refine_decoder(shop.data.photographs, shop.work)
    write_round_trips(shop.data.photographs, shop.vae(), shop.work / "decoder.png")


def make_pickscore(shop: Workshop) -> None:
    """Train and export the scorer that curation uses."""
    vae = shop.vae()
    run = scorers.train_pickscore(shop.data, shop.clip_tokenizer, vae, shop.work)
    network = layouts.pickscore(shop.clip_tokenizer)
    diffusion.averaged(network, run.best_state())
    # The scale of its preferences, and PickScore's own: scores are cosines times 100.
    network.logit_scale.data.fill_(math.log(scorers.SHARPNESS))
    scores = scorers.pickscore_scores(network, shop.clip_tokenizer)
    note(run, scorers.held_out(scores, shop.data, scorers.worse_views(vae)))
    export.write_pickscore(shop.out / "pickscore", network)


def make_imagereward(shop: Workshop) -> None:
    """Train the judge that curation never sees."""
    vae = shop.vae()
    run = scorers.train_imagereward(shop.data, shop.bert_tokenizer, vae, shop.work)
    export_imagereward(shop, run)


def refine_imagereward(shop: Workshop) -> None:
    """Show it what the pack's models paint."""
    run = judging.refine_imagereward(shop.bert_tokenizer, shop.fakes(), shop.work)
    export_imagereward(shop, run)


def export_imagereward(shop: Workshop, run: Run) -> None:
    """Measure it on held-out photographs, and write it."""
    network = layouts.RewardModel(export.reward_vocabulary(len(shop.bert_tokenizer)))
    diffusion.averaged(network, run.best_state())
    scores = scorers.reward_scores(network, shop.bert_tokenizer)
    note(run, scorers.held_out(scores, shop.data, scorers.worse_views(shop.vae())))
    export.write_imagereward(shop.out / "imagereward", network)


def make_classifier(shop: Workshop) -> None:
    """Train the classifier."""
    export_classifier(shop, train_classifier(shop.data, shop.work))


def refine_classifier(shop: Workshop) -> None:
    """Show it what the pack's models paint."""
    export_classifier(shop, judging.refine_classifier(shop.fakes(), shop.work))


def export_classifier(shop: Workshop, run: Run) -> None:
    """Measure it on held-out photographs, and write it."""
    network = layouts.classifier()
    diffusion.averaged(network, run.best_state())
    note(run, {"accuracy": accuracy(network, shop.data)})
    export.write_classifier(shop.out / "classifier", network)


def make_u2net(shop: Workshop) -> None:
    """Distil and export the saliency network."""
    run = train_saliency(shop.data, load_teacher(shop.teacher), shop.work)
    network = U2Net(layouts.U2NET_WIDTHS)
    diffusion.averaged(network, run.best_state())
    export.write_u2net(shop.out / "u2net", network)


def make_base(shop: Workshop) -> None:
    """Train the base; every checkpoint is exported, and now and then drawn."""
    torch.manual_seed(diffusion.PLAN.seed)
    unet = layouts.unet().to(memory_format=torch.channels_last)
    run = Run(diffusion.PLAN, unet, shop.work)
    views = diffusion.cache_views(shop.data, shop.vae(), run.plan.split, shop.work / "views.pt")

    def publish(current: Run) -> None:
        export_base(shop)
        if current.step % 2000 == 0 or current.finished:
            write_base_sheet(shop.base(), shop.text, shop.vae(), shop.work / f"base-{current.step:05d}.png")

    train(run, lambda generator: diffusion.base_loss(unet, shop.text, views, generator), publish)
    export_base(shop)


def export_base(shop: Workshop) -> None:
    """Write the base pipeline from its last checkpoint."""
    export.write_base(shop.out / "base", shop.vae(), shop.text_encoder(), shop.base())


def make_inpaint(shop: Workshop) -> None:
    """Train the inpainting model and export it."""
    train_inpainting(shop.data, shop.text, shop.vae(), shop.work)
    unet = shop.inpainting()
    write_inpaint_sheet(shop.data, unet, shop.text, shop.vae(), shop.work / "inpaint.png")
    export.write_base(shop.out / "inpaint", shop.vae(), shop.text_encoder(), unet, inpaint=True)


def make_controlnet(shop: Workshop) -> None:
    """Train the editor's ControlNet, draw what it edits and export it."""
    train_controlnet(shop.data, shop.text, shop.vae(), shop.base(), shop.work)
    network = shop.controlnet()
    pipeline = StableDiffusionControlNetImg2ImgPipeline(
        shop.vae(), shop.text_encoder(), shop.clip_tokenizer, shop.base(), network, layouts.scheduler(), None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    write_control_sheet(shop.data, pipeline, shop.work / "controlnet.png")
    export.write_controlnet(shop.out / "controlnet", network)


def note(run: Run, figures: dict[str, Any]) -> None:
    """Add measured figures to a stage's card."""
    run.notes |= figures
    run.save()


def make_golden(shop: Workshop) -> None:
    """Keep what the exported scorers say of the photographs that ship: `pairwright doctor --scorers` compares with it."""
    write_golden(shop.out)


def make_cards(shop: Workshop) -> None:
    """Write the pack's README from the stages' cards."""
    write_cards(shop.work, shop.out)


STAGES: dict[str, Callable[[Workshop], None]] = {
    "autoencoder": make_autoencoder,
    "decoder": make_decoder,
    "pickscore": make_pickscore,
    "imagereward": make_imagereward,
    "classifier": make_classifier,
    "u2net": make_u2net,
    "base": make_base,
    "inpaint": make_inpaint,
    "controlnet": make_controlnet,
    "imagereward_refined": refine_imagereward,
    "classifier_refined": refine_classifier,
    "golden": make_golden,
    "cards": make_cards,
}


def run_stage(name: str, shop: Workshop) -> None:
    """One stage, with its time."""
    began = time.monotonic()
    STAGES[name](shop)
    print(f"{time.strftime('%H:%M:%S')} {name}: {time.monotonic() - began:.0f} s", flush=True)
