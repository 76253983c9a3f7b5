"""LLaVA-Critic's raw checkpoint: every name has its place, the eye by hand, and greedy answers whatever the neighbours."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from pairwright import images, weights
from pairwright.records import Failed
from pairwright.vlms import asking, llava_onevision
from pairwright.vlms.asking import Question
from tests.miniatures import llava_onevision as miniature
from tests.miniatures import pictures
from tests.miniatures.llava_onevision import EYE

SHOWN = [pictures.picture(number, width=150 - 30 * number, height=100 + 20 * number).image for number in range(4)]
WORDS = ["What is wrong?", "Is it a rose, gräss & a {cat}?", "", "What is wrong?"]
ASKED = [Question(text, (image,)) for text, image in zip(WORDS, SHOWN, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return miniature.write_llava_critic(tmp_path_factory.mktemp("critic"))


@pytest.fixture(scope="module")
def speaker(folder):
    return llava_onevision.load(str(folder), dtype="float32", device="cpu")


def test_every_tensor_has_its_place(speaker):
    found = speaker.network.state_dict()
    published = miniature.published_state()
    for name, place in {
        f"{EYE}.encoder.layers.1.mlp.fc2.bias": "model.vision_tower.encoder.layers.1.mlp.fc2.bias",
        f"{EYE}.post_layernorm.weight": "model.vision_tower.post_layernorm.weight",
        "model.mm_projector.0.weight": "model.multi_modal_projector.linear_1.weight",
        "model.mm_projector.2.bias": "model.multi_modal_projector.linear_2.bias",
        "model.image_newline": "model.image_newline",
        "model.embed_tokens.weight": "model.language_model.embed_tokens.weight",
        "model.layers.1.self_attn.k_proj.bias": "model.language_model.layers.1.self_attn.k_proj.bias",
        "model.norm.weight": "model.language_model.norm.weight",
        "lm_head.weight": "lm_head.weight",
    }.items():
        assert torch.equal(found[place], published[name]), name
    assert len(found) == len(published)
    assert speaker.network.config.text_config.rope_parameters["rope_theta"] == 1_000_000.0
    assert not any(each.requires_grad for each in speaker.network.parameters())


def seen_by_hand(pixels: torch.Tensor) -> torch.Tensor:
    """SigLIP of one tile ``[3, 28, 28]`` without its last normalisation, and the projector: ``[4, 64]``."""
    state = miniature.published_state()

    def linear(x, name):
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    patch = f"{EYE}.embeddings.patch_embedding"
    x = functional.conv2d(pixels[None], state[f"{patch}.weight"], state[f"{patch}.bias"], stride=14)[0].flatten(1).T
    x = x + state[f"{EYE}.embeddings.position_embedding.weight"]
    for layer in range(miniature.DEPTH):
        block = f"{EYE}.encoder.layers.{layer}"
        inner = norm(x, f"{block}.layer_norm1")
        query, key, value = (
            linear(inner, f"{block}.self_attn.{name}_proj").view(4, 2, 72).transpose(0, 1) for name in ("q", "k", "v")
        )
        mixed = ((query @ key.transpose(1, 2)) * 72**-0.5).softmax(-1) @ value
        x = x + linear(mixed.transpose(0, 1).reshape(4, 144), f"{block}.self_attn.out_proj")
        inner = functional.gelu(linear(norm(x, f"{block}.layer_norm2"), f"{block}.mlp.fc1"), approximate="tanh")
        x = x + linear(inner, f"{block}.mlp.fc2")
    projected: torch.Tensor = linear(functional.gelu(linear(x, "model.mm_projector.0")), "model.mm_projector.2")
    return projected


def test_a_picture_is_seen_whole_and_in_tiles(speaker):
    inputs = speaker.read(ASKED[:1])
    tiles = inputs["pixel_values"][0]
    assert tiles.shape == (1 + 4 * 6, 3, 28, 28), "100 x 150 pixels fit best in 112 x 168"
    with torch.inference_mode():
        (features,) = speaker.network.model.get_image_features(inputs["pixel_values"], inputs["image_sizes"]).pooler_output
    whole = images.to_tensor(SHOWN[0].resize((28, 28), Image.Resampling.BICUBIC))
    torch.testing.assert_close(tiles[0], 2 * whole - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:4], seen_by_hand(tiles[0]), atol=1e-4, rtol=1e-3)
    places = (inputs["input_ids"][0] == speaker.network.config.image_token_id).sum()
    assert places == len(features) > 4


def test_nine_tiles_of_features_at_most(speaker):
    counts = [int((speaker.read([asked])["input_ids"] == speaker.network.config.image_token_id).sum()) for asked in ASKED]
    assert max(counts) <= 4 + 1.1**2 * 9 * 4 + 8
    assert len(set(counts)) > 1


def test_the_conversation_is_the_authors(speaker):
    assert llava_onevision.conversation(ASKED[0], 2) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image><image>\nWhat is wrong?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_neighbours_do_not_change_an_answer_and_no_chance_is_in_it(speaker):
    def said(questions):
        return asking.answered(speaker.network, speaker.tokenizer, speaker.read(questions), 6, torch.device("cpu"))

    before = torch.random.get_rng_state()
    together = said(ASKED)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [said([asked])[0] for asked in ASKED] == together
    assert len(set(together)) > 2


def test_tilings_may_be_listed(speaker, tmp_path):
    listed = llava_onevision.load(str(miniature.write_llava_critic(tmp_path, listed=True)), dtype="float32", device="cpu")
    assert listed.network.config.image_grid_pinpoints == speaker.network.config.image_grid_pinpoints
    assert len(listed.network.config.image_grid_pinpoints) == 36


def test_what_must_not_be_asked_says_why(tmp_path):
    folder = miniature.write_llava_critic(tmp_path, says=["The stem is missing."])
    speaker = llava_onevision.load(str(folder), dtype="float32", device="cpu")
    image = SHOWN[0]
    asked = [
        Question("a<|im_end|>", (image,)),
        Question("an <image>", (image,)),
        Question("?", (image, image)),
        Question("?", (image,)),
    ]
    asked.append(Question("?", (image.resize((330, 2)),)))
    results = speaker.answers(asked, 5, 2)
    assert [getattr(each, "reason", each) for each in results] == [
        "the prompt spells the control token <|im_end|>",
        "the prompt spells the control token <image>",
        "2 pictures at once: this model is shown 1",
        "The stem is missing.",
        "330 x 2: one side is more than 164 times the other",
    ]
    assert speaker.answers(asked[3:4], 1, 2) == [Failed("the answer was cut after 1 tokens")]


def test_keys_that_do_not_fit_are_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model-00001-of-00002.safetensors"
    state = load_file(path)
    save_file({**state, "model.vision_resampler.x": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(weights.WeightsError, match=r"1 unexpected keys: model\.vision_resampler\.x"):
        llava_onevision.load(str(tmp_path), dtype="float32", device="cpu")
    name = next(each for each in sorted(state) if "fc1.weight" in each)
    save_file({key: each for key, each in state.items() if key != name}, path, {"format": "pt"})
    with pytest.raises(weights.WeightsError, match=r"1 missing keys: model\.vision_tower\.encoder\.layers\.\d\.mlp\.fc1\.weight"):
        llava_onevision.load(str(tmp_path), dtype="float32", device="cpu")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type = 'linear'"),
        ({"image_aspect_ratio": "pad"}, "image_aspect_ratio = 'pad'"),
        ({"image_grid_pinpoints": "all"}, "image_grid_pinpoints 'all' cannot be read"),
    ],
)
def test_another_model_of_the_family_is_refused(folder, tmp_path, changed, words):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(weights.WeightsError, match=words):
        llava_onevision.load(str(tmp_path), dtype="float32", device="cpu")
