"""HPSv2's port against a second, plain rendering on the published key names; its letterbox and its cleaned text by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file

from pairwright import plugins, weights
from pairwright.records import Picture, Prompt
from pairwright.rewards import _open_clip, hpsv2
from tests.miniatures import open_clip, pictures, plain_clip

SIZE = open_clip.SIDE * open_clip.PATCH
PROMPTS = [Prompt(text) for text in ("a red rose", "Two HORSES &amp; a  cat,\n“on” grass", "", "a red rose " * 12)]
CLEAN = ["a red rose", 'two horses & a cat, "on" grass', "", ("a red rose " * 12).strip()]


def shown() -> list[Picture]:
    """Pictures that nobody has seen yet: wide, tall, square and smaller than the network's side."""
    sizes = [(61, 33), (34, 50), (40, 40), (13, 9)]
    return [pictures.picture(number, width, height) for number, (width, height) in enumerate(sizes)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_clip.write_hpsv2(tmp_path_factory.mktemp("hpsv2"))


def load(where: Path, **options: object) -> Any:
    return plugins.load("rewards", "hpsv2", **{"model": str(where), "dtype": "float32", "device": "cpu", **options})


@pytest.fixture(scope="module")
def reward(folder):
    return load(folder)


def rendering(picture: Picture, text: str, state: plain_clip.State) -> float:
    """The published score, from its description: letterbox, both towers, cosine."""
    pixels = picture.pixels / 255
    scale = SIZE / max(picture.image.size)
    resized = plain_clip.bicubic(pixels, round(picture.image.height * scale), round(picture.image.width * scale))
    square = np.zeros((SIZE, SIZE, 3))
    top, left = (SIZE - resized.shape[0]) // 2, (SIZE - resized.shape[1]) // 2
    square[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    heads = open_clip.VISION // open_clip.HEAD_WIDTH
    seen = plain_clip.see(plain_clip.normalised(square), state, heads, plain_clip.gelu) @ state["visual.proj"]
    return plain_clip.cosine(seen, plain_clip.read(plain_clip.tokens(text), state, open_clip.TEXT_HEADS, plain_clip.gelu))


def test_the_port_is_the_plain_rendering(reward):
    state = {name: value.numpy().astype(np.float64) for name, value in open_clip.clip_state().items()}
    expected = [rendering(picture, text, state) for picture, text in zip(shown(), CLEAN, strict=True)]
    assert [score for (score,) in reward.score(shown(), PROMPTS)] == pytest.approx(expected, abs=2e-6)
    assert np.ptp(expected) > 0.05
    assert [(column.name, column.unit) for column in reward.columns] == [("hpsv2", "cosine, HPS v2.0")]


def test_the_letterbox_pads_with_black_and_the_larger_half_comes_last():
    # 10 x 5 at side 5: the scale is 0.5 and the height 2.5, which Python rounds to 2; of three rows of padding one is above.
    box = hpsv2.letterbox(Image.new("RGB", (10, 5), (255, 51, 0)), 5)
    expected = torch.zeros(3, 5, 5)
    expected[0, 1:3], expected[1, 1:3] = 1.0, 0.2
    torch.testing.assert_close(box, expected, atol=1e-6, rtol=0)


def test_a_picture_of_the_right_size_is_only_padded():
    picture = pictures.picture(2, width=8, height=5)
    box = hpsv2.letterbox(picture.image, 8)
    torch.testing.assert_close(box[:, 1:6], picture.tensor)
    assert float(box[:, 0].abs().sum() + box[:, 6:].abs().sum()) == 0


def test_the_resize_is_antialiased_and_overshoots_unclamped():
    # A white right half, 12 wide, to 4: Keys' cubic (a = -0.5), three times as wide.
    stripe = np.zeros((4, 12, 3), dtype=np.uint8)
    stripe[:, 6:] = 255
    values = hpsv2.letterbox(Image.fromarray(stripe), 4)[0, 1]
    distances = np.abs(np.arange(12)[None] + 0.5 - 3 * (np.arange(4)[:, None] + 0.5)) / 3
    near = 1.5 * distances**3 - 2.5 * distances**2 + 1
    cubic = np.where(distances <= 1, near, np.where(distances < 2, -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2, 0))
    expected = cubic[:, 6:].sum(1) / cubic.sum(1)
    assert values.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert expected.min() < -0.01
    assert expected.max() > 1.01


def test_the_text_is_cleaned_before_it_is_read(reward):
    pairs = [
        ("Two HORSES &amp;amp; a\tcat ", "two horses & a cat"),
        ("it\u2019s \u201cHERE\u201d", 'it\'s "here"'),
        ("ﬁve", "five"),
    ]
    for raw, clean in pairs:
        one, other = reward.score([shown()[0]] * 2, [Prompt(raw), Prompt(clean)])
        assert one == other


def test_a_text_longer_than_77_tokens_is_cut_and_still_ends(reward):
    long = "x " * 90
    rows = reward.score([shown()[0]] * 2, [Prompt(long), Prompt(long + "and a horse")])
    assert rows[0] == rows[1]
    assert reward.clip.tokenizer(long, truncation=True, max_length=77)["input_ids"] == plain_clip.tokens(long)


def test_alone_is_as_in_a_batch_and_order_is_kept(folder, reward):
    together = reward.score(shown(), PROMPTS)
    for picture, prompt, row in zip(shown(), PROMPTS, together, strict=True):
        assert reward.score([picture], [prompt])[0] == pytest.approx(row, abs=1e-6)
    backwards = load(folder, batch_size=3).score(shown()[::-1], PROMPTS[::-1])
    assert [row[0] for row in backwards[::-1]] == pytest.approx([row[0] for row in together], abs=1e-6)


def test_what_cannot_be_scored_has_its_reason_and_costs_itself_only(reward):
    thin = pictures.encoded(np.zeros((1, 200, 3), dtype=np.uint8))
    rows = reward.score([thin, shown()[1], pictures.broken()], PROMPTS[:3])
    assert rows[0].reason == f"a picture of 200 x 1 pixels is nothing at {SIZE}"
    assert rows[1] == pytest.approx(reward.score([shown()[1]], [PROMPTS[1]])[0], abs=1e-6)
    assert "decoded" in rows[2].reason
    assert reward.score([thin], PROMPTS[:1])[0] == rows[0]


@pytest.mark.usefixtures("every_format")
def test_bfloat16_networks_have_float32_heads(folder, reward):
    half = load(folder, dtype="bfloat16")
    assert half.clip.network.vision_model.dtype == torch.bfloat16
    weight = half.clip.network.visual_projection.weight
    torch.testing.assert_close(weight, reward.clip.network.visual_projection.weight, atol=0, rtol=0)
    for row, exact in zip(half.score(shown(), PROMPTS), reward.score(shown(), PROMPTS), strict=True):
        assert row == pytest.approx(exact, abs=0.03)


def test_version_2_1_is_another_file_and_another_column(tmp_path, reward):
    open_clip.write_hpsv2(tmp_path, seed=1, name="HPS_v2.1_compressed.pt")
    newer = load(tmp_path, version="2.1")
    assert [(column.name, column.unit) for column in newer.columns] == [("hpsv2_1", "cosine, HPS v2.1")]
    assert newer.score(shown(), PROMPTS) != reward.score(shown(), PROMPTS)
    with pytest.raises(weights.WeightsError, match=r"neither HPS_v2_compressed\.safetensors nor HPS_v2_compressed\.pt"):
        load(tmp_path)
    with pytest.raises(weights.WeightsError, match=r"is HPS v2\.1 by its name: say version = '2\.1'"):
        load(tmp_path / "HPS_v2.1_compressed.pt")


def test_a_causal_mask_in_the_file_is_dropped_and_safetensors_load_alike(tmp_path, reward):
    open_clip.write_hpsv2(tmp_path, name="HPS_v2_compressed.safetensors")
    save_file({**open_clip.clip_state(), "attn_mask": torch.zeros(77, 77)}, tmp_path / "HPS_v2_compressed.safetensors")
    assert load(tmp_path / "HPS_v2_compressed.safetensors").score(shown(), PROMPTS) == reward.score(shown(), PROMPTS)


def test_the_pinned_repository_is_read_from_the_cache(tmp_path, monkeypatch, reward):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "697403c78157020a1ae59d23f111aa58ced35b0a"
    open_clip.write_hpsv2(tmp_path / "models--xswu--HPSv2" / "snapshots" / commit)
    cached = plugins.load("rewards", "hpsv2", dtype="float32", device="cpu")
    assert cached.score(shown(), PROMPTS) == reward.score(shown(), PROMPTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"visual.proj": None, "ln_final.bias": None}, r"1 missing keys: visual_projection\.weight"),
        ({"ln_final.bias": None}, r"1 missing keys: text_model\.final_layer_norm\.bias"),
        (
            {"transformer.resblocks.1.attn.in_proj_weight": None},
            r"3 missing keys: text_model\.encoder\.layers\.1\.self_attn\.k_proj\.weight, .*q_proj\.weight, .*v_proj\.weight",
        ),
        ({"score_predictor.weight": 1, "visual.ls_1.gamma": 1}, r"2 unexpected keys: score_predictor\.weight, visual\.ls_1\.gamma"),
        ({"logit_scale": 2}, r"1 other shapes: logit_scale \(2,\) instead of \(\)"),
    ],
)
def test_keys_that_do_not_fit_are_listed(change, said):
    state = open_clip.clip_state()
    for key, length in change.items():
        state = {name: value for name, value in state.items() if name != key}
        state |= {key: torch.zeros(length)} if length else {}
    with pytest.raises(weights.WeightsError, match=said):
        _open_clip.network(state, "the file", heads=_open_clip.Heads(20, 8), activation="gelu")


def test_the_published_sizes_are_vit_h_14(monkeypatch):
    sizes = {"VISION": 1280, "TEXT": 1024, "JOINT": 1024, "PATCH": 14, "SIDE": 16}
    for name, value in sizes.items():
        monkeypatch.setattr(open_clip, name, value)
    monkeypatch.setattr(open_clip, "rows", lambda: 49408)
    monkeypatch.setattr(open_clip, "_random", lambda _, *shape, scale=1.0: torch.empty(shape, device="meta"))
    monkeypatch.setattr(open_clip, "LAYERS", 1)
    state = {key: value.to("meta") for key, value in open_clip.clip_state().items()}
    for tower, layers, width in (("visual.transformer", 32, 1280), ("transformer", 24, 1024)):
        block = {key: value for key, value in state.items() if key.startswith(f"{tower}.resblocks.0.")}
        # The miniature's inner layer is twice as wide as the tower, the published one's four times.
        wide = {
            key: torch.empty([4 * width if size == 2 * width else size for size in each.shape], device="meta")
            for key, each in block.items()
        }
        state |= {key.replace(".0.", f".{layer}.", 1): value for layer in range(layers) for key, value in wide.items()}
    with torch.device("meta"):
        network = _open_clip.network(state, "the file", heads=hpsv2.HEADS, activation="gelu")
    config = network.config
    assert sum(each.numel() for each in network.parameters()) == 986_109_441
    assert (config.vision_config.image_size, config.vision_config.num_attention_heads) == (224, 16)
    assert (config.text_config.max_position_embeddings, config.text_config.num_attention_heads) == (77, 16)
    assert config.text_config.eos_token_id == 49407


def test_another_tokenizer_is_refused(tmp_path):
    open_clip.write_hpsv2(tmp_path / "weights", tokenizer=False)
    other = open_clip.write_hpsv2(tmp_path / "other")
    vocabulary = json.loads((other / "vocab.json").read_text())
    vocabulary |= {"ro": 512, "<|startoftext|>": 513, "<|endoftext|>": 514}
    (other / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(weights.WeightsError, match="ends texts with token 514, the network expects 513"):
        load(tmp_path / "weights", processor=str(other))
    (tmp_path / "empty").mkdir()
    with pytest.raises(weights.WeightsError, match="has no tokenizer"):
        load(tmp_path / "weights", processor=str(tmp_path / "empty"))


def test_a_configuration_that_says_nothing_of_heads_is_an_error(tmp_path):
    open_clip.write_hpsv2(tmp_path)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {}}}')
    with pytest.raises(weights.WeightsError, match=r"open_clip_config\.json is not an open_clip configuration"):
        load(tmp_path)
