"""Vetoes: kept whole whatever happens, by step, and a run that goes on after one never sees the pair again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairwright import recipe, run, vetoes


def test_a_veto_is_kept_by_step_and_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / vetoes.NAME
    assert vetoes.read(path) == {}
    assert vetoes.change(path, "pairs", "b", "blurred") == {"b": "blurred"}
    vetoes.change(path, "pairs", "a", "")
    vetoes.change(path, "other", "c", "dull")
    assert vetoes.read(path) == {"other": {"c": "dull"}, "pairs": {"a": "", "b": "blurred"}}
    assert vetoes.every(path) == {"a": "", "b": "blurred", "c": "dull"}
    assert vetoes.change(path, "pairs", "b", None) == {"a": ""}
    assert vetoes.change(path, "other", "c", None) == {}
    assert vetoes.read(path) == {"pairs": {"a": ""}}


@pytest.mark.parametrize("text", ["", "[]", '{"vetoes": []}', '{"vetoes": {"pairs": ["a"]}}', '{"vetoes"'])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / vetoes.NAME
    path.write_text(text)
    with pytest.raises(vetoes.VetoError, match="is not a file of vetoes"):
        vetoes.change(path, "pairs", "a", "x")
    assert path.read_text() == text


def test_kill_9_loses_no_veto_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / vetoes.NAME
    script = (
        "import sys\nfrom pathlib import Path\nfrom pairwright import vetoes\n"
        "for number in range(100000):\n"
        "    vetoes.change(Path(sys.argv[1]), 'pairs', f'{number:06d}', 'x' * 50)\n"
        "    print(number, flush=True)\n"
    )
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.15)
            os.kill(process.pid, signal.SIGKILL)
            said = [int(line) for line in process.stdout.read().splitlines()]
        kept = set(vetoes.read(path)["pairs"])
        assert {f"{number:06d}" for number in range((said[-1] if said else 0) + 1)} <= kept


def test_a_run_that_goes_on_after_a_veto_does_not_have_the_pair(tmp_path: Path) -> None:
    table = {
        "verb": "curate",
        "source": {"name": "tests.fakes.colours", "count": 40},
        "resolution": 32,
        "saliency": "tests.fakes.middle",
        "perturbation": "tests.fakes.dye",
        "keep": {"reward": "tests.fakes.red", "top": 5},
    }
    chosen = recipe.parse({"name": "demo", "step": {"pairs": table, "others": {**table, "seed": 1}}}, "here")

    def kept(step: str) -> list[str]:
        run.run(chosen, tmp_path)
        return [row["id"] for row in run.result(tmp_path / "demo", step).rows(columns=["id"])]

    before = kept("pairs")
    vetoes.change(tmp_path / "demo" / vetoes.NAME, "pairs", before[1], "the loser is better")
    after = kept("pairs")
    assert after[:4] == [before[0], *before[2:]]
    assert len(after) == 5
    assert before[1] in kept("others"), "a veto is one step's own"
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "vetoed: the loser is better" in page
    vetoes.change(tmp_path / "demo" / vetoes.NAME, "pairs", before[1], None)
    assert kept("pairs") == before
    assert json.loads((tmp_path / "demo" / vetoes.NAME).read_text()) == {"vetoes": {}}
