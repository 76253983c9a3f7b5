"""What critics and instructors say is read, within its length, or there is a reason."""

from __future__ import annotations

import pytest

from pairwright.advice import reading
from pairwright.records import Failed

LONG = " ".join(["word"] * 26)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"instruction": "Make the rose red."}', "Make the rose red"),
        ('```json\n{"instruction": "make the rose red"}\n```', "make the rose red"),
        ('{"reason": "instruction: none", "instruction": "add a second tulip"}', "add a second tulip"),
        ("**Instruction:** make the rose red", "make the rose red"),
        ("instruction = 'make it red'", "make it red"),
        ('"Make the rose red."', "Make the rose red"),
        ("- Make the rose red", "Make the rose red"),
        ("<think>Is it {odd}? Instruction: no</think>Make the rose red", "Make the rose red"),
        ("Make the\n\trose\u200b red", "Make the rose red"),
        (f"Make the rose red. {LONG}", "Make the rose red"),
        ('{"instruction": "make it red"} {"instruction": "make it red"}', "make it red"),
        ("'Rose' must be red", "'Rose' must be red"),
    ],
)
def test_an_instruction_is_read_out_of_what_models_write(answer: str, expected: str) -> None:
    assert reading.instruction(answer) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"instruction": "Make the ro', 'no instruction in the answer: \'{"instruction": "Make the ro\''),
        ('{"instruction": 7}', "no instruction in the answer: '{\"instruction\": 7}'"),
        ('{"instruction": "a b"} {"instruction": "c"}', "several instructions in the answer: "),
        ('{"instruction": ""}', "nothing to change"),
        ("Nothing.", "nothing to change"),
        ("No changes are needed.", "nothing to change"),
        ("I'm sorry, but I can't help with that.", "the instructor refused: "),
        (LONG, "the instruction is longer than 25 words or 200 characters: 'word word"),
        ("x" * 201, f"the instruction is longer than 25 words or 200 characters: '{'x' * 80}...'"),
    ],
)
def test_what_is_no_instruction_is_a_reason_with_the_words_that_were_there(answer: str, reason: str) -> None:
    found = reading.instruction(answer)
    assert isinstance(found, Failed)
    assert found.reason.startswith(reason)
    assert len(found.reason) < 160, "a reason does not grow with the answer"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The rose is yellow,\nnot red.\n", "The rose is yellow, not red."),
        ("<think>hm</think>**The rose is yellow.**", "The rose is yellow."),
        ("Nothing", "nothing to change"),
        ("I can't assist with that", Failed('the critic refused: "I can\'t assist with that"')),
        (" \x00 ", Failed("the critique is empty")),
        ("One is wrong. " * 100, " ".join(["One is wrong."] * 71)),
        ("y" * 3000, "y" * 1000),
    ],
)
def test_a_critique_is_one_line_and_ends_with_a_sentence_within_its_length(answer: str, expected: str | Failed) -> None:
    assert reading.critique(answer) == expected
