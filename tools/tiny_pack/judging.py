"""The judges' last lesson: photographs above their round trips, and those above what the pack's own models paint.

Before it they have seen faults only as worse, and took a guided sample, which is more typical than any photograph, for better.
Both go on from their own weights, on their own split.
"""

from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional
from transformers import BertTokenizer

from . import layouts
from .captions import Traits, caption, thinned
from .classifier import GROUPS, UNKNOWN, group_places, targets
from .classifier import PLAN as CLASSIFIER
from .degradations import broken, degraded
from .fakes import Fakes
from .scorers import IMAGEREWARD, chooser_for, clip_pixels, contradicted
from .training import Plan, Run, forwards, train

REWARD_PLAN = Plan("imagereward_refined", "judge", 2000, 16, 5e-4, ema=0.995, warmup=50, weight_decay=0.05, save_every=75)
CLASSIFIER_PLAN = Plan("classifier_refined", "judge", 3000, 40, 1e-3, ema=0.998, warmup=50, weight_decay=0.1)
DOUBT = {"photograph": 0.05, "round trip": 0.25, "faulty": 0.4, "repaint": 0.6, "sample": 0.75}
"""How much of its certainty the classifier is taught to keep back, by what it is shown: a label that it would give to a
photograph it must not give as surely to a picture that is none."""
SHIFT = 4
"""Pixels by which all pictures of a list are moved together."""


def drawn(fakes: list[Tensor], rows: Tensor, generator: Generator) -> Tensor:
    """For each row one of several pictures."""
    which = torch.randint(len(fakes), rows.shape, generator=generator)
    return torch.stack(fakes)[which, rows]


def moved(lists: Tensor, generator: Generator) -> Tensor:
    """Pictures [kinds, b, 3, h, w]: those of one photograph mirrored and shifted alike, so that only their making differs."""
    height, width = lists.shape[-2:]
    results = []
    for column in lists.unbind(1):
        mirrored, across, down = torch.randint(2 * SHIFT + 1, (3,), generator=generator).tolist()
        padded = functional.pad(column, (SHIFT,) * 4, mode="reflect")[..., down : down + height, across : across + width]
        results.append(padded.flip(-1) if mirrored % 2 else padded)
    return torch.stack(results, 1)


def ranked_loss(network: layouts.RewardModel, tokenizer: BertTokenizer, fakes: Fakes, plan: Plan, generator: Generator) -> Tensor:
    """Bradley-Terry: photograph, round trip, sample, faulty sample; photograph over repaint and over its worse.

    A wrong caption is below the right one, for photographs and for round trips.
    """
    chooser = chooser_for(generator)
    rows = torch.randint(len(fakes.traits), (plan.batch,), generator=generator)
    said = [thinned(fakes.traits[int(row)], chooser) for row in rows]
    right = [caption(traits) for traits in said]
    wrong = [caption(contradicted(traits, chooser)) for traits in said]
    kinds = [fakes.photographs[rows], fakes.round_trips[rows], drawn(fakes.samples, rows, generator)]
    lists = moved(torch.stack([*kinds, drawn(fakes.repaints, rows, generator)]), generator)
    half = plan.batch // 2
    worse = torch.cat((degraded(lists[0][:half], generator), broken(lists[1][half:], generator)))
    pictures = torch.cat((*lists, worse, degraded(lists[2], generator)))
    texts = tokenizer([*right * 6, *wrong * 2], padding=True, truncation=True, max_length=35, return_tensors="pt")
    with forwards():
        states = network.vision(clip_pixels(pictures)).last_hidden_state
        rewards = network.judge(torch.cat((states, states[: 2 * plan.batch])), texts).float()
    photograph, trip, sampled, repaint, faulty, bad, photograph_wrong, trip_wrong = rewards.chunk(8)
    # Of all photographs with one another: rewards of different captions shall be comparable, so that their means are.
    order = [(photograph, trip), (trip, sampled), (sampled, bad), (photograph, repaint), (photograph, faulty)]
    losses = [-functional.logsigmoid(better.unsqueeze(1) - lower).mean() for better, lower in order]
    losses += [-functional.logsigmoid(told - lie).mean() for told, lie in ((photograph, photograph_wrong), (trip, trip_wrong))]
    scale = torch.cat((photograph, sampled, repaint)).square().mean()
    return torch.stack(losses).sum() + 0.005 * scale


def refine_imagereward(tokenizer: BertTokenizer, fakes: Fakes, folder: Path) -> Run:
    """Go on from the trained scorer."""
    torch.manual_seed(REWARD_PLAN.seed)
    network = layouts.RewardModel(len(tokenizer) + 2)
    network.load_state_dict(torch.load(folder / f"{IMAGEREWARD.name}.pt", weights_only=True)["average"])
    run = Run(REWARD_PLAN, network, folder)
    train(run, lambda generator: ranked_loss(network, tokenizer, fakes, run.plan, generator))
    return run


def doubtful_loss(logits: Tensor, traits: list[Traits], doubt: Tensor) -> Tensor:
    """Cross entropy with targets that leave a share `doubt` [b] to the other labels of a group."""
    losses = []
    for group in GROUPS:
        truth = targets(traits, group)
        known = truth != UNKNOWN
        logarithms = logits[:, group_places(group)].log_softmax(1)[known]
        right = logarithms.gather(1, truth[known].unsqueeze(1)).squeeze(1)
        others = (logarithms.sum(1) - right) / (logarithms.shape[1] - 1)
        spent = -((1 - doubt[known]) * right + doubt[known] * others)
        losses.append(spent.sum() / max(1, len(spent)))
    return torch.stack(losses).sum()


def refine_classifier(fakes: Fakes, folder: Path) -> Run:
    """Go on from the trained classifier."""
    torch.manual_seed(CLASSIFIER_PLAN.seed)
    network = layouts.classifier().to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(folder / f"{CLASSIFIER.name}.pt", weights_only=True)["average"])
    run = Run(CLASSIFIER_PLAN, network, folder)
    each = CLASSIFIER_PLAN.batch // len(DOUBT)
    doubt = torch.tensor(list(DOUBT.values())).repeat_interleave(each)

    def loss(generator: Generator) -> Tensor:
        rows = torch.randint(len(fakes.traits), (each,), generator=generator)
        kinds = [fakes.photographs[rows], fakes.round_trips[rows]]
        kinds += [drawn(fakes.repaints, rows, generator), drawn(fakes.samples, rows, generator)]
        photograph, trip, repaint, sampled = moved(torch.stack(kinds), generator)
        images = torch.cat((photograph, trip, degraded(photograph, generator), repaint, sampled))
        with forwards():
            logits = network((2 * images - 1).contiguous(memory_format=torch.channels_last)).logits.float()
        return doubtful_loss(logits, [fakes.traits[int(row)] for row in rows] * len(DOUBT), doubt)

    train(run, loss)
    return run
