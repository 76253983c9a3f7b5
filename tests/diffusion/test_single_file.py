"""Bases in one file in the original keys are the very models that their folders are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pairwright import models, options, single_files, weights
from pairwright.context import Context
from pairwright.diffusion.families import Family, load_base
from pairwright.models import ModelRef
from pairwright.store import Store
from pairwright.weights import WeightsError
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sd35 import write_sd35
from tests.miniatures.sdxl import write_sdxl
from tests.miniatures.single_file import write_single_file

WRITERS: dict[str, Callable[[Path], Path]] = {"sd15": write_sd15, "sdxl": write_sdxl, "sd35": write_sd35}
PROMPTS = ["a red rose", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def files(folders: dict[str, Path]) -> dict[str, Path]:
    """Beside the folders, with their names: their configuration is found there."""
    return {name: write_single_file(folder, folder.with_suffix(".safetensors")) for name, folder in folders.items()}


def load(path: Path, family: str) -> Family:
    return load_base(ModelRef(str(path), family), dtype="float32", device=torch.device("cpu"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_the_model_of_its_folder(folders: dict[str, Path], files: dict[str, Path], name: str, tmp_path: Path) -> None:
    ref = models.resolve(options.Model(base=str(files[name])), Context(Store(tmp_path)))
    assert ref.family == name
    folder, file = load(folders[name], name), load(Path(ref.base), name)
    expected, found = folder.network.state_dict(), file.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert not any(parameter.requires_grad for parameter in file.network.parameters())
    conditions = folder.condition(PROMPTS), file.condition(PROMPTS)
    for key, value in conditions[0].tensors.items():
        torch.testing.assert_close(conditions[1].tensors[key], value, atol=1e-5, rtol=1e-5)
    pixels = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    assert torch.equal(file.encode(pixels), folder.encode(pixels))
    assert torch.equal(file.decode(file.encode(pixels)), folder.decode(folder.encode(pixels)))
    assert file.scheduler().config == folder.scheduler().config


def cache(monkeypatch: pytest.MonkeyPatch, root: Path, repository: str, folder: Path) -> Path:
    """A hub cache with ``folder`` as the snapshot of ``repository``."""
    place = root / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    hub(monkeypatch, root)
    return place / "snapshots" / commit


def hub(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_without_a_folder_beside_it_the_cached_public_configuration_is_read(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(monkeypatch, tmp_path / "hub", single_files.CONFIGURATIONS["sd35"], folders["sd35"])
    file = Path(shutil.copy(files["sd35"], tmp_path / "alone.safetensors"))
    found = load(file, "sd35")
    assert torch.equal(
        found.network.state_dict()["proj_out.weight"], load(folders["sd35"], "sd35").network.state_dict()["proj_out.weight"]
    )
    assert found.latent_shape(32) == (16, 8, 8)


def test_a_hub_id_is_read_from_the_cache(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(monkeypatch, tmp_path / "hub", "someone/dream-xl", folders["sdxl"])
    ref = models.resolve(options.Model(base="someone/dream-xl"), Context(Store(tmp_path / "runs")))
    assert ref == ModelRef("someone/dream-xl", "sdxl")
    found = load_base(ref, dtype="float32", device=torch.device("cpu"))
    assert torch.equal(
        found.condition(PROMPTS).tensors["pooled"], load(folders["sdxl"], "sdxl").condition(PROMPTS).tensors["pooled"]
    )


def test_where_no_configuration_is_the_error_names_both_places(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(monkeypatch, tmp_path / "hub")
    file = Path(shutil.copy(files["sdxl"], tmp_path / "alone.safetensors"))
    with pytest.raises(WeightsError) as caught:
        load(file, "sdxl")
    assert "from stabilityai/stable-diffusion-xl-base-1.0 or from a folder alone/ beside it" in str(caught.value)
    assert "hf download stabilityai/stable-diffusion-xl-base-1.0" in str(caught.value)


def test_a_file_of_another_family_than_named_is_an_error(files: dict[str, Path]) -> None:
    with pytest.raises(single_files.SingleFileError, match="is of the family sdxl, not sd15"):
        load(files["sdxl"], "sd15")


def beside(folders: dict[str, Path], name: str, root: Path) -> Path:
    return Path(shutil.copytree(folders[name], root / "model"))


def test_text_encoders_that_the_file_lacks_come_from_the_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = beside(folders, "sd35", tmp_path)
    lacking = ("text_encoder", "text_encoder_2", "text_encoder_3")
    file = write_single_file(folder, tmp_path / "model.safetensors", leave_out=lacking)
    assert not any(key.startswith("text_encoders.") for key in single_files.header(file))
    found = load(file, "sd35").condition(PROMPTS)
    for key, value in load(folder, "sd35").condition(PROMPTS).tensors.items():
        assert torch.equal(found.tensors[key], value)


def test_a_text_encoder_that_is_nowhere_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = beside(folders, "sd35", tmp_path)
    file = write_single_file(folder, tmp_path / "model.safetensors", leave_out=("text_encoder_3",))
    shutil.rmtree(folder / "text_encoder_3")
    with pytest.raises(WeightsError, match=r"model\.safetensors has no text_encoder_3, so it is taken from"):
        load(file, "sd35").condition(PROMPTS)


@pytest.mark.parametrize(
    ("name", "lost", "said"),
    [
        ("sd15", "model.diffusion_model.out.2.bias", r"1 missing keys: conv_out\.bias"),
        ("sdxl", "model.diffusion_model.label_emb.0.0.weight", r"label_emb\.0\.0\.weight"),
        ("sd35", "model.diffusion_model.joint_blocks.0.x_block.attn.ln_q.weight", r"ln_q\.weight"),
        ("sdxl", "conditioner.embedders.1.model.ln_final.bias", r"1 missing keys: text_model\.final_layer_norm\.bias"),
        ("sd35", "text_encoders.t5xxl.transformer.encoder.final_layer_norm.weight", r"1 missing keys: encoder\.final_layer_norm"),
        ("sd35", "first_stage_model.decoder.conv_in.weight", r"1 missing keys: decoder\.conv_in"),
    ],
)
def test_a_part_that_is_not_whole_is_an_error(folders: dict[str, Path], name: str, lost: str, said: str, tmp_path: Path) -> None:
    beside(folders, name, tmp_path)
    file = write_single_file(folders[name], tmp_path / "model.safetensors")
    state = load_file(file)
    del state[lost]
    save_file(state, file)
    family = load(file, name)
    with pytest.raises(WeightsError, match=said):
        _ = family.network, family.condition(PROMPTS), family.decode(torch.zeros(1, family.latent_shape(32)[0], 8, 8))


def test_another_configuration_than_the_files_is_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = beside(folders, "sdxl", tmp_path)
    file = write_single_file(folder, tmp_path / "model.safetensors")
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cross_attention_dim": 64}))
    with pytest.raises(WeightsError, match=r"24 other shapes: .*attn2\.to_k\.weight \(16, 72\) instead of \(16, 64\)"):
        _ = load(file, "sdxl").network


def test_eight_bits_are_refused_rather_than_misread(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = beside(folders, "sd35", tmp_path)
    file = write_single_file(folder, tmp_path / "model.safetensors")
    state = {key: value.to(torch.float8_e4m3fn) if "t5xxl" in key else value for key, value in load_file(file).items()}
    save_file(state, file)
    found = load(file, "sd35")
    assert next(found.network.parameters()).dtype == torch.float32
    with pytest.raises(WeightsError, match="holds text_encoder_3 in 8 bits"):
        found.condition(PROMPTS)


def test_half_precision_files_give_the_autoencoder_and_clip_in_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = beside(folders, "sdxl", tmp_path)
    file = write_single_file(folder, tmp_path / "model.safetensors")
    save_file({key: value.half() for key, value in load_file(file).items()}, file)
    found, whole = load(file, "sdxl"), load(folder, "sdxl")
    pixels = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    assert found.encode(pixels).dtype == torch.float32
    torch.testing.assert_close(found.encode(pixels), whole.encode(pixels), atol=1e-3, rtol=1e-2)
    assert found.condition(PROMPTS).tensors["states"].dtype == torch.float32
    assert next(found.network.parameters()).dtype == torch.float32


def test_a_mark_of_v_prediction_reaches_training_and_sampling(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = beside(folders, "sdxl", tmp_path)
    found = load(write_single_file(folder, tmp_path / "model.safetensors", marks=("v_pred", "ztsnr")), "sdxl")
    assert found.process.prediction == "v_prediction"
    assert found.scheduler().config.prediction_type == "v_prediction"
    assert float(found.process.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-7)  # type: ignore[attr-defined]
    assert load(folder, "sdxl").process.prediction == "epsilon"


def test_another_file_of_the_same_name_is_another_model(folders: dict[str, Path], files: dict[str, Path], tmp_path: Path) -> None:
    ref = ModelRef(str(files["sd15"]), "sd15")
    identity = ref.identity(Store(tmp_path))["base"]
    assert identity == f"{weights.identity(str(files['sd15']))}+{weights.identity(str(folders['sd15']))}"
