"""Prompts from any file, with ids that outlive it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairwright import prompts, weights
from pairwright.prompts import KnownSet, PromptError, known
from pairwright.rowfiles import RowError

SHARED = Path(os.environ.get("PAIRWRIGHT_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "prompts"


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_bytes(text.encode())
    return str(path)


def pairs(name: str) -> list[tuple[str, str]]:
    return [(each.text, each.category) for each in prompts.load(name)]


def test_a_text_file_holds_one_prompt_a_line(tmp_path: Path):
    name = write(tmp_path, "some.txt", "\ufeffa red flower \r\n\r\n  a blue one\u2028still one line\n")
    assert pairs(name) == [("a red flower", ""), ("a blue one\u2028still one line", "")]


def test_jsonl_takes_its_columns_by_their_usual_names(tmp_path: Path):
    lines = [
        '{"prompt": "a", "category": "x"}',
        "",
        '{"text": "b", "style": "y"}',
        '{"Caption": "c", "index": 3, "category": null}',
    ]
    assert pairs(write(tmp_path, "some.jsonl", "\n".join(lines))) == [("a", "x"), ("b", "y"), ("c", "")]


def test_partiprompts_is_read_as_it_is(tmp_path: Path):
    name = write(
        tmp_path, "PartiPrompts.tsv", "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology\na, b\tAnimals\t\t\n"
    )
    assert pairs(name) == [("bond", "Abstract"), ("a, b", "Animals")]


def test_quoted_fields_of_csv_may_hold_commas_and_line_breaks(tmp_path: Path):
    assert pairs(write(tmp_path, "some.CSV", 'caption,style\n"a, ""b""\nc",photo\n')) == [('a, "b"\nc', "photo")]


def test_ids_follow_the_text_and_not_the_place(tmp_path: Path):
    one = prompts.load(write(tmp_path, "one.txt", "a\nb\na\n"))
    two = prompts.load(write(tmp_path, "two.jsonl", '{"prompt": "b", "style": "x"}\n{"prompt": "a"}\n'))
    ids = {each.text: each.id for each in two}
    assert [one[0].id, one[1].id] == [ids["a"], ids["b"]]
    assert one[2].id not in ids.values()
    assert one[0].id == "6f3d685d893171d1"


def test_a_limit_takes_a_subset_in_order_that_the_seed_decides(tmp_path: Path):
    name = write(tmp_path, "some.txt", "\n".join(f"prompt {number}" for number in range(200)))
    everything = prompts.load(name)
    subsets = {seed: prompts.load(name, limit=50, seed=seed) for seed in (0, 1)}
    assert prompts.load(name, limit=50, seed=0) == subsets[0]
    assert subsets[0] != subsets[1]
    for subset in subsets.values():
        assert len(subset) == 50
        assert subset == [each for each in everything if each in subset]
    assert set(prompts.load(name, limit=20)) <= set(subsets[0])
    assert prompts.load(name, limit=500) == everything


def test_a_subset_does_not_depend_on_the_order_of_the_file(tmp_path: Path):
    texts = [f"prompt {number}" for number in range(60)]
    forward = prompts.load(write(tmp_path, "a.txt", "\n".join(texts)), limit=10, seed=3)
    backward = prompts.load(write(tmp_path, "b.txt", "\n".join(reversed(texts))), limit=10, seed=3)
    assert forward == backward[::-1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": }\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", '{"prompt": "a"}\n\n["b"]\n', r"a\.jsonl:3: expected an object {...}, got list"),
        ("a.jsonl", '{"promt": "a"}\n', r"a\.jsonl:1: no text in prompt, prompts, text, caption; its columns: promt"),
        ("a.jsonl", '{"prompt": 3}\n', r"a\.jsonl:1: no text in prompt"),
        ("a.csv", "prompt\n  \n", r"a\.csv:2: no text in prompt"),
        ("a.csv", "prompt,style\na,b\na,b,c\n", r"a\.csv:3: 3 fields under 2 column names"),
        ("a.tsv", 'prompt\tstyle\n"a" b\tc\n', r"a\.tsv:2: "),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_number(tmp_path: Path, name: str, text: str, message: str):
    with pytest.raises(RowError, match=message):
        prompts.load(write(tmp_path, name, text))


def test_bytes_that_are_not_utf8_are_an_error_that_says_where(tmp_path: Path):
    for name, head in (("a.txt", b"a\n"), ("a.csv", b"prompt\n")):
        (tmp_path / name).write_bytes(head + b"caf\xe9\n")
        with pytest.raises(RowError, match=r"after line \d: not UTF-8"):
            prompts.load(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_an_empty_file_is_an_error(tmp_path: Path, name: str):
    with pytest.raises(PromptError, match=r"a\.\w+ holds no prompts"):
        prompts.load(write(tmp_path, name, "prompt\n" if name.endswith("csv") else "\n"))


def test_missing_files_and_unknown_kinds_are_errors(tmp_path: Path):
    with pytest.raises(PromptError, match=r"no prompt file 'nowhere\.txt'"):
        prompts.load("nowhere.txt")
    with pytest.raises(PromptError, match=r"read from \.txt, \.jsonl, \.csv, \.tsv"):
        prompts.load(write(tmp_path, "a.xlsx", "x"))


REAL = [
    ("pickapic_v2_test", 487, 1),
    ("drawbench", 200, 11),
    ("partiprompts", 1632, 12),
    ("hpdv2", 3200, 4),
    ("dpg_bench", 1065, 1),
    ("geneval", 553, 6),
]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the field's prompt sets in data/prompts of PAIRWRIGHT_SHARED")
@pytest.mark.parametrize(("name", "count", "categories"), REAL)
def test_the_fields_sets_are_what_they_must_be(monkeypatch: pytest.MonkeyPatch, name: str, count: int, categories: int):
    monkeypatch.setenv("PAIRWRIGHT_PROMPTS", str(SHARED))
    found = prompts.load(name)
    assert len({each.id for each in found}) == count == prompts.KNOWN[name].count
    assert len({each.category for each in found}) == categories


def test_every_known_set_says_where_it_is_to_be_had():
    assert list(prompts.KNOWN) == [name for name, _, _ in REAL]
    for name, each in prompts.KNOWN.items():
        assert each.source
        assert len(each.digest) == 64
        assert not each.categories or sum(each.categories.values()) == each.count, name
        assert bool(each.hub) == ("huggingface" in each.source or name == "partiprompts")


STYLES = ("anime", "photo")
TEXTS = {"anime": ["a  cat", "a dog"], "photo": ["a dog", "caf\u00e9"]}


@pytest.fixture
def styled(monkeypatch: pytest.MonkeyPatch) -> KnownSet:
    """A set of four prompts, published as a file per style, one of them twice."""
    made = KnownSet(
        "styled",
        4,
        known.digest(["a cat", "a dog", "a dog", "caf\u00e9"]),
        "https://example.org",
        hub="hub:some/styled@0123abc",
        patterns=("benchmark/anime.json", "benchmark/photo.json"),
        copies=("Styled",),
        categories={"anime": 2, "photo": 2},
    )
    monkeypatch.setattr(known, "KNOWN", {"styled": made})
    monkeypatch.setattr(prompts, "KNOWN", {"styled": made})
    monkeypatch.delenv("PAIRWRIGHT_PROMPTS", raising=False)
    return made


def published(folder: Path) -> Path:
    for style, texts in TEXTS.items():
        path = folder / "benchmark" / f"{style}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(texts))
    return folder


def test_a_known_set_is_the_same_from_every_copy(tmp_path: Path, styled: KnownSet, monkeypatch: pytest.MonkeyPatch):
    folder = published(tmp_path / "HPDv2")
    lines = [{"prompt": text.replace("\u00e9", "e\u0301"), "style": style} for style in STYLES for text in TEXTS[style]]
    copy = tmp_path / "copies" / "styled.jsonl"
    copy.parent.mkdir()
    copy.write_text("\n".join(json.dumps(each) for each in lines))
    first = prompts.load("styled", path=str(folder))
    assert [(each.text, each.category) for each in first] == [
        ("a cat", "anime"),
        ("a dog", "anime"),
        ("a dog", "photo"),
        ("caf\u00e9", "photo"),
    ]
    assert prompts.load("styled", path=str(copy)) == first
    monkeypatch.setenv("PAIRWRIGHT_PROMPTS", str(copy.parent))
    assert prompts.load("styled") == first
    monkeypatch.setenv("PAIRWRIGHT_PROMPTS", str(tmp_path))
    folder.rename(tmp_path / "Styled")
    assert prompts.load("styled") == first, "under the name of its published folder too"


def test_a_known_set_comes_from_the_hub_at_its_revision(tmp_path: Path, styled: KnownSet, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    def snapshot(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        return str(published(tmp_path))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert len(prompts.load("styled")) == 4
    repository, options = asked[0]
    assert (repository, options["repo_type"], options["revision"]) == ("some/styled", "dataset", "0123abc")
    assert options["allow_patterns"] == list(styled.patterns)
    assert options["local_files_only"] is False
    with weights.only_here():
        prompts.load("styled")
    assert asked[1][1]["local_files_only"] is True


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"anime": ["a cat", "a dog"], "photo": ["a dog"]}, "holds 3 prompts; styled has 4"),
        ({"anime": ["a cat", "a dog"], "photo": ["a dog", "cafe"]}, "holds other prompts than styled: their checksum differs"),
        ({"anime": ["a cat"], "photo": ["a dog", "a dog", "caf\u00e9"]}, "prompts by category"),
    ],
)
def test_what_is_not_the_known_set_is_refused(tmp_path: Path, styled: KnownSet, texts: dict[str, list[str]], message: str):
    for style, each in texts.items():
        (tmp_path / f"{style}.json").write_text(json.dumps(each))
    with pytest.raises(PromptError, match=message):
        prompts.load("styled", path=str(tmp_path))


def test_a_set_that_is_nowhere_says_where_it_is_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PAIRWRIGHT_PROMPTS", raising=False)
    with pytest.raises(PromptError, match=r"github\.com/djghosh13/geneval .*PAIRWRIGHT_PROMPTS"):
        prompts.load("geneval")
    monkeypatch.setenv("PAIRWRIGHT_PROMPTS", str(tmp_path))
    (tmp_path / "DrawBench.csv").mkdir()
    with pytest.raises(PromptError, match=r"drawbench: the folder .*DrawBench\.csv holds none of"):
        prompts.load("drawbench")
    with pytest.raises(PromptError, match="Did you mean 'drawbench'"):
        prompts.load("drawbnch")
    with pytest.raises(PromptError, match="no known set"):
        prompts.load("mine.txt", path="other.txt")


def test_rows_that_repeat_a_prompt_count_once_where_the_set_is_published_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = KnownSet("asked", 2, known.digest(["a", "b"]), "https://example.org", distinct=True)
    monkeypatch.setattr(prompts, "KNOWN", {"asked": made})
    rows = "item_id,text,question\n0,b,one?\n0,b,two?\n1,a,three?\n"
    assert [each.text for each in prompts.load("asked", path=write(tmp_path, "asked.csv", rows))] == ["b", "a"]
    folder = tmp_path / "prompts"
    folder.mkdir()
    for name, text in (("0", "b\n"), ("1", "a")):
        (folder / f"{name}.txt").write_text(text)
    assert [each.text for each in prompts.load("asked", path=str(folder))] == ["b", "a"]


def test_quotation_marks_of_partiprompts_belong_to_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = KnownSet("plain", 2, known.digest(['a sign that says "Hello"', '"Bye" on a wall']), "-", quoted=False)
    monkeypatch.setattr(prompts, "KNOWN", {"plain": made})
    text = 'Prompt\tCategory\na sign that says "Hello"\tArts\n"Bye" on a wall\tArts\n'
    assert len(prompts.load("plain", path=write(tmp_path, "plain.tsv", text))) == 2


def test_a_file_of_the_hub_is_read_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"caption": ["a rose ", "a tulip"], "style": ["x", None]}), tmp_path / "data" / "test.parquet")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    assert pairs("hub:me/flowers@v1.0/data/test.parquet") == [("a rose", "x"), ("a tulip", "")]
    listed = ["README.md", "data/test.parquet", "pictures.tar"]
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda *_, **__: listed)
    assert pairs("hub:me/flowers") == [("a rose", "x"), ("a tulip", "")]
    listed.append("more.csv")
    with pytest.raises(PromptError, match=r"2 files of prompts; name one: data/test\.parquet, more\.csv"):
        prompts.load("hub:me/flowers")
    with pytest.raises(PromptError, match=r"has no other\.csv"):
        prompts.load("hub:me/flowers/other.csv")
    with pytest.raises(PromptError, match="write hub:owner/name"):
        prompts.load("hub:flowers")


def test_damaged_lists_and_tables_are_errors(tmp_path: Path):
    with pytest.raises(PromptError, match="not JSON"):
        prompts.load(write(tmp_path, "a.json", "["))
    with pytest.raises(PromptError, match="expected a list of texts"):
        prompts.load(write(tmp_path, "a.json", '[{"prompt": "a"}]'))
    with pytest.raises(PromptError, match="cannot be read as Parquet"):
        prompts.load(write(tmp_path, "a.parquet", "x"))
    pq.write_table(pa.table({"image": [b"x"]}), tmp_path / "b.parquet")
    with pytest.raises(PromptError, match=r"no column prompt, prompts, text, caption; its columns: image"):
        prompts.load(str(tmp_path / "b.parquet"))
    pq.write_table(pa.table({"caption": ["a", None]}), tmp_path / "c.parquet")
    with pytest.raises(PromptError, match="row 1 has no text in caption"):
        prompts.load(str(tmp_path / "c.parquet"))
