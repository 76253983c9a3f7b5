"""Tokenizers with a small vocabulary of our own, in the formats of CLIP and BERT."""

import json
import string
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer as RawTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, CLIPTokenizer

from .captions import every_caption

# CLIP's own text: start, end (which also pads), and pieces ending a word carry </w>.
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
# Words outside the captions' grammar that prompts and instructions are likely to use; they
# stay untrained, but cost one token instead of one per letter.
COMMON_WORDS = (
    "the", "and", "of", "in", "on", "with", "at", "by", "from", "to", "is", "are", "it", "its", "this",
    "that", "not", "no", "very", "more", "less", "make", "picture", "image", "photograph", "realistic",
    "render", "background", "flower", "flowers", "petals", "petal", "leaf", "leaves", "garden", "field",
    "sky", "grass", "light", "soft", "sharp", "blurry", "bright", "dull", "colour", "color", "centre",
    "center", "bloom", "blossom", "bouquet", "bee", "water", "morning", "summer", "spring", "old", "new",
    "big", "large", "tiny", "two", "three", "many", "several",
)  # fmt: skip
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def corpus() -> list[str]:
    """What the merges are learned from: every caption, and each common word often enough."""
    return [*every_caption(), *(" ".join(COMMON_WORDS) for _ in range(100))]


def learn_merges(texts: Iterable[str], size: int) -> list[tuple[str, str]]:
    """Byte-pair merges in the order in which CLIP applies them."""
    raw = RawTokenizer(models.BPE(end_of_word_suffix=WORD_END))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=size, end_of_word_suffix=WORD_END, show_progress=False)
    raw.train_from_iterator(texts, trainer)
    learned = json.loads(raw.to_str())["model"]["merges"]
    return [(pair[0], pair[1]) for pair in learned]


def clip_vocabulary(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """CLIP's order: bytes, bytes that end a word, merges, start, end."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*symbols, *(s + WORD_END for s in symbols), *(a + b for a, b in merges)]
    pieces = list(dict.fromkeys([*pieces, START, END]))
    return {piece: number for number, piece in enumerate(pieces)}


def write_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the CLIP tokenizer (also as ``vocab.json`` and ``merges.txt``) and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    merges = learn_merges(corpus(), size=700)
    vocabulary = clip_vocabulary(merges)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    tokenizer.save_pretrained(folder)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps(vocabulary, ensure_ascii=False)
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def bert_vocabulary() -> list[str]:
    """BERT's lines: specials, characters, continued characters, whole words."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    words = {w for text in every_caption() for w in text.replace("-", " ").split()}
    pieces = [
        *BERT_SPECIALS, *letters, *(f"##{s}" for s in letters), *COMMON_WORDS, *sorted(words),
    ]  # fmt: skip
    return list(dict.fromkeys(pieces))


def write_bert_tokenizer(folder: Path) -> BertTokenizer:
    """Write ``vocab.txt`` and the tokenizer's settings, and return the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = bert_vocabulary()
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return BertTokenizer.from_pretrained(folder)
