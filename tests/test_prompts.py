"""Prompts from any file, with ids that outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairwright import prompts
from pairwright.prompts import PromptError
from pairwright.rowfiles import RowError

SHARED = Path(__file__).parents[2] / "shared" / "data" / "prompts"


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
        ("a.jsonl", '{"promt": "a"}\n', r"a\.jsonl:1: no text in prompt, text, caption; its columns: promt"),
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
        prompts.load(write(tmp_path, "a.parquet", "x"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the field's prompt sets are not on this machine")
@pytest.mark.parametrize(
    ("name", "count", "categories"),
    [("partiprompts", 1632, 12), ("drawbench", 200, 11), ("hpdv2_benchmark", 3200, 4), ("pickapic_v2_test_unique", 487, 1)],
)
def test_the_fields_sets_are_read_whole(name: str, count: int, categories: int):
    found = prompts.load(str(SHARED / f"{name}.jsonl"))
    assert len({each.id for each in found}) == count
    assert len({each.category for each in found}) == categories
