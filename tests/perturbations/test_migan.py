"""MI-GAN: 0 is the hole, one picture at a time, and the published file where it is at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pairwright import plugins, weights
from pairwright.records import Edit, Edited, Failed, Picture
from tests.perturbations.requests import bad, pixels, request

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
SHARED = Path(os.environ.get("PAIRWRIGHT_SHARED", Path(__file__).parents[3] / "shared"))
REAL = SHARED / "weights" / "migan_pipeline_v2.onnx"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    from tests.miniatures.migan import write_migan

    return write_migan(tmp_path_factory.mktemp("migan") / "migan_pipeline_v2.onnx")


@pytest.fixture(scope="module")
def model(file):
    return plugins.load("perturbations", "migan", model=str(file), device="cpu", workers=1)


def test_the_hole_is_filled_from_what_is_kept(model):
    edit = request(0)
    assert edit.mask is not None
    hole = edit.mask == 1
    (result,) = model.edit([edit])
    expected = edit.picture.pixels[~hole].mean(axis=0)
    assert np.abs(pixels(result)[hole] - expected).max() <= 1
    assert np.array_equal(pixels(result)[~hole], edit.picture.pixels[~hole])


def test_many_are_as_each_alone_whatever_their_sizes(model):
    edits = [request(0), request(1, 40, 24), request(2, 7, 5), request(3)]
    for edit, result in zip(edits, model.edit(edits), strict=True):
        assert np.array_equal(pixels(result), pixels(model.edit([edit])[0]))
        assert result.image.size == edit.picture.image.size


def test_what_cannot_be_repainted_says_why_and_costs_itself_only(model):
    good = request(0)
    cases = bad(good)
    results = model.edit([*(edit for edit, _ in cases), good])
    assert [type(result) for result in results] == [Failed] * 4 + [Edited]
    for result, (_, words) in zip(results, cases, strict=False):
        assert words in result.reason


def test_a_graph_that_fails_is_a_reason(model, monkeypatch):
    class Broken:
        def run(self, *_):
            raise RuntimeError("at 0x7f00")

    (result,) = type(model)(Broken()).edit([request(0)])
    assert result == Failed("onnxruntime: RuntimeError")


def test_a_folder_may_hold_the_file_and_its_content_is_the_fingerprint(file):
    from pairwright import resolve
    from pairwright.options import Plugin

    assert isinstance(plugins.load("perturbations", "migan", model=str(file.parent)).edit([request(0)])[0], Edited)
    one = resolve.meaning("perturbations", Plugin(name="migan", options={"model": str(file), "workers": 1}))
    two = resolve.meaning("perturbations", Plugin(name="migan", options={"model": str(file), "workers": 2}))
    assert one == two
    assert one["options"]["model"].startswith("sha256:")


def test_other_files_are_refused_by_name(tmp_path, monkeypatch):
    from tests.miniatures.migan import write_migan

    other = write_migan(tmp_path / "migan.onnx", image="picture")
    with pytest.raises(weights.WeightsError, match=r"it reads mask, picture, expected image and mask.*bare generator"):
        plugins.load("perturbations", "migan", model=str(other))
    (tmp_path / "torn.onnx").write_bytes(other.read_bytes()[:100])
    with pytest.raises(weights.WeightsError, match=r"torn\.onnx is not an ONNX file"):
        plugins.load("perturbations", "migan", model=str(tmp_path / "torn.onnx"))
    with pytest.raises(weights.WeightsError, match=r"neither a file.*Picsart-AI-Research/MI-GAN"):
        plugins.load("perturbations", "migan", model=str(tmp_path / "absent.onnx"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(weights.WeightsError, match=r"pairwright\[onnx\]"):
        plugins.load("perturbations", "migan", model=str(other))


@pytest.mark.skipif(not REAL.is_file(), reason="needs weights/migan_pipeline_v2.onnx in PAIRWRIGHT_SHARED")
def test_the_published_pipeline_repaints_the_hole_and_nearly_nothing_else():
    model = plugins.load("perturbations", "migan", model=str(REAL), device="cpu", workers=1)
    photograph = Picture(id="coffee", data=(SHARED / "data/quickstart/coffee.jpg").read_bytes())
    height, width = photograph.image.height, photograph.image.width
    mask = np.zeros((height, width), dtype=np.float32)
    mask[height // 3 : height // 2, width // 3 : width // 2] = 1
    edit = Edit(photograph, "a cup of coffee", seed=0, mask=mask)
    first, again = (pixels(model.edit([edit])[0]) for _ in range(2))
    assert np.array_equal(first, again)
    change = np.abs(first - photograph.pixels.astype(int)).max(axis=2)
    assert change[mask == 1].mean() > 15
    assert change[mask == 0].max() <= 32
    assert (change[mask == 0] > 0).mean() < 0.05
