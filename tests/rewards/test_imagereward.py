"""ImageReward's port against a second, plain rendering of BLIP and the head, on the published key names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pairwright import plugins, weights
from pairwright.records import Picture, Prompt
from pairwright.rewards import _blip, imagereward
from tests.miniatures import blip, pictures

State = dict[str, np.ndarray]

PROMPTS = [Prompt(text) for text in ("a red rose on grass", "A Red Rose", "", "a red rose on grass " * 12)]
SHOWN = [pictures.picture(number, width=37 + 8 * number, height=33) for number in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return blip.write_imagereward(tmp_path_factory.mktemp("imagereward"))


@pytest.fixture(scope="module")
def reward(folder):
    return plugins.load("rewards", "imagereward", model=str(folder), dtype="float32", device="cpu")


def layer_norm(x: np.ndarray, state: State, name: str, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    result: np.ndarray = (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * state[f"{name}.weight"] + state[f"{name}.bias"]
    )
    return result


def linear(x: np.ndarray, state: State, name: str) -> np.ndarray:
    result: np.ndarray = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    return result


def gelu(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return result


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """One sequence, all heads: softmax(q k / sqrt(d)) v over the visible keys."""
    width = query.shape[1] // blip.HEADS
    heads = []
    for head in range(blip.HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[visible][:, part].T / math.sqrt(width)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        heads.append(shares / shares.sum(1, keepdims=True) @ value[visible][:, part])
    return np.concatenate(heads, axis=1)


def see(pixels: np.ndarray, state: State) -> np.ndarray:
    """BLIP's picture encoder on ``[3, h, w]``: a pre-norm ViT with a class token."""
    size, name = blip.PATCH, "blip.visual_encoder"
    kernel = state[f"{name}.patch_embed.proj.weight"].reshape(blip.VISION, -1)
    tokens = [state[f"{name}.cls_token"][0, 0]]
    for row in range(blip.SIDE):
        for column in range(blip.SIDE):
            patch = pixels[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            tokens.append(kernel @ patch.reshape(-1) + state[f"{name}.patch_embed.proj.bias"])
    x = np.stack(tokens) + state[f"{name}.pos_embed"][0]
    everything = np.ones(len(x), dtype=bool)
    for layer in range(blip.LAYERS):
        block = f"{name}.blocks.{layer}"
        query, key, value = np.split(linear(layer_norm(x, state, f"{block}.norm1", 1e-6), state, f"{block}.attn.qkv"), 3, axis=1)
        x = x + linear(attend(query, key, value, everything), state, f"{block}.attn.proj")
        inner = gelu(linear(layer_norm(x, state, f"{block}.norm2", 1e-6), state, f"{block}.mlp.fc1"))
        x = x + linear(inner, state, f"{block}.mlp.fc2")
    return layer_norm(x, state, f"{name}.norm", 1e-6)


def read(tokens: np.ndarray, visible: np.ndarray, seen: np.ndarray, state: State) -> np.ndarray:
    """BLIP's text encoder: BERT, post-norm, that looks at the picture after looking at itself."""
    name = "blip.text_encoder"
    x = state[f"{name}.embeddings.word_embeddings.weight"][tokens]
    x = x + state[f"{name}.embeddings.position_embeddings.weight"][: len(tokens)]
    x = layer_norm(x, state, f"{name}.embeddings.LayerNorm", 1e-12)
    for layer in range(blip.LAYERS):
        block = f"{name}.encoder.layer.{layer}"
        for kind, source, shown in (("attention", None, visible), ("crossattention", seen, np.ones(len(seen), dtype=bool))):
            other = x if source is None else source
            query = linear(x, state, f"{block}.{kind}.self.query")
            key, value = linear(other, state, f"{block}.{kind}.self.key"), linear(other, state, f"{block}.{kind}.self.value")
            mixed = linear(attend(query, key, value, shown), state, f"{block}.{kind}.output.dense")
            x = layer_norm(x + mixed, state, f"{block}.{kind}.output.LayerNorm", 1e-12)
        inner = linear(gelu(linear(x, state, f"{block}.intermediate.dense")), state, f"{block}.output.dense")
        x = layer_norm(x + inner, state, f"{block}.output.LayerNorm", 1e-12)
    return x


def tokenize(text: str) -> tuple[np.ndarray, np.ndarray]:
    """WordPiece over the miniature's words: whole words, else letters; [CLS], 33 pieces at most, [SEP], padding to 35."""
    words = list(dict.fromkeys(blip.WORDS))
    pieces = []
    for word in text.lower().split():
        pieces += [word] if word in words else [word[0], *(f"##{letter}" for letter in word[1:])]
    pieces = ["[CLS]", *pieces[:33], "[SEP]"]
    visible = np.arange(35) < len(pieces)
    return np.array([words.index(piece) for piece in pieces + ["[PAD]"] * (35 - len(pieces))]), visible


def rendering(picture: Picture, text: str, state: State) -> float:
    """The published score in float64, written from the authors' description."""
    size = blip.SIDE * blip.PATCH
    image = picture.image
    short = min(image.size)
    resized = image.resize((int(size * image.width / short), int(size * image.height / short)), 3)
    left, top = int(round((resized.width - size) / 2)), int(round((resized.height - size) / 2))  # noqa: RUF046 - torchvision's words
    pixels = np.asarray(resized, dtype=np.float64)[top : top + size, left : left + size] / 255
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    tokens, visible = tokenize(text)
    x = read(tokens, visible, see(((pixels - mean) / deviation).transpose(2, 0, 1), state), state)[0]
    for number, _, _ in blip.HEAD:
        x = linear(x, state, f"mlp.layers.{number}")
    return float((x[0] - 0.16717362830052426) / 1.0333394966054072)


def test_the_port_is_the_plain_rendering(reward):
    state = {name: value.numpy().astype(np.float64) for name, value in blip.published_state().items()}
    rows = reward.score(SHOWN, PROMPTS)
    expected = [rendering(picture, prompt.text, state) for picture, prompt in zip(SHOWN, PROMPTS, strict=True)]
    assert [score for (score,) in rows] == pytest.approx(expected, abs=2e-5)
    assert np.ptp(expected) > 0.05


def test_the_tokens_are_35_and_the_first_is_cls(reward):
    tokens = reward.tokenizer(PROMPTS[3].text, padding="max_length", truncation=True, max_length=imagereward.TOKENS)
    expected, visible = tokenize(PROMPTS[3].text)
    assert tokens["input_ids"] == expected.tolist()
    assert tokens["attention_mask"] == visible.astype(int).tolist()
    assert len(tokens["input_ids"]) == 35
    assert reward.tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [blip.rows() - 2, blip.rows() - 1]


def test_alone_is_as_in_a_batch(reward):
    together = reward.score(SHOWN, PROMPTS)
    for picture, prompt, row in zip(SHOWN, PROMPTS, together, strict=True):
        assert reward.score([picture], [prompt])[0] == pytest.approx(row, abs=1e-5)


@pytest.mark.usefixtures("every_format")
def test_bfloat16_encoders_have_a_float32_head(folder, reward):
    half = plugins.load("rewards", "imagereward", model=str(folder), device="cpu")
    assert half.network.vision.dtype == half.network.text.dtype == torch.bfloat16
    assert half.network.head["7"].weight.dtype == torch.float32
    for row, exact in zip(half.score(SHOWN, PROMPTS), reward.score(SHOWN, PROMPTS), strict=True):
        assert row == pytest.approx(exact, abs=0.05)


def test_a_broken_picture_is_unscored(reward):
    rows = reward.score([pictures.broken(), SHOWN[0]], PROMPTS[:2])
    assert "decoded" in rows[0].reason
    assert rows[1] == pytest.approx(reward.score(SHOWN[:1], PROMPTS[1:2])[0], abs=1e-5)


def test_safetensors_and_a_single_file_load_alike(tmp_path, reward):
    path = blip.write_imagereward(tmp_path, name="ImageReward.safetensors") / "ImageReward.safetensors"
    other = plugins.load("rewards", "imagereward", model=str(path), dtype="float32", device="cpu")
    assert other.score(SHOWN[:1], PROMPTS[:1]) == reward.score(SHOWN[:1], PROMPTS[:1])


def test_the_vocabulary_may_be_elsewhere(tmp_path, reward):
    alone = blip.write_imagereward(tmp_path / "alone", vocabulary=False)
    words = blip.write_vocabulary(tmp_path / "bert")
    split = plugins.load("rewards", "imagereward", model=str(alone), processor=str(words), dtype="float32", device="cpu")
    assert split.score(SHOWN[:1], PROMPTS[:1]) == reward.score(SHOWN[:1], PROMPTS[:1])


def test_keys_that_do_not_fit_are_named(tmp_path):
    blip.write_imagereward(tmp_path)
    state = blip.published_state()
    state["blip.visual_encoder.norm.gain"] = state.pop("blip.visual_encoder.norm.weight")
    torch.save(state, tmp_path / "ImageReward.pt")
    with pytest.raises(
        weights.WeightsError, match=r"missing keys: vision\.post_layernorm\.weight.*unexpected keys: vision\.post_layernorm\.gain"
    ):
        plugins.load("rewards", "imagereward", model=str(tmp_path), device="cpu")
    state["optimizer.step"] = torch.zeros(1)
    torch.save(state, tmp_path / "ImageReward.pt")
    with pytest.raises(weights.WeightsError, match=r"unexpected keys: optimizer\.step"):
        plugins.load("rewards", "imagereward", model=str(tmp_path), device="cpu")


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    blip.write_imagereward(tmp_path)
    torch.save({"mlp.layers.0.weight": Trap()}, tmp_path / "ImageReward.pt")
    with pytest.raises(weights.WeightsError, match="cannot be read as weights"):
        plugins.load("rewards", "imagereward", model=str(tmp_path), device="cpu")
    assert not (tmp_path / "sprung").exists()


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path):
    blip.write_imagereward(tmp_path)
    with (tmp_path / "vocab.txt").open("a") as stream:
        stream.write("one\ntoo\nmany\n")
    with pytest.raises(weights.WeightsError, match=r"entries, its embedding .* rows"):
        plugins.load("rewards", "imagereward", model=str(tmp_path), device="cpu")


def test_a_folder_without_the_checkpoint_says_what_it_lacks(tmp_path):
    with pytest.raises(weights.WeightsError, match=r"neither ImageReward\.safetensors nor ImageReward\.pt"):
        plugins.load("rewards", "imagereward", model=str(tmp_path), device="cpu")


def test_published_sizes_are_blip_large_and_bert_base(tmp_path):
    """From shapes alone: heads of 64 where no file says otherwise."""
    published = {
        "blip.visual_encoder.cls_token": (1, 1, 1024),
        "blip.visual_encoder.pos_embed": (1, 197, 1024),
        "blip.visual_encoder.patch_embed.proj.weight": (1024, 3, 16, 16),
        "blip.visual_encoder.blocks.23.mlp.fc1.weight": (4096, 1024),
        "blip.visual_encoder.blocks.0.mlp.fc1.weight": (4096, 1024),
        "blip.text_encoder.embeddings.word_embeddings.weight": (30524, 768),
        "blip.text_encoder.embeddings.position_embeddings.weight": (512, 768),
        "blip.text_encoder.encoder.layer.11.attention.self.key.bias": (768,),
        "blip.text_encoder.encoder.layer.0.intermediate.dense.weight": (3072, 768),
        "blip.vision_proj.weight": (256, 1024),
        "mlp.layers.0.weight": (1024, 768),
        "mlp.layers.7.weight": (1, 16),
    }
    state = _blip.rename({name: torch.empty(shape, device="meta") for name, shape in published.items()}, "test")
    vision, text, head = _blip._configurations(state, tmp_path)
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (1024, 24, 16)
    assert (vision.patch_size, vision.image_size, vision.intermediate_size, vision.layer_norm_eps) == (16, 224, 4096, 1e-6)
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads, text.vocab_size) == (768, 12, 12, 30524)
    assert (text.encoder_hidden_size, text.layer_norm_eps, text.max_position_embeddings) == (1024, 1e-12, 512)
    assert head == {0: (768, 1024), 7: (16, 1)}
