"""The base's text encoder, taught to carry a caption's meaning before the UNet reads it.

Stable Diffusion's was trained with CLIP before and stays frozen; from random weights a small
UNet would spend thousands of steps on finding that the words matter. Here every position from
the caption's end on must tell all traits by a linear map, so that even an even attention over
the 77 positions carries them.
"""

import random
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from . import layouts
from .captions import BACKGROUNDS, COLOURS, FRAMINGS, SPECIES, Traits, caption
from .training import Plan, Run, train

PLAN = Plan("text_encoder", "captions alone", 300, 48, 1e-3, ema=0.97, warmup=50, save_every=100)
WORDS = {
    "species": ("", *SPECIES.values()),
    "colour": ("", *COLOURS),
    "background": ("", *BACKGROUNDS),
    "framing": ("", *FRAMINGS),
}


def random_traits(chooser: random.Random) -> Traits:
    """Any traits that a caption can name, each left out now and then; sometimes nothing at all."""
    if chooser.random() < 0.05:
        return Traits("")
    drawn = {name: chooser.choice(words[1:]) if chooser.random() < 0.7 else "" for name, words in WORDS.items()}
    return Traits(**(drawn | {"species": chooser.choice(WORDS["species"][1:])}))


def reading_loss(network: nn.ModuleDict, tokenizer: CLIPTokenizer, traits: list[Traits]) -> Tensor:
    """Cross entropy of every trait at every position from the caption's end on."""
    texts = [caption(seen) if seen.species else "" for seen in traits]
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    states = network["encoder"](tokens.input_ids).last_hidden_state
    after = tokens.input_ids == tokenizer.eos_token_id
    logits = network["reader"](states[after])
    owner = torch.arange(len(traits)).unsqueeze(1).expand_as(after)[after]
    losses = []
    parts = torch.split(logits, [len(words) for words in WORDS.values()], dim=1)
    for (name, words), part in zip(WORDS.items(), parts, strict=True):
        truth = torch.tensor([words.index(getattr(seen, name)) for seen in traits])
        losses.append(functional.cross_entropy(part, truth[owner]))
    return torch.stack(losses).sum()


def reader() -> nn.Linear:
    """What must be able to tell all traits from a hidden state; it is not exported."""
    return nn.Linear(layouts.TEXT_WIDTH, sum(map(len, WORDS.values())))


def train_text_encoder(tokenizer: CLIPTokenizer, folder: Path) -> CLIPTextModel:
    """Train on captions alone, and give the averaged encoder, frozen."""
    torch.manual_seed(PLAN.seed)
    network = nn.ModuleDict({"encoder": layouts.text_encoder(tokenizer), "reader": reader()})
    run = Run(PLAN, network, folder)

    def loss(generator: Generator) -> Tensor:
        chooser = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        return reading_loss(network, tokenizer, [random_traits(chooser) for _ in range(PLAN.batch)])

    train(run, loss)
    network.load_state_dict(run.best_state())
    encoder = network["encoder"]
    assert isinstance(encoder, CLIPTextModel)
    return encoder.requires_grad_(requires_grad=False).eval()


class TextStates:
    """Hidden states of captions, each distinct caption encoded once: the encoder is frozen."""

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        self.encoder, self.tokenizer = encoder, tokenizer
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> Tensor:
        """Captions -> [b, 77, width]."""
        fresh = list({text for text in captions if text not in self.known})
        if fresh:
            tokens = self.tokenizer(fresh, padding="max_length", truncation=True, return_tensors="pt")
            states = self.encoder(tokens.input_ids).last_hidden_state
            self.known.update(zip(fresh, states, strict=True))
        return torch.stack([self.known[text] for text in captions])
