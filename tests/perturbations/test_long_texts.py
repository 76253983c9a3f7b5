"""Texts beyond CLIP's 77 tokens: read in pieces, nothing cut, and short ones as ever."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from pairwright.perturbations._long_texts import LongTexts, pieces
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sdxl import write_sdxl

CPU = torch.device("cpu")
SHORT = "a red rose, make the petals blue"
LONG = " ".join(f"{chr(97 + number % 26)}{number}" for number in range(110))


@pytest.fixture(scope="module")
def sd15(tmp_path_factory):
    return StableDiffusionPipeline.from_pretrained(write_sd15(tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return StableDiffusionXLPipeline.from_pretrained(write_sdxl(tmp_path_factory.mktemp("sdxl")), add_watermarker=False)


def test_a_short_text_is_what_the_pipeline_makes_of_it(sd15):
    texts = LongTexts(sd15, CPU)
    expected, empty = sd15.encode_prompt(SHORT, CPU, 1, True, negative_prompt="")
    found = texts.keywords([SHORT], guided=True)
    assert texts.count(SHORT) == 1
    assert sorted(found) == ["negative_prompt_embeds", "prompt_embeds"]
    torch.testing.assert_close(found["prompt_embeds"], expected)
    torch.testing.assert_close(found["negative_prompt_embeds"], empty)


def test_a_short_text_is_what_sdxls_pipeline_makes_of_it(sdxl):
    texts = LongTexts(sdxl, CPU)
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    expected = dict(zip(names, sdxl.encode_prompt(SHORT, device=CPU), strict=True))
    found = texts.keywords([SHORT], guided=True)
    assert sorted(found) == sorted(names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name])
    assert not found["negative_prompt_embeds"].any(), "the empty text is zeros, as its index says"


def test_a_long_text_is_its_pieces_one_after_the_other(sd15):
    texts = LongTexts(sd15, CPU)
    letters = "".join(chr(97 + number % 26) for number in range(160))
    tokens, own = pieces(sd15.tokenizer, letters)
    assert tokens.shape == own.shape == (3, 77)
    assert own.sum(1).tolist() == [77, 77, 12]
    start, end = sd15.tokenizer.bos_token_id, sd15.tokenizer.eos_token_id
    assert tokens[:, 0].tolist() == [start] * 3
    assert tokens[0, 76] == tokens[1, 76] == tokens[2, 11] == end
    inner = torch.cat([tokens[0, 1:76], tokens[1, 1:76], tokens[2, 1:11]]).tolist()
    assert inner == sd15.tokenizer(letters, add_special_tokens=False)["input_ids"]
    states = texts.keywords([letters], guided=False)["prompt_embeds"]
    assert states.shape == (1, 231, 32)
    with torch.no_grad():
        alone = torch.cat([sd15.text_encoder(row[None])[0] for row in tokens], dim=1)
    torch.testing.assert_close(states, alone)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_hundredth_word_counts_and_the_empty_text_is_as_long(name, request):
    texts = LongTexts(request.getfixturevalue(name), CPU)
    words = LONG.split()
    words[99] = "zz"
    assert texts.count(LONG) == texts.count(" ".join(words)) > 3
    found = texts.keywords([LONG, " ".join(words)], guided=True)
    one, other = found["prompt_embeds"]
    assert (one - other).abs().max() > 0.05
    assert torch.equal(one[:231], other[:231]), "the first pieces are the same"
    assert found["negative_prompt_embeds"].shape == found["prompt_embeds"].shape


def test_the_empty_text_is_one_piece(sd15):
    tokens, own = pieces(sd15.tokenizer, "")
    assert tokens.shape == (1, 77)
    assert own.sum() == 2
