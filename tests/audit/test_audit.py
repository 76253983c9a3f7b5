"""The whole audit: made pairs where a known cue separates the sides, and pairs where none does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from pairwright import audit, images, pairsets, vetoes
from pairwright.store import Store
from tests.miniatures.made_pairs import Change, jpeg, png, scene, write
from tests.miniatures.run_folder import write_run


def examined(root: Path, count: int = 40, **options):
    against = options.pop("against", ())
    accepted = options.pop("accepted", ())
    return audit.audit(pairsets.find(write(Store(root), count, **options).path), against=against, accepted=accepted)


def levels(found: audit.Audit) -> dict[str, str]:
    return {each.check: each.level for each in found.findings}


def finding(found: audit.Audit, check: str) -> audit.Finding:
    return next(each for each in found.findings if each.check == check)


def test_where_nothing_differs_nothing_is_a_problem(tmp_path):
    found = examined(tmp_path)
    assert found.problems == 0
    assert (found.pairs, found.prompts) == (40, 40)
    assert {check for check, level in levels(found).items() if level != "ok"} == {"overlap"}, "which was not asked"
    sharpness = finding(found, "sharpness").numbers
    assert 0.3 < sharpness["within"] < 0.7
    assert sharpness["within_interval"][0] < 0.5 < sharpness["within_interval"][1]


def darker(image: Image.Image, _: int) -> bytes:
    return images.encode(image.point(lambda value: int(0.7 * value)))


def bluer(image: Image.Image, _: int) -> bytes:
    pixels = np.asarray(image).astype(int) + np.array([0, 0, 90])
    return images.encode(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def redder(image: Image.Image, _: int) -> bytes:
    pixels = np.asarray(image).astype(int) + np.array([70, -20, 25])
    return images.encode(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def blurred(image: Image.Image, _: int) -> bytes:
    return images.encode(image.filter(ImageFilter.GaussianBlur(1)))


def larger(image: Image.Image, _: int) -> bytes:
    return images.encode(image.resize((80, 80), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("cue", "winner", "loser", "within"),
    [
        ("brightness", png, darker, 0.9),
        ("yellow against blue", png, bluer, 0.9),
        ("red against green", redder, png, 0.9),
        ("sharpness", png, blurred, 1.0),
        ("resolution", png, larger, 0.0),
        ("JPEG quality", jpeg(90), jpeg(70), 1.0),
        ("file format", jpeg(90), png, 1.0),
    ],
)
def test_a_cue_that_separates_the_sides_is_found_with_its_direction(
    tmp_path, cue: str, winner: Change, loser: Change, within: float
):
    found = examined(tmp_path, winner=winner, loser=loser)
    answer = finding(found, cue)
    assert answer.level == "problem"
    assert abs(answer.numbers["within"] - within) <= 0.1
    low, high = answer.numbers["within_interval"]
    assert low <= answer.numbers["within"] <= high
    assert not low <= 0.5 <= high
    assert answer.numbers["within_p"] < 0.05
    assert answer.advice
    assert found.problems >= 1


def test_a_cue_that_only_leans_is_a_note(tmp_path):
    """Half of the losers are darker: three of four winners would be brighter, but for the scenes' own differences."""

    def sometimes(image: Image.Image, number: int) -> bytes:
        return darker(image, number) if number % 5 < 2 else images.encode(image)

    answer = finding(examined(tmp_path, 400, loser=sometimes), "brightness")
    assert answer.level == "note"
    assert 0.6 < answer.numbers["within"] < 0.75


def test_with_a_handful_of_captions_nothing_is_claimed(tmp_path):
    answer = finding(examined(tmp_path, 4, loser=darker), "brightness")
    assert answer.level == "note"
    assert "too few captions to tell (4)" in answer.said
    assert answer.numbers["within_interval"] is None


def test_what_is_accepted_is_a_note_and_an_unknown_check_is_named(tmp_path):
    found = examined(tmp_path, loser=blurred, accepted=("sharpness", "file size"))
    assert finding(found, "sharpness").level == "note"
    assert found.problems == 0
    with pytest.raises(audit.AuditError, match="Did you mean 'sharpness'"):
        examined(tmp_path, accepted=("sharpnes",))


def test_ties_and_gaps_of_the_wrong_sign_are_counted(tmp_path):
    gaps = [0.4, -0.1, 0.0, None, 0.2, -3.0]
    found = examined(tmp_path, 6, lineage=lambda number: {"gap": gaps[number]} if gaps[number] is not None else {})
    answer = finding(found, "gap")
    assert answer.level == "problem"
    assert answer.numbers == {"negative": 2, "ties": 1, "missing": 1}
    assert answer.examples[0] == f"{1:016x}"
    unknown = finding(examined(tmp_path / "b", 6, lineage=lambda _: {}), "gap")
    assert (unknown.level, unknown.numbers["missing"]) == ("note", 6)


def test_copies_near_copies_views_and_equal_sides(tmp_path):
    def winner(image: Image.Image, number: int) -> bytes:
        if number == 1:
            return images.encode(scene(0))  # pair 0's winner again
        if number == 2:
            return jpeg(60)(scene(0), 0)  # and nearly so
        return images.encode(image)

    def loser(image: Image.Image, number: int) -> bytes:
        return images.encode(scene(6)) if number == 3 else images.encode(image)  # pair 3's winner

    found = examined(
        tmp_path,
        12,
        winner=winner,
        loser=loser,
        lineage=lambda number: {"gap": 1.0, "photograph": "p" if number in {4, 5, 6} else f"p{number}"},
    )
    assert finding(found, "duplicates").numbers == {"copies": 1, "groups": 1}
    near = finding(found, "near duplicates")
    assert near.level == "note"
    assert near.examples == (f"{0:016x} ~ {2:016x}", f"{1:016x} ~ {2:016x}")
    assert finding(found, "sides").numbers == {"pairs": 1}
    assert finding(found, "views").said == "3 pairs show 1 photographs from several views."


def test_captions_among_the_prompts(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("A scene, with the number 3!\nthe number 5 with a scene\nsomething else altogether\n")
    answer = finding(examined(tmp_path, 10, against=(str(prompts),)), "overlap")
    assert answer.level == "problem"
    assert (answer.numbers["exact"], answer.numbers["near"], answer.numbers["prompts"]) == (1, 1, 3)
    assert answer.examples == ("'a scene with the number 3' and 'A scene, with the number 3!'",)


def test_vetoed_pairs_are_left_out_and_broken_ones_named(tmp_path):
    def loser(image: Image.Image, number: int) -> bytes:
        return darker(image, number) if number < 3 else images.encode(image)

    node = write(Store(tmp_path), 12, loser=loser)
    pairs = pairsets.find(node.path)
    vetoes.change(pairs.vetoes, "", f"{1:016x}", "dark")
    assert audit.audit(pairs).pairs == 11
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    table = pq.read_table(node.shard(0)).to_pylist()
    table[0]["loser"]["bytes"] = b"\x89PNG\r\n\x1a\nnot one"
    pq.write_table(__import__("pyarrow").Table.from_pylist(table), foreign / "mine.parquet")
    found = audit.audit(pairsets.find(foreign))
    assert found.pairs == 11
    assert finding(found, "pictures").examples[0].startswith(f"{0:016x}: ")


def test_a_runs_own_prompts_are_compared_by_default(tmp_path):
    folder = write_run(tmp_path, until="pairs", pairs=8)
    record = json.loads((folder / "run.json").read_text())
    prompts = tmp_path / "eval.txt"
    prompts.write_text("an orange dahlia\n")
    record["recipe"]["step"]["pictures"]["prompts"] = {"name": str(prompts), "limit": None, "seed": 0}
    (folder / "run.json").write_text(json.dumps(record))
    assert finding(audit.audit(pairsets.find(folder)), "overlap").numbers["exact"] == 1
    record["recipe"]["step"]["pictures"]["prompts"] = {"name": "pairs"}
    (folder / "run.json").write_text(json.dumps(record))
    assert "compared with no prompts" in finding(audit.audit(pairsets.find(folder)), "overlap").said


def test_the_command_prints_text_or_json_and_its_status_says_whether_there_is_a_problem(tmp_path):
    node = write(Store(tmp_path), 24, loser=blurred)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "pairwright", "audit", *words], capture_output=True, text=True, check=False)

    said = command(str(node.path))
    assert said.returncode == 2
    assert "PROBLEM  sharpness: it tells the sides apart. The winner is sharper in 100\N{NO-BREAK SPACE}% of pairs" in said.stdout
    plain = command(str(node.path), "--json", "--accept", "sharpness", "file size")
    assert plain.returncode == 0
    record = json.loads(plain.stdout)
    assert (record["pairs"], record["problems"]) == (24, 0)
    assert {each["check"] for each in record["findings"]} <= set(audit.CHECKS)
    wrong = command(str(tmp_path / "nothing"))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("error: ")
