"""U^2-Net from every file that users have, its first output, and maps that are never NaN."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pairwright import plugins, weights
from pairwright.records import Picture
from pairwright.saliency import u2net
from tests.miniatures import pictures
from tests.miniatures.u2net import NARROW, network, write_folder, write_pth

SHARED = Path(os.environ.get("PAIRWRIGHT_SHARED", Path(__file__).parents[3] / "shared"))


def by_hand(picture: Picture, size: int) -> np.ndarray:
    """The authors' test script, written out: over the maximum, ImageNet, first output, min-max, bilinear."""
    pixels = np.asarray(picture.image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float64)
    scaled = pixels / pixels.max()
    channels = [(scaled[..., c] - m) / s for c, (m, s) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True))]
    with torch.no_grad():
        fused = torch.sigmoid(network().side_outputs(torch.tensor(np.stack(channels)[None], dtype=torch.float32))[0])[0, 0].numpy()
    fused = (fused - fused.min()) / (fused.max() - fused.min())
    return np.asarray(Image.fromarray(fused).resize(picture.image.size, Image.Resampling.BILINEAR))


def test_the_published_pickle_gives_the_published_map(tmp_path):
    model = plugins.load("saliency", "u2net", model=str(write_pth(tmp_path)), size=48, device="cpu")
    shown = [pictures.picture(0, 70, 50), pictures.picture(1, 30, 44)]
    for picture, found in zip(shown, model.maps(shown), strict=True):
        assert found.shape == (picture.image.height, picture.image.width)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, by_hand(picture, 48), atol=2e-3)
        assert found.max() > found.min() >= 0


def test_folder_file_and_pickle_are_the_same_network(tmp_path):
    folder = write_folder(tmp_path / "tiny", size=32)
    from_folder = plugins.load("saliency", "u2net", model=str(folder), device="cpu")
    assert from_folder.size == 32
    pickle = plugins.load("saliency", "u2net", model=str(write_pth(tmp_path, name="u2netp.pth")), size=32, device="cpu")
    shown = [pictures.picture(2)]
    np.testing.assert_allclose(from_folder.maps(shown)[0], pickle.maps(shown)[0], atol=1e-6)


def test_widths_are_read_from_the_tensors():
    assert u2net.widths(network().state_dict()) == NARROW


def test_alone_is_as_in_a_batch(tmp_path):
    model = plugins.load("saliency", "u2net", model=str(write_folder(tmp_path)), device="cpu", batch_size=3)
    shown = [pictures.picture(number, width=33 + number) for number in range(4)]
    for picture, found in zip(shown, model.maps(shown), strict=True):
        np.testing.assert_allclose(found, model.maps([picture])[0], atol=1e-5)


def test_a_constant_map_is_all_zeros():
    assert not u2net.restored(torch.full((1, 8, 8), 0.7), 5, 6).any()
    assert not u2net.restored(torch.full((1, 8, 8), float("nan")), 5, 6).any()
    assert u2net.restored(torch.linspace(0.2, 0.4, 64).reshape(1, 8, 8), 8, 8).max() == pytest.approx(1)


def test_a_black_picture_is_not_divided_by_zero(tmp_path):
    model = plugins.load("saliency", "u2net", model=str(write_folder(tmp_path)), device="cpu")
    black = pictures.encoded(np.zeros((20, 24, 3), dtype=np.uint8))
    (found,) = model.maps([black])
    assert np.isfinite(found).all()
    assert u2net.prepared(black.image, 4)[0, 0, 0] == pytest.approx(-0.485 / 0.229)


def test_a_dark_picture_is_seen_as_its_bright_twin():
    # Over its own maximum, not over 255: what the authors do, and what most who copy them leave out.
    dark = np.full((4, 4, 3), 51, dtype=np.uint8)
    assert torch.equal(u2net.prepared(Image.fromarray(dark), 4), u2net.prepared(Image.fromarray(dark * 5), 4))


def test_without_weights_it_says_where_they_are():
    with pytest.raises(weights.WeightsError, match=r"u2net\.pth.*Google Drive.*~/\.u2net"):
        plugins.load("saliency", "u2net")


def test_other_weights_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "u2net.pth")
    with pytest.raises(weights.WeightsError, match="not U\\^2-Net's checkpoint"):
        plugins.load("saliency", "u2net", model=str(tmp_path / "u2net.pth"), device="cpu")
    state = network().state_dict()
    state["side1.scale"] = torch.ones(1)
    torch.save(state, tmp_path / "u2net.pth")
    with pytest.raises(weights.WeightsError, match=r"unexpected keys: side1\.scale"):
        plugins.load("saliency", "u2net", model=str(tmp_path), device="cpu")


def test_an_onnx_file_without_onnxruntime_says_what_to_install(tmp_path, monkeypatch):
    import sys

    (tmp_path / "u2net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(weights.WeightsError, match="needs onnxruntime"):
        plugins.load("saliency", "u2net", model=str(tmp_path), device="cpu")


@pytest.mark.skipif(not (SHARED / "weights/u2netp.onnx").is_file(), reason="needs weights/u2netp.onnx in PAIRWRIGHT_SHARED")
def test_the_real_u2netp_finds_the_cup():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = plugins.load("saliency", "u2net", model=str(SHARED / "weights/u2netp.onnx"), device="cpu")
    photograph = Picture(id="coffee", data=(SHARED / "data/quickstart/coffee.jpg").read_bytes())
    (found,) = model.maps([photograph])
    height, width = found.shape
    assert (height, width) == (photograph.image.height, photograph.image.width)
    assert found.max() > 0.99
    assert found.min() < 0.01
    inside = found[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8]
    border = np.concatenate([found[:10].ravel(), found[-10:].ravel(), found[:, :10].ravel(), found[:, -10:].ravel()])
    assert inside.mean() > 0.9
    assert border.mean() < 0.1


@pytest.mark.skipif(not (SHARED / "weights/u2netp.onnx").is_file(), reason="needs weights/u2netp.onnx in PAIRWRIGHT_SHARED")
def test_the_real_weights_give_the_same_map_as_onnx_and_as_a_pickle(tmp_path):
    """The ONNX file's weights under the published names, through the torch network: the fused output, to rounding."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tools.tiny_pack.teacher import load_teacher

    torch.save(load_teacher(SHARED / "weights/u2netp.onnx").state_dict(), tmp_path / "u2netp.pth")
    photograph = Picture(id="rocket", data=(SHARED / "data/quickstart/rocket.jpg").read_bytes())
    maps = [
        plugins.load("saliency", "u2net", model=str(path), device="cpu").maps([photograph])[0]
        for path in (SHARED / "weights/u2netp.onnx", tmp_path / "u2netp.pth")
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-4)
