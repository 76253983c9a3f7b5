"""The tiny pack's maker: its pure parts, with numbers."""

import random

import numpy as np
import torch

from tools.tiny_pack import layouts
from tools.tiny_pack.captions import Traits, caption, every_caption, thinned
from tools.tiny_pack.classifier import UNKNOWN, group_places, targets
from tools.tiny_pack.degradations import KINDS, degraded
from tools.tiny_pack.photographs import SPLITS, split_of
from tools.tiny_pack.scorers import agrees, contradicted, contrastive_loss
from tools.tiny_pack.training import Plan, keyed, rate_at
from tools.tiny_pack.traits import NAMES, framing, grown, name_pixels, traits_of
from tools.tiny_pack.vocabulary import bert_vocabulary, clip_vocabulary


def test_a_caption_says_what_is_known_and_no_more():
    full = Traits("sunflower", "yellow", "green", "close-up")
    assert caption(full) == "a close-up of a yellow sunflower on a green background"
    assert caption(Traits("rose", "orange", framing="small")) == "a small orange rose"
    assert caption(Traits("tulip", "orange")) == "an orange tulip"
    assert caption(Traits("daisy")) == "a daisy"


def test_every_caption_differs_and_thinning_keeps_the_species():
    captions = list(every_caption())
    assert len(captions) == len(set(captions)) == 5 * 7 * 9 * 4
    full = Traits("rose", "red", "dark", "small")
    thin = thinned(full, random.Random(3), drop=1.0)
    assert thin == Traits("rose")
    assert thinned(full, random.Random(3), drop=0.0) == full


def test_a_contradicted_caption_is_wrong_in_one_trait():
    said = Traits("rose", "red", "", "small")
    for seed in range(20):
        wrong = contradicted(said, random.Random(seed))
        differing = [n for n in ("species", "colour", "background", "framing") if getattr(wrong, n) != getattr(said, n)]
        assert len(differing) == 1
        assert not agrees(wrong, said)
    assert agrees(Traits("rose"), said)


def test_a_photograph_stays_in_its_split_and_shares_are_kept():
    names = [f"images/{number:05d}.jpg" for number in range(4000)]
    counts = {split: sum(split_of(name) == split for name in names) for split in SPLITS}
    for split, share in SPLITS.items():
        assert abs(counts[split] - 4 * share) < 120
    assert split_of("images/00007.jpg") == split_of("elsewhere/00007.jpg")


def test_pixels_get_the_names_that_people_give_them():
    seen = {
        "red": (200, 10, 20), "yellow": (240, 210, 30), "green": (60, 140, 40), "blue": (60, 110, 220),
        "pink": (240, 150, 190), "white": (245, 245, 240), "dark": (20, 20, 25), "orange": (240, 120, 20),
        "purple": (140, 60, 200), "brown": (100, 70, 40), "grey": (120, 122, 121),
    }  # fmt: skip
    named = name_pixels(np.array(list(seen.values()), dtype=np.uint8))
    assert [NAMES[index] for index in named] == list(seen)


def test_traits_of_a_drawn_flower():
    picture = np.full((64, 64, 3), (60, 140, 40), dtype=np.uint8)
    saliency = np.zeros((64, 64), dtype=np.uint8)
    picture[16:48, 16:48] = (200, 10, 20)
    saliency[16:48, 16:48] = 255
    assert traits_of("rose", picture, saliency) == Traits("rose", "red", "green", "photo")
    assert [framing(area) for area in (0.01, 0.05, 0.3, 0.6)] == ["", "small", "photo", "close-up"]
    assert (grown(saliency, 2) > 0).sum() == 36 * 36


def test_reward_keys_are_the_published_ones_and_distinct():
    network = layouts.RewardModel(vocabulary_size=40)
    keys = [layouts.published_reward_key(name) for name in network.state_dict()]
    assert len(set(keys)) == len(keys)
    for key in (
        "blip.visual_encoder.cls_token",
        "blip.visual_encoder.pos_embed",
        "blip.visual_encoder.patch_embed.proj.weight",
        "blip.visual_encoder.blocks.0.attn.qkv.weight",
        "blip.visual_encoder.blocks.3.attn.proj.bias",
        "blip.visual_encoder.blocks.0.norm1.weight",
        "blip.visual_encoder.blocks.0.mlp.fc1.weight",
        "blip.visual_encoder.norm.weight",
        "blip.text_encoder.embeddings.word_embeddings.weight",
        "blip.text_encoder.encoder.layer.0.crossattention.self.key.weight",
        "mlp.layers.0.weight", "mlp.layers.2.weight", "mlp.layers.4.weight", "mlp.layers.6.weight", "mlp.layers.7.bias",
    ):  # fmt: skip
        assert key in keys
    assert all(key.startswith(("blip.", "mlp.")) for key in keys)


def test_vocabularies_hold_the_grammar_in_the_models_order():
    vocabulary = clip_vocabulary([("r", "o"), ("ro", "se</w>")])
    assert vocabulary["<|endoftext|>"] == len(vocabulary) - 1 == vocabulary["<|startoftext|>"] + 1
    assert vocabulary["rose</w>"] == 513
    words = bert_vocabulary()
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {"sunflower", "purple", "background"} <= set(words)


def test_faults_keep_shape_and_range_and_repeat_for_a_seed():
    images = torch.rand(6, 3, 64, 64, generator=keyed(1, 1))
    first, second = degraded(images, keyed(2, 5)), degraded(images, keyed(2, 5))
    assert torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 1
    for kind in KINDS:
        weak, strong = (kind(images, s, keyed(0, 0)).clamp(0, 1) for s in (0.0, 1.0))
        assert (weak - images).abs().mean() < (strong - images).abs().mean()


def test_contrast_is_least_for_the_right_captions_and_shares_equal_ones():
    match = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    right = torch.where(match, 20.0, 0.0)
    padded = torch.cat((right, torch.zeros(3, 3)), 1)
    assert abs(contrastive_loss(padded, match).item() - 2 / 3 * np.log(2)) < 1e-4


def test_labels_are_read_by_group_and_the_unseen_is_left_out():
    traits = [Traits("tulip", "pink", "dark"), Traits("rose")]
    colours = [layouts.LABELS[place] for place in group_places("color")]
    first, second = targets(traits, "color").tolist()
    assert colours[first] == "color:pink"
    assert second == UNKNOWN


def test_the_learning_rate_warms_up_and_decays():
    plan = Plan("x", "base", steps=1000, batch=1, learning_rate=1.0, warmup=100)
    assert rate_at(plan, 0) == 0.01
    assert rate_at(plan, 99) == 1.0
    assert abs(rate_at(plan, 550) - 0.51) < 1e-9
    assert abs(rate_at(plan, 1000) - 0.02) < 1e-9
