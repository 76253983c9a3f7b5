"""The papers' settings by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pairwright.cli import arguments
from pairwright.options import Generate


def made(**given: Any) -> Generate:
    return Generate.model_validate({"models": {"base": "tiny:base"}, "prompts": "drawbench", **given})


@pytest.mark.parametrize(("name", "guidance", "steps"), [("sd15-paper", 7.5, 50), ("sd35-paper", 4.5, 40)])
def test_a_protocol_sets_what_the_paper_says(name: str, guidance: float, steps: int) -> None:
    found = made(protocol=name)
    assert (found.guidance, found.steps, found.resolution, found.per_prompt) == (guidance, steps, 512, 5)
    assert (found.sampler, found.negative_prompt) == ("model", "")
    assert Generate.model_validate(found.model_dump(mode="json")) == found, "a resolved recipe can be read again"


@pytest.mark.parametrize("field", [{"guidance": 7.5}, {"steps": 50}, {"per_prompt": 4}, {"negative_prompt": "blurry"}])
def test_a_field_that_says_otherwise_is_an_error_that_names_both(field: dict[str, Any]) -> None:
    (name,) = field
    with pytest.raises(ValidationError, match=rf"protocol = 'sd35-paper' means {name} = .* and {name} = .* is given"):
        made(protocol="sd35-paper", **field)
    made(protocol="sd35-paper", guidance=4.5, steps=40)


def test_a_name_changes_no_picture() -> None:
    written = {"guidance": 4.5, "steps": 40, "resolution": 512, "per_prompt": 5}
    assert made(protocol="sd35-paper").meaning() == made(**written).meaning()
    assert made(protocol=False, steps=3).steps == 3
    with pytest.raises(ValidationError, match="protocol"):
        made(protocol="sd14-paper")


def test_on_the_command_line_a_protocol_says_its_fields() -> None:
    words = arguments.spelled(["generate", "--protocol", "sd35-paper", "--steps", "40"])
    assert words[:3] == ["generate", "--protocol", "sd35-paper"]
    assert words.count("--steps") == 1
    assert words[words.index("--guidance") + 1] == "4.5"
    assert arguments.spelled(["generate", "--protocol=sd15-paper"])[-2:] == ["--negative-prompt", ""]
    assert arguments.spelled(["score", "--protocol", "sd35-paper"]) == ["score", "--protocol", "sd35-paper"]
    assert arguments.spelled(["generate", "--protocol", "mine"]) == ["generate", "--protocol", "mine"]
