"""The page of a run, whole and in the making: what it says, and what it must not do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pairwright import wording
from pairwright.report import ReportError, report
from tests.miniatures.run_folder import CAPTIONS, write_run

VOID = {"meta", "img", "input", "br", "link"}
EVIL = (
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='document.title=1' x='",
    "</style></title>{{ 7 * 7 }}{% raw %} &amp; &lt;b&gt;",
)


class Reader(HTMLParser):
    """Elements with their attributes, the text of the page, and whether tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.open and self.open[-1] in {"script", "style"}:
            self.scripts += [data] * (self.open[-1] == "script")
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str, **having: str) -> list[dict[str, str]]:
        wanted = {name.rstrip("_"): value for name, value in having.items()}
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and all(value in attrs.get(key, "").split() for key, value in wanted.items())
        ]


def read(folder: Path) -> Reader:
    return Reader(report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(folder: Path) -> Reader:
    return read(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The whole run once more, to be changed."""
    shutil.copytree(folder.parent, tmp_path / "runs")
    return tmp_path / "runs" / folder.name


def test_the_page_says_what_was_done_and_whether_it_helped(page: Reader, folder: Path) -> None:
    found = json.loads(next(folder.parent.glob("store/compare/*/comparison.json")).read_text())
    row = next(row for row in found["comparisons"] if row["metric"] == "texture" and row["model"] == "stage 1 + 2")
    assert "10 pairs from photographs; stage1: dro for 300 steps; stage2: dpo for 200 steps" in page.text
    assert row["verdict"] == "better"
    assert wording.number(row["difference"], sign=True) in page.text
    ends = f"between {wording.number(row['low'], sign=True)} and {wording.number(row['high'], sign=True)} (95 % interval)"
    assert f"Better: the true difference lies {ends}" in page.text
    assert "the metric named in the recipe to decide" in page.text
    assert [attrs["class"] for attrs in page.all("article")] == ["verdict better", "verdict better"]


def test_the_funnel_adds_up_and_names_who_was_not_reached(page: Reader) -> None:
    for words in (
        "418 of 420 \N{MINUS SIGN}2",
        "389 of 836 \N{MINUS SIGN}447",
        "96 of 389 \N{MINUS SIGN}293",
        "enough had passed before their turn",
        "gap below 0.52",
    ):
        assert words in page.text
    assert "holiday/IMG_0042.jpg" in page.text, "who left for a reason of its own is named"
    widths = [
        float(match) for attrs in page.all("span", class_="stayed") for match in re.findall(r"width:([\d.]+)%", attrs["style"])
    ]
    assert widths[0] == pytest.approx(100 * 418 / 836)
    assert widths[1] == 100.0
    assert widths[-1] == pytest.approx(100 * 10 / 836, abs=0.01)


def test_every_pair_has_both_sides_an_outline_a_divider_and_its_credit(page: Reader) -> None:
    assert len(page.all("figure", class_="pair")) == 10
    assert len(page.all("svg", class_="outline")) == 10
    dividers = page.all("input", type="range")
    assert len(dividers) == 10
    assert all(attrs["aria-label"].startswith("Divider between photograph and repainted copy: ") for attrs in dividers)
    assert len([attrs for attrs in page.all("img") if attrs["alt"].startswith("Repainted: ")]) == 10
    assert "CC-BY-4.0 · flower-000.jpg" in page.text
    assert "gap +2.50" in page.text
    assert "scores 23.5 over 21.0" in page.text


def test_curves_show_winner_and_loser_apart(page: Reader) -> None:
    labels = [attrs["aria-label"] for attrs in page.all("svg", role="img") if "ends at" in attrs.get("aria-label", "")]
    assert [label.split(":")[0] for label in labels] == [
        "Loss", "Implicit accuracy", "Error against the reference", "Rollouts needed",
        "Loss", "Implicit accuracy", "Error against the reference", "Margin",
    ]  # fmt: skip
    assert re.search("winner ends at \N{MINUS SIGN}0[.]00[0-9]+, loser ends at 0[.]00[0-9]+", labels[6])
    assert len(page.all("path", class_="loser")) == 2, "raw and smooth, in the second stage alone"


def test_the_grid_shows_every_prompt_with_every_model_and_noise(page: Reader) -> None:
    pictures = [attrs for attrs in page.all("img") if "noise" in attrs["alt"]]
    assert len(pictures) == 8 * 3 * 2
    assert pictures[0]["alt"] == f"base, noise 1: {CAPTIONS[0]}"
    assert {attrs["data-n"] for attrs in pictures} == {"0", "1"}
    assert all(attrs["loading"] == "lazy" and attrs["width"] == "48" for attrs in pictures)
    assert "All 48 pictures" in page.text


def test_the_table_has_metrics_intervals_and_what_they_mean(page: Reader) -> None:
    for words in (
        "texture primary",
        "Hasler-Suesstrunk M3",
        "higher is better",
        "Holm",
        "2,000 bootstrap resamples of the 8 prompts",
        "meadow",
    ):
        assert words in page.text


def test_it_says_how_it_was_made_and_how_to_repeat_it(page: Reader, folder: Path) -> None:
    for words in (
        "To repeat it pairwright run 'demo recipe.toml'",
        f"pairwright report {folder.parent.name}/demo",
        "torch ",
        "diffusers ",
    ):
        assert words in page.text
    assert str(folder.parent) not in page.text, "the page may be shown to others"
    run = json.loads((folder / "run.json").read_text())
    assert all(f"store/{step['verb']}/{step['fingerprint']}" in page.text for step in run["steps"].values())
    assert "gap.reward.name pickscore" in page.text
    assert "reused" in page.text


def test_it_needs_nothing_but_itself(page: Reader) -> None:
    for tag, attrs in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "form", "base"}
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            assert attrs.get(name, "").startswith(("data:image/", "#")) or not attrs.get(name)
    assert page.all("html")[0]["lang"] == "en"


def test_its_policy_lets_only_its_own_script_run(page: Reader) -> None:
    (policy,) = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]


def test_what_users_wrote_stays_text(tmp_path: Path) -> None:
    page = read(write_run(tmp_path, captions=EVIL, name="run-<b>", prompts=4))
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert not [attrs for attrs in page.all("img") if not attrs["src"].startswith("data:image/")]
    text = "".join(page.words)
    for caption in EVIL:
        assert caption in text, "captions are shown as they are"
        assert [attrs for attrs in page.all("img") if attrs["alt"] == f"Photograph: {caption}"]
    assert "run-<b>" in text
    assert "A. Nother <b>Photographer</b>" in text
    assert "<img src=x onerror=alert(1)>.png" in text


@pytest.mark.parametrize(
    ("until", "said"),
    [
        (None, ["Not yet: pairs is running.", "Not yet: comparison is waiting.", "0 of 6 steps done"]),
        ("pairs", ["Not yet: comparison is waiting.", "Not yet: stage1 is running.", "1 of 6 steps done", "10 pairs"]),
        ("stage2", ["Not yet: pictures is running.", "3 of 6 steps done", "To go on"]),
        ("pictures", ["Not yet: comparison is waiting.", "All 48 pictures"]),
    ],
)
def test_a_run_in_the_making_has_a_page(tmp_path: Path, until: str | None, said: list[str]) -> None:
    page = read(write_run(tmp_path, until=until, state="running"))
    for words in said:
        assert words in page.text


def test_a_training_under_way_shows_its_curves(tmp_path: Path) -> None:
    page = read(write_run(tmp_path, until="pairs", state="running", training=120))
    assert "stage1 dro, 120 of 300 steps" in page.text
    assert len(page.all("figure", class_="chart")) == 4


def test_a_training_of_another_run_is_not_taken_for_it(tmp_path: Path) -> None:
    write_run(tmp_path, until="pairs", state="running", training=120, pairs=9, name="other")
    page = read(write_run(tmp_path, until="pairs", state="running", pairs=10))
    assert "stage1 dro, 0 of 300 steps" in page.text


def test_a_failed_step_says_why(tmp_path: Path) -> None:
    page = read(write_run(tmp_path, until="stage1", state="failed"))
    assert "stage2 failed: TrainingError: loss is <not a number>. What was computed is kept" in page.text


def test_a_result_that_was_removed_is_said_to_be(copy: Path) -> None:
    shutil.rmtree(copy.parent / "store" / "compare")
    assert "the result was removed from the store" in read(copy).text


def rewrite(folder: Path, **fields: object) -> None:
    """Change the comparison's rows on the primary metric."""
    path = next(folder.parent.glob("store/compare/*/comparison.json"))
    found = json.loads(path.read_text())
    for row in found["comparisons"]:
        row.update(fields if row["metric"] == found["primary"] else {})
    path.write_text(json.dumps(found))


def test_no_difference_is_said_plainly(copy: Path) -> None:
    rewrite(copy, difference=0.1, low=-0.2, high=0.4, verdict="not shown", detectable=0.43)
    page = read(copy)
    assert (
        "No difference shown: the true difference lies between \N{MINUS SIGN}0.200 and +0.400 (95 % interval), which holds 0."
        in page.text
    )
    assert "8 prompts show one of 0.430 four times in five." in page.text
    assert {attrs["class"] for attrs in page.all("article")} == {"verdict none"}


def test_pictures_that_score_the_same_are_said_to(copy: Path) -> None:
    rewrite(copy, difference=0.0, low=0.0, high=0.0, standard_error=0.0, detectable=0.0, verdict="not shown")
    assert "No difference at all: every picture scores as that of base does." in read(copy).text


def test_too_few_prompts_are_said_to_be(copy: Path) -> None:
    rewrite(copy, low=None, high=None, detectable=None, verdict="not shown", prompts=3)
    assert "No difference shown: 3 prompts are too few to tell stage 1 from base." in read(copy).text


def test_what_correction_takes_back_is_not_called_better(copy: Path) -> None:
    rewrite(copy, difference=0.5, low=0.1, high=0.9, verdict="better before correction")
    page = read(copy)
    assert "Not settled: the true difference lies between +0.100 and +0.900" in page.text
    assert {attrs["class"] for attrs in page.all("article")} == {"verdict none"}


def test_a_metric_that_selected_the_pairs_is_marked(copy: Path, page: Reader) -> None:
    assert "Read with care" not in page.text
    path = copy / "run.json"
    record = json.loads(path.read_text())
    record["recipe"]["step"]["pairs"]["keep"]["reward"] = "texture"
    path.write_text(json.dumps(record))
    assert "Read with care: pairs selected pictures by the same reward" in read(copy).text


def test_many_pairs_and_prompts_are_shown_by_an_even_choice(tmp_path: Path) -> None:
    page = read(write_run(tmp_path, pairs=70, prompts=70, side=24))
    assert "48 of 70 pairs, evenly spread from the widest gap to the narrowest" in page.text
    assert len(page.all("figure", class_="pair")) == 48
    assert "40 of 70 prompts, evenly spread over the set, and 2 pictures each, of 420 in all" in page.text
    assert "36 more" in page.text
    assert "28 more prompts" in page.text


def test_a_folder_without_a_run_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"is not a run: it has no run\.json"):
        report(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ReportError, match="is damaged"):
        report(tmp_path)


def test_the_same_run_has_the_same_page(folder: Path) -> None:
    def stable(path: Path) -> str:
        return re.sub(r"Written [^.,]*", "", path.read_text(encoding="utf-8"))

    assert stable(report(folder)) == stable(report(folder))
