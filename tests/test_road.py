"""The whole road on miniatures: the shipped recipe from photographs to the report, also when it is killed on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairwright import run
from tests.miniatures.pack import write_pack

SMALL = [
    "pairs.crops = 2",
    "pairs.mask = { least_area = 0.0, most_area = 1.0 }",
    "pairs.gap.pilot = 16",
    "pairs.keep.top = 8",
    "pairs.perturbation.steps = 2",
    "stage1.steps = 6",
    "stage1.checkpoint_every = 2",
    "stage1.batch = 4",
    "stage2.steps = 6",
    "stage2.checkpoint_every = 2",
    "stage2.batch = 4",
    "pictures.prompts = { name = 'tiny:prompts.txt', limit = 8 }",
    "pictures.per_prompt = 2",
    "pictures.steps = 3",
    "comparison.resamples = 500",
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("pack"))


def command(root: Path) -> list[str]:
    changes = [word for change in SMALL for word in ("--set", change)]
    return [sys.executable, "-m", "pairwright.cli", "run", "tiny", "--root", str(root), *changes]


def environment(pack: Path) -> dict[str, str]:
    return {**os.environ, "PAIRWRIGHT_TINY": str(pack), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def tables(root: Path) -> dict[str, object]:
    """What must not depend on how often the run was interrupted."""
    folder = root / "demo"
    comparison = json.loads((run.result(folder, "comparison").path / "comparison.json").read_text())
    pairs = [(row["id"], row["loser"]["bytes"]) for row in run.result(folder, "pairs").rows()]
    adapters = {
        step: (run.result(folder, step).path / "adapter" / "pytorch_lora_weights.safetensors").read_bytes()
        for step in ("stage1", "stage2")
    }
    return {"comparison": comparison, "pairs": pairs, "adapters": adapters}


def finish(root: Path, pack: Path) -> dict[str, object]:
    done = subprocess.run(command(root), env=environment(pack), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("report.html")
    return tables(root)


def test_the_shipped_recipe_leads_from_photographs_to_a_report(pack: Path, tmp_path: Path) -> None:
    found = finish(tmp_path, pack)
    record = run.read(tmp_path / "demo")
    assert {step: entry["state"] for step, entry in record["steps"].items()} == dict.fromkeys(record["steps"], "complete")
    assert len(found["pairs"]) == 8  # type: ignore[arg-type]
    comparison = found["comparison"]
    assert isinstance(comparison, dict)
    assert comparison["primary"] == "imagereward"
    assert comparison["models"] == ["base", "stage 1", "stage 1 + 2"]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Who became a pair" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_ten_times_at_random_moments_the_tables_are_those_of_an_uninterrupted_run(pack: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    wanted = finish(tmp_path / "whole", pack)
    length = time.monotonic() - started
    moments = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen(
            command(tmp_path / "cut"), env=environment(pack), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.2, 1.0) * length / 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert finish(tmp_path / "cut", pack) == wanted
