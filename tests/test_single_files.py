from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pairwright import models, options, single_files, weights
from pairwright.context import Context
from pairwright.single_files import SingleFileError
from pairwright.store import Store

BASES = {
    "sd15": ("cond_stage_model.transformer.text_model.x", "model.diffusion_model.input_blocks.0.0.weight"),
    "sdxl": (
        "conditioner.embedders.0.transformer.x",
        "conditioner.embedders.1.model.x",
        "model.diffusion_model.label_emb.0.0.weight",
    ),
    "sd35": ("model.diffusion_model.joint_blocks.0.x_block.attn2.qkv.weight", "text_encoders.clip_l.transformer.x"),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def build(*keys: str, channels: int = 4, name: str = "model.safetensors") -> Path:
        save_file({key: torch.ones(2, channels, 3, 3) for key in keys}, tmp_path / name)
        return tmp_path / name

    return build


@pytest.mark.parametrize("family", BASES)
def test_the_family_is_read_from_the_keys(write: Callable[..., Path], tmp_path: Path, family: str) -> None:
    path = write(*BASES[family])
    assert single_files.family(path) == family
    found = models.resolve(options.Model(base=str(path)), Context(Store(tmp_path / "runs")))
    assert (found.base, found.family) == (str(path), family)


def test_only_the_header_is_read(write: Callable[..., Path]) -> None:
    path = write(*BASES["sd35"])
    length = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    path.write_bytes(path.read_bytes()[:length])  # as if the weights had not arrived yet
    assert single_files.family(path) == "sd35"
    assert single_files.header(path)["text_encoders.clip_l.transformer.x"]["shape"] == [2, 4, 3, 3]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("cond_stage_model.model.x",), "Stable Diffusion 2"),
        (("conditioner.embedders.0.model.x",), "the refiner"),
        (("lora_unet_x.lora_down.weight",), "a LoRA, which is a layer and no base"),
        (("model.diffusion_model.input_blocks.0.0.weight",), "without its text encoders"),
        (("double_blocks.0.img_attn.x",), "keys like double_blocks.0.img_attn.x"),
    ],
)
def test_what_is_no_base_is_told_apart(write: Callable[..., Path], keys: tuple[str, ...], said: str) -> None:
    with pytest.raises(SingleFileError, match=said):
        single_files.family(write(*keys))


def test_an_inpainting_model_is_no_base(write: Callable[..., Path]) -> None:
    with pytest.raises(SingleFileError, match="reads 9 channels instead of 4"):
        single_files.family(write(*BASES["sd15"], channels=9))


@pytest.mark.parametrize(
    ("name", "content"), [("model.ckpt", b"PK\x03\x04"), ("cut.safetensors", b"\x01\x02"), ("a.safetensors", b"")]
)
def test_what_is_no_safetensors_file_is_not_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SingleFileError, match="can execute code"):
        single_files.family(tmp_path / name)


def test_the_configuration_is_the_folder_beside_it_else_the_public_one(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(*BASES["sdxl"])
    assert single_files.configuration(path, "sdxl") == "stabilityai/stable-diffusion-xl-base-1.0"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    assert single_files.configuration(path, "sdxl") == str(tmp_path / "model")


def test_a_fingerprint_covers_the_configuration_too(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(*BASES["sdxl"])
    (tmp_path / "model").mkdir()
    index = tmp_path / "model" / "model_index.json"
    index.write_text("{}")
    before = single_files.identity(str(path), "sdxl")
    assert before.startswith(weights.identity(str(path)))
    assert single_files.identity(str(path), "sdxl") == before
    index.write_text('{"force_zeros_for_empty_prompt": false}')
    assert single_files.identity(str(path), "sdxl") != before
    assert single_files.identity(str(tmp_path / "model"), "sdxl") == weights.identity(str(tmp_path / "model"))


def test_marks_in_the_file_change_the_schedule(write: Callable[..., Path]) -> None:
    assert single_files.schedule(write(*BASES["sdxl"])) == {}
    marked = write(*BASES["sdxl"], "v_pred", "ztsnr", name="v.safetensors")
    assert single_files.schedule(marked) == {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
