"""LLaVA-1.6 and Llama 3.2 Vision from their published layouts: conversations, features, answers, neighbours, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pairwright import plugins, weights
from pairwright.records import Critique, Prompt
from pairwright.vlms import asking, llama_vision, llava_next
from pairwright.vlms.asking import Question
from tests.miniatures import pictures
from tests.miniatures.vlms import write_llama_vision, write_llava_next

SHOWN = [pictures.picture(number, width=90 - 20 * number, height=40 + 10 * number) for number in range(3)]
SIZES = [each.image for each in SHOWN]
ASKED = [
    Question("What is wrong?", (SIZES[0],), "Be brief."),
    Question("Is it a rose, gräss & a {cat}?", (SIZES[1], SIZES[2])),
    Question("?", (SIZES[2],)),
]
KINDS = {"llava_next": (llava_next, write_llava_next), "llama_vision": (llama_vision, write_llama_vision)}
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=list(KINDS))
def speaker(request, tmp_path_factory):
    module, write = KINDS[request.param]
    return module.load(str(write(tmp_path_factory.mktemp(request.param))), dtype="float32", device="cpu")


def test_neighbours_do_not_change_an_answer_and_no_chance_is_in_it(speaker):
    def said(places):
        return asking.answered(speaker.network, speaker.tokenizer, speaker.read([ASKED[place] for place in places]), 5, CPU)

    def scores(places):
        with torch.inference_mode():
            return speaker.network(**speaker.read([ASKED[place] for place in places])).logits[:, -1]

    before = torch.random.get_rng_state()
    assert asking.together(ASKED, [0, 1, 2], 8) == [[0, 2], [1]]
    assert asking.together(ASKED, [2, 0], 1) == [[2], [0]]
    assert said([0, 2]) == [*said([0]), *said([2])]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert speaker.network.generation_config.do_sample, "the checkpoint itself would sample"
    both, alone = scores([0, 2]), torch.cat([scores([0]), scores([2])])
    torch.testing.assert_close(both, alone, atol=1e-4, rtol=1e-4)
    assert (both[0] - both[1]).abs().max() > 0.01


def test_the_picture_is_looked_at(speaker):
    with torch.inference_mode():
        one, other = (
            speaker.network(**speaker.read([Question("What is wrong?", (image,))])).logits[0, -1]
            for image in (SIZES[0], SIZES[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        )
    assert (one - other).abs().max() > 1e-3


def test_a_conversation_of_mistrals(tmp_path):
    speaker = llava_next.load(str(write_llava_next(tmp_path)), dtype="float32", device="cpu")
    inputs = speaker.read(ASKED[:1])
    tokens = inputs["input_ids"][0].tolist()
    place = speaker.network.config.image_token_id
    assert tokens[0] == speaker.tokenizer.bos_token_id
    assert tokens.count(speaker.tokenizer.bos_token_id) == 1
    with torch.inference_mode():
        (features,) = speaker.network.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
    assert tokens.count(place) == len(features) > 4
    text = speaker.tokenizer.decode([each for each in tokens[1:] if each != place])
    assert text.replace(" ", "") == "[INST]\nBebrief.\n\nWhatiswrong?[/INST]"


def test_a_conversation_of_llamas(tmp_path):
    speaker = llama_vision.load(str(write_llama_vision(tmp_path)), dtype="float32", device="cpu")
    inputs = speaker.read(ASKED[:2])
    assert speaker.tokenizer.decode(inputs["input_ids"][1]) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<|image|><|image|>Is it a rose, gräss & a {cat}?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    looks = inputs["cross_attention_mask"]
    assert looks.shape == (2, inputs["input_ids"].shape[1], 2, 4)
    first = inputs["input_ids"][0].tolist().index(speaker.network.config.image_token_index)
    assert looks[0, :first].sum() == 0
    assert (looks[0, first:, 0, 0] == 1).all()
    assert looks[0, :, 1].sum() == 0, "the first question has one picture"
    assert (looks[1, -1, :, 0] == 1).all()


@pytest.mark.parametrize("name", list(KINDS))
def test_as_critic_and_as_instructor(name, tmp_path):
    _, write = KINDS[name]
    options = {"dtype": "float32", "device": "cpu", "batch_size": 2}
    critic = plugins.load("critics", name, model=str(write(tmp_path / "a", "The rose is red.")), **options)
    found = critic.critique(SHOWN, [Prompt("a blue rose"), Prompt("a <|eot_id|> or [/INST]"), Prompt("two horses")])
    assert [getattr(each, "text", "") for each in found] == ["The rose is red.", "", "The rose is red."]
    assert found[1].reason.startswith("the prompt spells the control token")
    assert found[0].made_by["critic"] == name
    answer = '{"instruction": "make it blue"}'
    instructor = plugins.load("instructors", name, model=str(write(tmp_path / "b", answer)), **options)
    critiques = [Critique("It is red.", maps={"artifact": np.ones((4, 4), dtype=np.float32)}), None]
    told = instructor.instruct(SHOWN[:2], [Prompt("a blue rose"), Prompt("two horses")], critiques)
    assert [(each.text, each.made_by["steps"]) for each in told] == [("make it blue", "two"), ("make it blue", "one")]


def test_another_kind_of_model_is_refused(tmp_path):
    folder = write_llava_next(tmp_path)
    with pytest.raises(weights.WeightsError, match=r"is of the type 'llava_next'; 'mllama' is needed"):
        llama_vision.load(str(folder), dtype="float32", device="cpu")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(weights.WeightsError, match=r"lacks tokenizer\.json"):
        llava_next.load(str(folder), dtype="float32", device="cpu")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llava_next"
