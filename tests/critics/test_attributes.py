"""A critic and an instructor without a language model: what a prompt asks for, what is missing, what to change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pairwright import plugins
from pairwright.advice.attributes import Asked, Fault, asked, faults, singular
from pairwright.critics.attributes import AttributeCritic
from pairwright.protocols import Critic, Instructor, Row
from pairwright.records import Column, Critique, Failed, Instruction, Picture, Prompt, Unscored
from tests.miniatures.clip import write_clip
from tests.miniatures.pictures import broken, picture


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of a red rose", [Asked("rose", "red")]),
        ("Three Red Roses and a dog on the old wooden table", [Asked("roses", "red", 3), Asked("dog"), Asked("old wooden table")]),
        ("a close-up of an orange tulip on a dark background", [Asked("tulip", "orange")]),
        ("on a green background, a tulip", [Asked("tulip")]),
        ("a red and white rose", [Asked("rose", "white")]),
        ("2 gray cats", [Asked("cats", "grey", 2)]),
        ("one rose", [Asked("rose")]),
        ("12 monkeys", [Asked("12 monkeys")]),
        ("a photo", []),
        ("", []),
    ],
)
def test_a_prompt_is_read_as_objects_with_counts_and_colours(prompt: str, expected: list[Asked]) -> None:
    assert asked(prompt) == expected


FAULTS = [
    (Fault(Asked("rose"), "object"), "There is no rose.", "add a rose"),
    (Fault(Asked("rose"), "object", "an iris"), "There is no rose, it looks like an iris.", "turn the iris into a rose"),
    (Fault(Asked("roses", "", 3), "count", "two"), "There are not three roses, it looks like two.", "show three roses"),
    (Fault(Asked("rose", "red"), "colour", "pink"), "The rose is not red, it looks pink.", "make the rose red"),
    (Fault(Asked("rose", "red"), "colour"), "The rose is not red.", "make the rose red"),
]


@pytest.mark.parametrize(("fault", "sentence", "command"), FAULTS)
def test_a_fault_is_a_sentence_that_is_read_back_and_a_command(fault: Fault, sentence: str, command: str) -> None:
    assert fault.sentence() == sentence
    assert faults(sentence) == [fault]
    assert fault.instruction() == command


def test_singulars() -> None:
    words = {"red roses": "red rose", "daisies": "daisy", "boxes": "box", "grass": "grass", "iris": "iris", "dog": "dog"}
    assert {word: singular(word) for word in words} == words


class Sees:
    """Scores a text by how many of its words are true of the picture, less how many are not."""

    columns = (Column("sees", "words"),)

    def __init__(self, true: dict[str, set[str]]) -> None:
        self.true = true

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> Sequence[Row]:
        return [self._row(self.true.get(each.id), prompt.text) for each, prompt in zip(pictures, prompts, strict=True)]

    def _row(self, true: set[str] | None, text: str) -> Row:
        words = set(text.split()) - {"a", "an", "of", "photo"}
        return Unscored("dark") if true is None else (float(len(words & true) - len(words - true)),)


def critic(true: list[set[str]], **options: Any) -> AttributeCritic:
    given = {"objects": (), "margins": {"object": 0.0, "count": 0.0, "colour": 0.0}, "counts": True, **options}
    sees = Sees({picture(number).id: each for number, each in enumerate(true)})
    return AttributeCritic(sees, "m", given["objects"], "a photo of {}", "a photo", given["margins"], given["counts"])


def said(found: Critique | Failed) -> str:
    assert isinstance(found, Critique), found
    return found.text


@pytest.mark.parametrize(
    ("true", "options", "expected"),
    [
        ({"roses", "red", "three"}, {}, "nothing to change"),
        ({"roses", "pink", "three"}, {}, "The roses are not red, it looks pink."),
        ({"roses", "red", "two"}, {}, "There are not three roses, it looks like two."),
        ({"roses", "blue", "two"}, {}, "There are not three roses, it looks like two. The roses are not red, it looks blue."),
        ({"tulip", "red"}, {}, "There are no roses."),
        ({"tulip", "red"}, {"objects": ("rose", "tulip")}, "There are no roses, it looks like a tulip."),
        ({"roses", "red", "two"}, {"counts": False}, "nothing to change"),
        ({"roses", "red", "three"}, {"margins": {"object": 0.0, "count": 0.0, "colour": 2.5}}, "The roses are not red."),
    ],
)
def test_what_scores_less_than_its_contrast_is_missing(true: set[str], options: dict[str, Any], expected: str) -> None:
    (found,) = critic([true], **options).critique([picture(0)], [Prompt("a photo of three red roses")])
    assert said(found) == expected


def test_properties_are_not_asked_of_objects_that_are_missing_and_three_faults_are_the_most() -> None:
    (found,) = critic([{"x"}]).critique([picture(0)], [Prompt("a red rose, a blue dog, a cat, two hens")])
    assert said(found) == "There is no rose. There is no dog. There is no cat."


def test_a_result_does_not_depend_on_its_neighbours_and_failures_have_their_reason() -> None:
    judge = critic([{"rose", "pink"}, {"tulip"}])
    pictures, prompts = [picture(0), picture(9), picture(1), picture(1)], ["a red rose", "a dog", "a photo", "a tulip"]
    found = judge.critique(pictures, [Prompt(each) for each in prompts])
    assert said(found[0]) == "The rose is not red, it looks pink."
    assert found[1] == Failed("dark")
    assert found[2] == Failed("the prompt names no object, count or colour that can be checked")
    assert said(found[3]) == "nothing to change"
    assert [judge.critique([one], [Prompt(text)])[0] for one, text in zip(pictures, prompts, strict=True)] == found


def test_with_a_clip_in_pickscores_layout_it_says_what_the_scores_say(tmp_path: Path) -> None:
    model = str(write_clip(tmp_path / "clip", logit_scale=4.6052))
    built = plugins.load("critics", "attributes", model=model, dtype="float32", device="cpu")
    assert isinstance(built, Critic)
    scorer = plugins.load("rewards", "pickscore", model=model, dtype="float32", device="cpu")

    def best(one: Picture, *texts: str) -> str:
        rows = scorer.score([one] * len(texts), [Prompt(text) for text in texts])
        return max(zip(rows, texts, strict=True))[1]

    found = built.critique([picture(number) for number in range(6)] + [broken()], [Prompt("a rose")] * 7)
    for number in range(6):
        there = best(picture(number), "a photo of a rose", "a photo") == "a photo of a rose"
        assert said(found[number]) == ("nothing to change" if there else "There is no rose.")
    assert isinstance(found[6], Failed)
    assert "cannot be decoded" in found[6].reason


def test_the_weights_that_it_takes_by_itself_are_pickscores_own() -> None:
    def own(shelf: Any, name: str) -> str | None:
        return next(option.default for option in plugins.signature(shelf, name).options if option.name == "model")

    assert own("critics", "attributes") == own("rewards", "pickscore")


def test_an_instructor_turns_the_first_faults_into_commands() -> None:
    one, two = plugins.load("instructors", "attributes"), plugins.load("instructors", "attributes", most=2)
    assert isinstance(one, Instructor)
    critique = Critique("The rose is not red, it looks pink. There is no dog.")
    for built, expected in ((one, "make the rose red"), (two, "make the rose red, add a dog")):
        assert built.instruct([picture(0)], [Prompt("x")], [critique]) == [Instruction(expected, {"instructor": "attributes"})]
    found = one.instruct([picture(0)] * 3, [Prompt("x")] * 3, [None, Critique("nothing to change"), Critique("It is ugly.")])
    assert [type(each) for each in found] == [Failed] * 3
    assert found[1] == Failed("nothing to change")
    with pytest.raises(plugins.PluginError, match="must hold"):
        plugins.load("critics", "attributes", frame="a photo")
