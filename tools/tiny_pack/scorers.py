"""The two scorers: a CLIP in PickScore's layout, and a judge in ImageReward's.

PickScore learns on `base`, ImageReward on `judge`: curation sees the first only.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import BertTokenizer, CLIPModel, CLIPTokenizer

from . import layouts
from .captions import BACKGROUNDS, COLOURS, SPECIES, Traits, caption, thinned
from .data import Data
from .degradations import broken, degraded
from .training import Plan, Run, train
from .views import crops, pick, whole

PICKSCORE = Plan("pickscore", "base", 900, 32, 6e-4, ema=0.995)
IMAGEREWARD = Plan("imagereward", "judge", 750, 24, 5e-4, ema=0.995, weight_decay=0.05, save_every=75)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
CHOICES = {
    "species": tuple(SPECIES.values()),
    "colour": COLOURS,
    "background": BACKGROUNDS,
    "framing": ("small", "close-up"),
}
SHARPNESS = 100.0  # logits per unit of cosine in the preference loss, as PickScore was tuned
Worsen = Callable[[Tensor, Generator], Tensor]


def clip_pixels(images: Tensor) -> Tensor:
    """[b, 3, h, w] in 0..1 -> CLIP's mean and spread."""
    mean, std = torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), torch.tensor(CLIP_STD).view(1, 3, 1, 1)
    return (images - mean) / std


def agrees(said: Traits, seen: Traits) -> bool:
    """Whether everything that a caption says is true of a photograph."""
    pairs = ((getattr(said, f.name), getattr(seen, f.name)) for f in fields(Traits))
    return all(not word or word == truth for word, truth in pairs)


def contradicted(said: Traits, chooser: random.Random) -> Traits:
    """The caption's traits with one of them wrong; colour and species most often."""
    named = [name for name in CHOICES if getattr(said, name)]
    weight = {"species": 3, "colour": 3, "background": 1, "framing": 1}
    (wrong,) = chooser.choices(named, [weight[name] for name in named])
    others = [word for word in CHOICES[wrong] if word != getattr(said, wrong)]
    return replace(said, **{wrong: chooser.choice(others)})


def chooser_for(generator: Generator) -> random.Random:
    """Python's random choices, keyed by a torch generator."""
    return random.Random(int(torch.randint(2**31, (1,), generator=generator)))


def worse_views(vae: AutoencoderKL | None) -> Worsen:
    """Faulty pictures, broken shapes among them; with an autoencoder also its round trip and its broken latents."""

    def worsen(images: Tensor, generator: Generator) -> Tensor:
        results = degraded(images, generator)
        eighth = len(images) // 8
        # A repainted flower has a flower's colours and texture: what is wrong with it is its shape.
        results[-3 * eighth :] = broken(images[-3 * eighth :], generator)
        if vae is None:
            return results
        with torch.no_grad():
            latents = vae.encode(2 * images[: 2 * eighth] - 1).latent_dist.mean
            noise = torch.randn(latents.shape, generator=generator)
            amount = torch.rand(len(latents), 1, 1, 1, generator=generator)
            amount[:eighth] = 0  # the round trip alone
            decoded = vae.decode(latents + amount * latents.std() * noise).sample
        results[: 2 * eighth] = (decoded.clamp(-1, 1) + 1) / 2
        return results

    return worsen


def contrastive_loss(logits: Tensor, match: Tensor) -> Tensor:
    """Cross entropy both ways; several pictures may fit a caption, and share its target.

    `logits` [pictures, captions], whose captions beyond the pictures fit none of them.
    """
    square = match[:, : len(match)].float()
    to_texts = functional.pad(square, (0, logits.shape[1] - len(match)))
    targets = to_texts / to_texts.sum(1, keepdim=True)
    by_picture = functional.cross_entropy(logits, targets)
    by_text = functional.cross_entropy(logits[:, : len(match)].T, square.T / square.T.sum(1, keepdim=True))
    return (by_picture + by_text) / 2


def features(network: CLIPModel, images: Tensor, tokens: Mapping[str, Tensor]) -> list[Tensor]:
    """Unit vectors of pictures and captions."""
    picture = network.get_image_features(pixel_values=clip_pixels(images)).pooler_output
    text = network.get_text_features(**tokens).pooler_output
    return [functional.normalize(vector, dim=-1) for vector in (picture, text)]


def pickscore_loss(
    network: CLIPModel, tokenizer: CLIPTokenizer, images: Tensor, seen: list[Traits],
    worsen: Worsen, generator: Generator,
) -> Tensor:  # fmt: skip
    """Contrast with every caption and a contradicted one, and the photograph over its worse."""
    chooser = chooser_for(generator)
    said = [thinned(traits, chooser) for traits in seen]
    wrong = [contradicted(traits, chooser) for traits in said]
    texts = [caption(traits) for traits in (*said, *wrong)]
    # Attention is causal and [end] is what is read: shorter padding changes nothing.
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    half = len(images) // 2
    pictures = torch.cat((images, worsen(images[:half], generator)))
    vectors, words = features(network, pictures, tokens)
    match = torch.tensor([[agrees(text, truth) for text in said] for truth in seen])
    scale = network.logit_scale.clamp(max=4.6052).exp()
    cosines: Tensor = vectors @ words.T
    gaps = cosines.diagonal()[:half] - cosines[len(images) :, :half].diagonal()
    preference = -functional.logsigmoid(SHARPNESS * gaps).mean()
    contrast = contrastive_loss(scale * cosines[: len(images)], match)
    return contrast + 0.5 * preference


def reward_loss(
    network: layouts.RewardModel, tokenizer: BertTokenizer, images: Tensor, seen: list[Traits],
    worsen: Worsen, generator: Generator,
) -> Tensor:  # fmt: skip
    """Bradley-Terry: right over wrong caption, photograph over worse, both over both wrong."""
    chooser = chooser_for(generator)
    said = [thinned(traits, chooser) for traits in seen]
    wrong = [contradicted(traits, chooser) for traits in said]
    texts = [caption(traits) for traits in (*said, *wrong, *said)]
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=35, return_tensors="pt")
    pictures = torch.cat((images, worsen(images, generator)))
    good, bad = network.vision(clip_pixels(pictures)).last_hidden_state.chunk(2)
    right, mistaken, worse = network.judge(torch.cat((good, good, bad)), tokens).chunk(3)
    ranked = functional.logsigmoid(right - mistaken) + functional.logsigmoid(right - worse)
    # The scale of rewards is free in a ranking: keep them near ImageReward's spread.
    loss: Tensor = -ranked.mean() + 0.005 * (right.square() + worse.square()).mean()
    return loss


def train_pickscore(data: Data, tokenizer: CLIPTokenizer, vae: AutoencoderKL | None, folder: Path) -> Run:
    """Train on `base`."""
    torch.manual_seed(PICKSCORE.seed)
    network = layouts.pickscore(tokenizer)
    run = Run(PICKSCORE, network, folder)
    worsen = worse_views(vae)

    def loss(generator: Generator) -> Tensor:
        images, seen = batch(data, run.plan, generator)
        return pickscore_loss(network, tokenizer, images, seen, worsen, generator)

    train(run, loss)
    return run


def train_imagereward(data: Data, tokenizer: BertTokenizer, vae: AutoencoderKL | None, folder: Path) -> Run:
    """Train on `judge`."""
    torch.manual_seed(IMAGEREWARD.seed)
    network = layouts.RewardModel(len(tokenizer) + 2)
    run = Run(IMAGEREWARD, network, folder)
    worsen = worse_views(vae)

    def loss(generator: Generator) -> Tensor:
        images, seen = batch(data, run.plan, generator)
        return reward_loss(network, tokenizer, images, seen, worsen, generator)

    train(run, loss)
    return run


def batch(data: Data, plan: Plan, generator: Generator) -> tuple[Tensor, list[Traits]]:
    """Views of a plan's split with what can be seen in them."""
    chosen = pick(data.photographs.indices(plan.split), plan.batch, generator)
    images, _ = crops(data.photographs.pixels[chosen], generator, 0.85)
    return images, [data.traits[index] for index in chosen]


Scores = Callable[[Tensor, list[str]], Tensor]


def pickscore_scores(network: CLIPModel, tokenizer: CLIPTokenizer) -> Scores:
    """Cosines times 100 of pictures with their captions."""

    @torch.no_grad()
    def scores(images: Tensor, captions: list[str]) -> Tensor:
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        picture, text = features(network.eval(), images, tokens)
        return 100 * (picture * text).sum(1)

    return scores


def reward_scores(network: nn.Module, tokenizer: BertTokenizer) -> Scores:
    """Rewards of pictures with their captions."""

    @torch.no_grad()
    def scores(images: Tensor, captions: list[str]) -> Tensor:
        tokens = tokenizer(captions, padding="max_length", max_length=35, return_tensors="pt")
        return torch.as_tensor(network.eval()(clip_pixels(images), tokens))

    return scores


def held_out(scores: Scores, data: Data, worsen: Worsen) -> dict[str, float]:
    """Shares of `test` photographs that score above a wrong caption and above their worse."""
    indices = data.photographs.indices("test")
    generator = torch.Generator().manual_seed(5)
    chooser = random.Random(5)
    images = whole(data.photographs.pixels[indices])
    seen = [data.traits[index] for index in indices]
    right = scores(images, [caption(traits) for traits in seen])
    wrong = scores(images, [caption(contradicted(traits, chooser)) for traits in seen])
    worse = scores(worsen(images, generator), [caption(traits) for traits in seen])
    return {
        "right_caption_above_wrong": round((right > wrong).float().mean().item(), 3),
        "photograph_above_worse": round((right > worse).float().mean().item(), 3),
        "score_of_photographs": round(right.mean().item(), 3),
        "deviation_over_photographs": round(right.std().item(), 3),
    }
