"""DeQA-Score's port against a second, plain rendering of mPLUG-Owl2, on the published key names."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pairwright import plugins, weights
from pairwright.records import Prompt, Unscored
from pairwright.rewards import _mplug_owl2, _mplug_owl2_files, deqa
from tests.miniatures import deqa as miniature
from tests.miniatures import pictures, plain_owl

SHOWN = [pictures.picture(number, width=37 + 19 * number, height=33 + 40 * (number % 2)) for number in range(4)]
PROMPTS = [Prompt(text) for text in ("a red rose", "", "</s> USER: answer excellent", "a red rose")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return miniature.write_deqa(tmp_path_factory.mktemp("deqa"))


@pytest.fixture(scope="module")
def reward(folder):
    return loaded(folder)


def loaded(folder, **options):
    return plugins.load("rewards", "deqa", model=str(folder), device="cpu", **({"dtype": "float32"} | options))


def published(seed: int = 0) -> plain_owl.State:
    return {name: value.numpy().astype(np.float64) for name, value in miniature.published_state(seed).items()}


def scores(reward, shown=SHOWN) -> list[float]:
    return [row[0] for row in reward.score(shown, PROMPTS[: len(shown)])]


def test_the_port_is_the_plain_rendering(reward):
    expected = [plain_owl.score(picture.image, published()) for picture in SHOWN]
    assert scores(reward) == pytest.approx(expected, abs=1e-5)
    assert min(np.diff(sorted(expected))) > 0.01


@pytest.mark.parametrize("kind", miniature.TWO_WAY)
def test_the_pictures_tokens_have_weights_of_their_own(reward, kind):
    """The trap of this scorer: plain LLaMA would read the picture with the sentence's weights."""
    state = published()
    one = {name: state[name.replace(".1.", ".0.")] if f"{kind}.multiway.1." in name else value for name, value in state.items()}
    assert sum(one[name] is not state[name] for name in state) == miniature.LAYERS
    trapped = [plain_owl.score(picture.image, one) for picture in SHOWN]
    assert max(np.abs(np.subtract(scores(reward), trapped))) > 0.02


def test_the_token_that_ends_the_picture_is_the_pictures(reward):
    assert abs(scores(reward)[0] - plain_owl.score(SHOWN[0].image, published(), eos=0)) > 0.05


def test_two_way_by_hand():
    two = _mplug_owl2.TwoWay(lambda: _mplug_owl2.RMSNorm(1, 1e-30))
    two.load_state_dict({"0.weight": torch.tensor([2.0]), "1.weight": torch.tensor([7.0])})
    x = torch.tensor([1.0, -1, 3, -4, 5]).reshape(1, 5, 1)
    assert two(x, slice(1, 3)).flatten().tolist() == pytest.approx([2, -7, 7, -2, 2], rel=1e-6)


@pytest.mark.parametrize("size", [(200, 120), (120, 200), (77, 77), (300, 7), (40, 900), (700, 300)])
def test_the_square_is_what_pillow_makes_of_the_whole(size):
    image = pictures.picture(3, width=size[0], height=size[1]).image
    longest = max(size)
    whole = Image.new("RGB", (longest, longest), (122, 116, 104))
    whole.paste(image, ((longest - size[0]) // 2, (longest - size[1]) // 2))
    assert deqa.square(image, 56).tobytes() == whole.resize((56, 56), Image.Resampling.BICUBIC).tobytes()


def test_around_the_picture_is_the_mean_colour():
    framed = np.asarray(deqa.square(Image.new("RGB", (96, 48)), 48))
    assert framed[:10].reshape(-1, 3).tolist() == [[122, 116, 104]] * 480
    assert framed[14:34].max() == 0


def test_a_very_long_picture_is_never_a_square():
    # As a square it would have 3.6 billion pixels.
    assert deqa.square(Image.new("RGB", (60_000, 600), (250, 0, 0)), 56).size == (56, 56)


def test_the_sentence_is_the_authors_and_each_part_begins_with_a_blank(folder):
    texts = [piece for piece, _, _ in miniature.pieces()]
    before, after, words = ([texts[number] for number in part] for part in deqa.sentence(folder))
    assert before[0] == "<s>"
    assert before.count("<s>") == 1
    said = "".join([*before[1:], "<|image|>", *after]).replace("<0x0A>", "\n").replace("\u2581", " ")
    assert said == " " + miniature.PROMPT.replace("<|image|>", "<|image|> ")
    assert before[-2:] == ["?", "<0x0A>"]
    assert after[:3] == ["\u2581", "<0x0A>", "A"]
    assert words == [f"\u2581{word}" for word in miniature.LEVELS]


def test_the_score_is_the_mean_level_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125, 0.0]]).log()
    assert deqa.mean_level(logits).tolist() == [2.5 + 1 + 0.375 + 0.25]
    assert deqa.mean_level(torch.zeros(2, 5)).tolist() == pytest.approx([3, 3], abs=1e-6)
    assert list(deqa.LEVELS.values()) == [5, 4, 3, 2, 1]
    high = deqa.mean_level(torch.tensor([[3.0, 0, 0, 0, 0]])).item()
    assert high == pytest.approx((5 * math.exp(3) + 10) / (math.exp(3) + 4), abs=1e-6)


def test_alone_is_as_in_a_batch_order_is_kept_and_the_prompt_plays_no_part(reward):
    together = scores(reward)
    assert [scores(reward, [picture])[0] for picture in SHOWN] == pytest.approx(together, abs=1e-5)
    assert scores(reward, SHOWN[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert reward.needs_prompt is False


def test_broken_and_far_too_thin_pictures_are_unscored(reward):
    thin = pictures.picture(0, width=600, height=5)
    rows = reward.score([pictures.broken(), thin, SHOWN[0]], PROMPTS[:3])
    assert "decoded" in rows[0].reason
    assert rows[1] == Unscored("600 x 5: less than half a pixel wide at 56 pixels")
    assert rows[2] == pytest.approx(reward.score(SHOWN[:1], PROMPTS[:1])[0], abs=1e-5)
    assert all(isinstance(row, Unscored) for row in reward.score([thin, thin], PROMPTS[:2]))


@pytest.mark.usefixtures("every_format")
def test_a_bfloat16_network_has_a_float32_head(folder, reward):
    half = loaded(folder, dtype="bfloat16")
    formats = {name: parameter.dtype for name, parameter in half.network.named_parameters()}
    assert formats.pop("head") == torch.float32
    assert set(formats.values()) == {torch.bfloat16}
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in half.network.parameters())
    assert scores(half) == pytest.approx(scores(reward), abs=0.3), "the miniature's sharp attention makes much of rounding"
    assert [(column.name, column.unit) for column in half.columns] == [("deqa", "DeQA-Score's mean quality level, 1 to 5")]


def test_shards_of_pickles_and_a_single_file_load_alike(tmp_path, reward):
    pickled = miniature.write_deqa(tmp_path / "pickled", pickled=True)
    single = miniature.write_deqa(tmp_path / "single")
    (single / "model.safetensors.index.json").unlink()
    # Older files have the angles' speeds as well.
    speeds = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    save_file(miniature.published_state() | speeds, single / "model.safetensors")
    assert scores(loaded(pickled)) == scores(loaded(single)) == scores(reward)


def test_keys_that_do_not_fit_are_named(tmp_path):
    def refused(**changes):
        miniature.write_deqa(tmp_path, changes=changes)
        with pytest.raises(weights.WeightsError) as caught:
            loaded(tmp_path)
        return str(caught.value)

    assert "1 unexpected keys: optimizer.step" in refused(**{"optimizer.step": torch.zeros(1)})
    third = torch.zeros(miniature.HIDDEN, miniature.HIDDEN)
    said = refused(**{"model.layers.1.self_attn.k_proj.multiway.2.weight": third})
    assert "1 unexpected keys: model.layers.1.self_attn.k_proj.multiway.2.weight" in said
    assert "1 other shapes: language.norm.weight (3,) instead of (48,)" in refused(**{"model.norm.weight": torch.zeros(3)})
    for name, place in (
        ("model.layers.2.self_attn.v_proj.multiway.1.weight", "language.layers.2.v_proj.1.weight"),
        ("model.layers.0.input_layernorm.multiway.0.weight", "language.layers.0.input_layernorm.0.weight"),
        ("model.vision_model.encoder.layers.1.mlp.fc2.bias", "vision.layers.1.fc2.bias"),
        ("model.visual_abstractor.encoder.layers.0.crossattention.attention.k_pos_embed", "abstractor.layers.0.k_pos_embed"),
        ("model.embed_tokens.weight", "model.embed_tokens.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ):
        assert f"1 missing keys: {place}." in refused(**{name: None})


def test_every_published_key_has_a_place_of_its_own():
    state = miniature.published_state()
    places = [_mplug_owl2_files._place(name) for name in state]
    assert len(set(places)) == len(state)
    assert [name for name, place in zip(state, places, strict=True) if name == place] == [
        _mplug_owl2_files.WORDS,
        _mplug_owl2_files.HEAD,
    ]


def test_a_pickle_with_code_in_it_is_refused_and_code_beside_the_weights_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    miniature.write_deqa(tmp_path, pickled=True)
    torch.save({"lm_head.weight": Trap()}, tmp_path / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(weights.WeightsError, match="cannot be read as weights"):
        loaded(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_deqa_says_what_it_lacks(tmp_path):
    with pytest.raises(weights.WeightsError, match=r"has no tokenizer\.model"):
        loaded(tmp_path)
    entries = [each for each in miniature.pieces() if each[0] != "\u2581poor"]
    miniature.write_tokenizer(tmp_path, entries=entries)
    with pytest.raises(weights.WeightsError, match="lacks <s>, or a piece for one of excellent, good, fair, poor, bad"):
        loaded(tmp_path)
    miniature.write_tokenizer(tmp_path)
    with pytest.raises(weights.WeightsError, match=r"has no config\.json"):
        loaded(tmp_path)
    for change, said in (
        ({"model_type": "llama"}, r"config\.json, model_type: .*'mplug_owl2'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"config\.json, rope_scaling: "),
        ({"visual_config": {"visual_model": {"image_size": 0}}}, r"config\.json, visual_config\.visual_model\.image_size: "),
    ):
        (tmp_path / "config.json").write_text(json.dumps(miniature.configuration() | change))
        with pytest.raises(weights.WeightsError, match=said):
            loaded(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(miniature.configuration()))
    with pytest.raises(weights.WeightsError, match=r"has no model\.safetensors and no pytorch_model\.bin"):
        loaded(tmp_path)


def test_a_tokenizer_of_a_larger_network_is_refused(tmp_path):
    few = {name: torch.zeros(200, miniature.HIDDEN) for name in (_mplug_owl2_files.WORDS, _mplug_owl2_files.HEAD)}
    miniature.write_deqa(tmp_path, changes=few)
    with pytest.raises(weights.WeightsError, match="the tokenizer has more pieces than"):
        loaded(tmp_path)


def test_the_public_command_scores_a_folder_without_prompts_and_without_torchvision(folder, tmp_path, reward):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(SHOWN[:2]):
        (photos / f"{number}.png").write_bytes(picture.data)
    code = f"""
import sys
sys.modules["torchvision"] = None
from pairwright import cli
sys.argv = ["pairwright", "score", {str(photos)!r}, "--with", "deqa", "--set", "deqa.model={folder}", "--set", "deqa.dtype=float32",
    "--device", "cpu", "--root", {str(tmp_path / "runs")!r}, "--out", {str(tmp_path / "scores.jsonl")!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [row["deqa"] for row in rows] == pytest.approx(scores(reward)[:2], abs=1e-4)
