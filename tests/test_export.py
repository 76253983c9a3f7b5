"""What is exported is the model: through diffusers' own loaders, on the public base, at strength 1."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, SD3Transformer2DModel, UNet2DConditionModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairwright import cli, models, runtime
from pairwright.context import Context
from pairwright.diffusion import adapters, families, lora_files
from pairwright.export import ExportError, export
from pairwright.models import LORA_FILE, ModelError, ModelRef
from pairwright.options import Export, ExportFormat, Model
from pairwright.store import Node, Store, write_json
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sd35 import write_sd35
from tests.miniatures.sdxl import write_sdxl

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' Euler scheduler under NumPy 2
WRITERS: dict[str, Callable[[Path], Path]] = {"sd15": write_sd15, "sdxl": write_sdxl, "sd35": write_sd35}
MEANING = {"objective": "dpo", "steps": 5, "batch": 2, "beta": 2000.0, "seed": 11, "optimiser": {"learning_rate": 0.001}}


@dataclass(frozen=True)
class World:
    """A base of one family, a foreign LoRA, a run with two trainings on both, and what the last one paints."""

    family: str
    root: Path
    base: Path
    foreign: Path
    store: Store
    expected: Tensor
    bare: Tensor

    @property
    def network(self) -> str:
        return "transformer" if self.family == "sd35" else "unet"

    def write(self, *formats: ExportFormat, out: Path, chosen: Export | None = None, **more: Any) -> list[Path]:
        return export(Model(base="runs/mine/stage2"), formats, out, self.store, chosen, **more)


def scrambled(family: families.Family, name: str, rank: int, alpha: float, targets: tuple[str, ...], seed: int) -> None:
    """A fresh adapter whose B does something."""
    adapters.add(family, name, rank=rank, alpha=alpha, targets=targets, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for key, value in adapters.parameters(family.network, name).items():
        if ".lora_B." in key:
            value.data.copy_(torch.randn(value.shape, generator=generator) * 0.05)


def loaded(base: Path, **parts: Any) -> Any:
    with runtime.quiet():
        pipeline = DiffusionPipeline.from_pretrained(base, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def painted(pipeline: Any) -> Tensor:
    """Latents of two steps with guidance."""
    generator = torch.Generator().manual_seed(5)
    more = {"height": 32, "width": 32, "output_type": "latent", "num_inference_steps": 2, "guidance_scale": 3.0}
    found: Tensor = pipeline("a red rose", generator=generator, **more).images
    return found


def trained(store: Store, family: families.Family, chain: list[str], seed: int) -> Node:
    """A finished training whose adapter is what the chain does together."""
    node = store.node("train", {**MEANING, "seed": seed}, ["pairs0123456789a"])
    said = {"modelspec.resolution": "32x32", "pairwright.objective": "dpo"}
    adapters.save(family, chain, node.path / "adapter", said)
    ref = ModelRef(family.base, family.name, (models.trained_layer(node, "adapter"),))
    write_json(node.path / "model.json", ref.to_json())
    checkpoint = node.path / "checkpoints" / "step-00000002"
    adapters.save(family, chain[:1], checkpoint / "adapter", said)
    earlier = ModelRef(family.base, family.name, (models.trained_layer(node, "checkpoints/step-00000002/adapter"),))
    write_json(checkpoint / "model.json", earlier.to_json())
    node.finish(steps=5)
    return node


def build(which: str, root: Path) -> World:
    base = WRITERS[which](root / "base")
    store = Store(root / "runs")
    family = families.load_base(ModelRef(str(base), which), dtype="float32", device=CPU)
    foreign = root / "foreign.safetensors"
    scrambled(family, "theirs", 3, 2.0, ("to_q", "to_v", "ff.net.2"), 1)
    changes = adapters.changes(family.network, ["theirs"])
    lora_files.write(foreign, changes, lora_files.of(family.network, family.lora_prefix), {}, "kohya")
    scrambled(family, "stage1", 4, 6.0, ("to_q", "to_k", "to_out.0"), 2)
    stage1 = trained(store, family, ["theirs", "stage1"], 10)
    scrambled(family, "stage2", 2, 2.0, (), 3)
    stage2 = trained(store, family, ["theirs", "stage1", "stage2"], 11)
    steps = {
        "stage1": {"verb": "train", "from": ["pairs"], **MEANING, "objective": "dro"},
        "stage2": {"verb": "train", "from": ["pairs", "stage1"], **MEANING},
    }
    pointers = {name: {"verb": "train", "fingerprint": node.fingerprint} for name, node in (("stage1", stage1), ("stage2", stage2))}
    recipe = {"name": "mine", "step": {"pairs": {"verb": "curate", "from": []}, **steps}}
    write_json(store.root / "mine" / "run.json", {"name": "mine", "recipe": recipe, "steps": pointers})
    network = "transformer" if which == "sd35" else "unet"
    expected = painted(loaded(base, **{network: family.network}))
    return World(which, root, base, foreign, store, expected, painted(loaded(base)))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """Each is built once; nothing writes into them."""
    return cache(lambda which: build(which, tmp_path_factory.mktemp(which)))


@pytest.fixture(scope="module", params=WRITERS)
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    return worlds(request.param)


@pytest.fixture(scope="module")
def sd15(worlds: Callable[[str], World]) -> World:
    return worlds("sd15")


def assert_same(found: Tensor, world: World) -> None:
    assert (world.expected - world.bare).abs().max() > 0.05, "the LoRAs do something"
    torch.testing.assert_close(found, world.expected, atol=5e-5, rtol=5e-5)


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize("form", ["diffusers", "kohya", "comfy"])
def test_at_strength_1_on_the_public_base_it_paints_the_models_pictures(tmp_path: Path, world: World, form: ExportFormat) -> None:
    path, _ = world.write(form, out=tmp_path / "out")
    if form == "diffusers" or (form == "kohya" and world.network == "unet"):
        pipeline = loaded(world.base)
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
    else:  # diffusers has no reader for these keys; ours is held against its converters in test_lora_files.py
        ref = ModelRef(str(world.base), world.family, (models.Layer("adapter", str(path)),))
        family = families.load(ref, world.store, dtype="float32", device=CPU)
        pipeline = loaded(world.base, **{world.network: family.network})
    assert_same(painted(pipeline), world)


def test_a_chain_that_is_named_layer_by_layer_is_one_lora_too(tmp_path: Path, world: World) -> None:
    """A foreign LoRA at half strength below two of ours."""
    own = [str(models.of_node(world.store.open("train", each)).layers[0].file(world.store)) for each in _fingerprints(world)]
    model = Model(base=str(world.base), layers=(f"{world.foreign}:0.5", own[0], f"{own[1]}:-0.25"))
    path = tmp_path / "chain.safetensors"
    assert export(model, ["kohya"], path, world.store) == [path]
    ref = models.resolve(model, _context(world))
    family = families.load(ref, world.store, dtype="float32", device=CPU)
    expected = painted(loaded(world.base, **{world.network: family.network}))
    one = ModelRef(str(world.base), world.family, (models.Layer("adapter", str(path)),))
    again = families.load(one, world.store, dtype="float32", device=CPU)
    found = painted(loaded(world.base, **{world.network: again.network}))
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=5e-5)
    assert (expected - world.expected).abs().max() > 0.01


def test_merged_weights_and_the_pipeline_folder_paint_the_same(tmp_path: Path, world: World) -> None:
    merged, pipeline, _ = world.write("merged", "pipeline", out=tmp_path / "out")
    kind = SD3Transformer2DModel if world.family == "sd35" else UNet2DConditionModel
    with runtime.quiet():
        network = kind.from_pretrained(merged)
    assert_same(painted(loaded(world.base, **{world.network: network})), world)
    assert_same(painted(loaded(pipeline)), world)
    assert {path.suffix for path in pipeline.rglob("*") if path.is_file()} <= {".json", ".txt", ".safetensors", ".model"}
    assert (pipeline / "vae" / "diffusion_pytorch_model.safetensors").samefile(
        world.base / "vae" / "diffusion_pytorch_model.safetensors"
    )
    assert str(world.root) not in (merged / "config.json").read_text() + (pipeline / "model_index.json").read_text()
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_pipeline_folder_can_be_a_base_again(tmp_path: Path, sd15: World) -> None:
    (pipeline, _) = sd15.write("pipeline", out=tmp_path / "out")
    family = families.load(models.resolve(Model(base=str(pipeline)), _context(sd15)), sd15.store, dtype="float32", device=CPU)
    assert_same(painted(loaded(sd15.base, unet=family.network)), sd15)


def test_diffusers_keys_need_no_header_to_have_the_right_strength(tmp_path: Path, sd15: World) -> None:
    """ComfyUI does not read diffusers' header; the stored training has alpha 6 at rank 4 in it."""
    path, _ = sd15.write("diffusers", out=tmp_path / "out")
    save_file(load_file(path), tmp_path / "bare.safetensors")
    pipeline = loaded(sd15.base)
    pipeline.load_lora_weights(tmp_path, weight_name="bare.safetensors")
    assert_same(painted(pipeline), sd15)


def test_a_checkpoint_is_exported_by_its_name(tmp_path: Path, sd15: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint holds the foreign LoRA alone."""
    monkeypatch.chdir(tmp_path)
    path, card = export(Model(base="runs/mine/stage2@step-00000002"), ["kohya"], None, sd15.store)
    assert path == Path("exports/mine-stage2-step-00000002/mine-stage2-step-00000002-kohya.safetensors")
    one, other = load_file(sd15.foreign), load_file(path)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert header(path)["pairwright.data"] == "pairs0123456789a"
    assert header(path)["ss_steps"] == "2"
    assert "| stage2@step-00000002 |" in card.read_text()


def test_a_lora_of_another_program_is_translated_there_and_back(tmp_path: Path, sd15: World) -> None:
    model = Model(base=str(sd15.base), layers=(str(sd15.foreign),))
    path, back = tmp_path / "diffusers.safetensors", tmp_path / "kohya.safetensors"
    export(model, ["diffusers"], path, sd15.store)
    export(Model(base=str(sd15.base), layers=(str(path),)), ["kohya"], back, sd15.store)
    one, other = load_file(sd15.foreign), load_file(back)
    assert one.keys() == other.keys()
    for key in one:
        if key.endswith(".alpha"):
            start = key.removesuffix("alpha")
            (ours, theirs) = (
                each[key] / 3 * (each[f"{start}lora_up.weight"] @ each[f"{start}lora_down.weight"]) for each in (other, one)
            )
            torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-6)


def test_equal_weights_are_equal_files_wherever_the_base_lies(tmp_path: Path, sd15: World) -> None:
    formats: tuple[ExportFormat, ...] = ("diffusers", "kohya", "comfy", "merged")
    sd15.write(*formats, out=tmp_path / "one")
    moved = tmp_path / "elsewhere"
    shutil.copytree(sd15.root, moved)
    for path in (moved / "runs").rglob("model.json"):
        path.write_text(path.read_text().replace(str(sd15.base), str(moved / "base")))
    export(Model(base="runs/mine/stage2"), formats, tmp_path / "two", Store(moved / "runs"))
    files = [path.relative_to(tmp_path / "one") for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert len(files) == 6
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_the_header_says_what_it_is_and_where_it_comes_from(tmp_path: Path, sd15: World) -> None:
    path, _ = sd15.write("kohya", out=tmp_path / "out")
    said = header(path)
    expected = {
        "base": "base",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "32x32",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": "mine-stage2",
        "pairwright.data": "pairs0123456789a",
        "pairwright.objective": "dpo",
        "ss_base_model_version": "sd_v1",
        "ss_learning_rate": "0.001",
        "ss_network_alpha": "6",
        "ss_network_dim": "6",
        "ss_network_module": "networks.lora",
        "ss_output_name": "mine-stage2",
        "ss_seed": "11",
        "ss_steps": "5",
    }
    assert {name: said.get(name) for name in expected} == expected
    assert said["pairwright.base"].startswith("sha256:")
    assert len(said["pairwright.recipe"]) == 16
    assert "modelspec.date" not in said
    assert "modelspec.thumbnail" not in said


def test_date_title_and_a_thumbnail_are_there_when_asked_for(tmp_path: Path, sd15: World) -> None:
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "sample.png")
    chosen = Export(dated=True, title="Roses", thumbnail=str(tmp_path / "sample.png"))
    path, _ = sd15.write("diffusers", out=tmp_path / "out", chosen=chosen)
    said = header(path)
    finished = sd15.store.open("train", _fingerprints(sd15)[1]).record()["finished"]
    assert said["modelspec.date"] == datetime.fromtimestamp(finished, UTC).date().isoformat()
    assert said["modelspec.title"] == "Roses"
    start, _, data = said["modelspec.thumbnail"].partition(",")
    assert start == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (256, 128)


def test_a_reduced_rank_is_smaller_and_its_error_is_said(tmp_path: Path, sd15: World) -> None:
    exact, card = sd15.write("diffusers", out=tmp_path / "exact")
    (reduced, reduced_card) = sd15.write("diffusers", out=tmp_path / "reduced", chosen=Export(rank=3))
    ranks = {len(value) for key, value in load_file(reduced).items() if "lora_A" in key}
    assert ranks <= {1, 2, 3}
    assert reduced.stat().st_size < exact.stat().st_size
    family = families.load_base(ModelRef(str(sd15.base), "sd15"), dtype="float32", device=CPU)
    names = lora_files.of(family.network, "unet")
    whole, less = ({module: each.delta() for module, each in lora_files.read(path, names).items()} for path in (exact, reduced))
    cut = sum(float((less[module] - value).square().sum()) for module, value in whole.items())
    error = (cut / sum(float(value.square().sum()) for value in whole.values())) ** 0.5
    assert 0.01 < error < 0.9
    assert header(reduced)["pairwright.reduced"] == f"rank 9 to 3, relative error {error:.3g}"
    assert f"relative error of {error:.3g}" in reduced_card.read_text()
    assert "Reduced" not in card.read_text()


def test_half_precision_is_written_and_read(tmp_path: Path, sd15: World) -> None:
    lora, merged, _ = sd15.write("diffusers", "merged", out=tmp_path / "out", chosen=Export(dtype="float16"))
    assert {value.dtype for value in load_file(lora).values()} == {torch.float16}
    assert {value.dtype for value in load_file(merged / "diffusion_pytorch_model.safetensors").values()} == {torch.float16}
    pipeline = loaded(sd15.base)
    pipeline.load_lora_weights(lora.parent)
    torch.testing.assert_close(painted(pipeline), sd15.expected, atol=2e-2, rtol=2e-2)


def test_the_card_tells_trainings_files_results_and_how_to_load(tmp_path: Path, sd15: World) -> None:
    compared = sd15.store.node("compare", {"x": 1})
    (compared.path / "comparison.md").write_text("| metric | model |\n|---|---|\n| pickscore | both |\n")
    compared.finish()
    path = sd15.store.root / "other" / "run.json"
    write_json(path, {"steps": {"table": {"verb": "compare", "fingerprint": compared.fingerprint}}})
    chosen = Export(comparison="runs/other/table")
    *_, card = sd15.write("diffusers", "kohya", "pipeline", out=tmp_path / "out", chosen=chosen)
    said = card.read_text()
    assert "| stage1 | dro, learning rate 0.001 | 5 | 2 |  | 11 |" in said
    assert "| stage2 | dpo, learning rate 0.001 | 5 | 2 | 2000.0 | 11 |" in said
    assert "| pickscore | both |" in said
    assert "license: other  # to be filled in" in said
    assert "`mine-stage2-kohya.safetensors`" in said
    assert "<lora:mine-stage2-kohya:1>" in said
    assert 'DiffusionPipeline.from_pretrained("pipeline")' in said
    assert str(sd15.root) not in said


def test_what_is_there_is_not_overwritten_unless_asked(tmp_path: Path, sd15: World) -> None:
    out = tmp_path / "out"
    first = sd15.write("diffusers", "merged", out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ExportError, match=rf"{LORA_FILE}.* are there already; give --replace True"):
        sd15.write("diffusers", "merged", out=out, chosen=Export(title="Other"))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sd15.write("diffusers", "merged", out=out, chosen=Export(title="Other"), replace=True) == first
    assert header(first[0])["modelspec.title"] == "Other"
    assert header(first[1] / "diffusion_pytorch_model.safetensors")["modelspec.title"] == "Other"
    assert sorted(path.name for path in out.iterdir()) == ["README.md", LORA_FILE, "unet"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, sd15: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sd15.write("merged", out=tmp_path)
    before = (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("pairwright.diffusion.pipeline_folders.save_file", full)
    with pytest.raises(OSError, match="no space"):
        sd15.write("merged", out=tmp_path, replace=True)
    assert (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "unet"]


@pytest.mark.parametrize(
    ("formats", "out", "chosen", "said"),
    [
        ((), "out", {}, "no format was named"),
        (("kohya", "comfy"), "x.safetensors", {}, "only one LoRA fits"),
        (("merged",), "x.safetensors", {}, "only one LoRA fits"),
        (("kohya",), "out", {"thumbnail": "nowhere.png"}, "thumbnail nowhere.png is not a file"),
        (("kohya",), "out", {"comparison": "runs/mine/stage2"}, "not a finished compare step"),
        (("kohya",), "out", {"comparison": "mine"}, "not runs/<run>/<step>"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_loaded(
    tmp_path: Path, sd15: World, monkeypatch: pytest.MonkeyPatch, formats: Any, out: str, chosen: Mapping[str, Any], said: str
) -> None:
    monkeypatch.setattr(families, "load_base", None)
    with pytest.raises(ExportError, match=said):
        sd15.write(*formats, out=tmp_path / out, chosen=Export.model_validate(chosen))
    assert not list(tmp_path.iterdir())


def test_a_base_alone_is_no_lora(tmp_path: Path, sd15: World) -> None:
    with pytest.raises(ExportError, match="nothing on top of it"):
        export(Model(base=str(sd15.base)), ["kohya"], tmp_path / "out", sd15.store)


def test_a_fully_fine_tuned_network_is_merged_but_no_lora(tmp_path: Path, sd15: World) -> None:
    merged, _ = sd15.write("merged", out=tmp_path / "out")
    model = Model(base=str(sd15.base), layers=(str(merged),))
    with pytest.raises(ExportError, match=r"no LoRA stands for it.*'merged' or 'pipeline'"):
        export(model, ["diffusers"], tmp_path / "lora", sd15.store)
    pipeline, _ = export(model, ["pipeline"], tmp_path / "whole", sd15.store)
    assert_same(painted(loaded(pipeline)), sd15)


def test_a_pipeline_needs_a_base_in_diffusers_layout_with_safe_weights(tmp_path: Path, sd15: World) -> None:
    broken = tmp_path / "base"
    shutil.copytree(sd15.base, broken)
    (broken / "vae" / "diffusion_pytorch_model.safetensors").rename(broken / "vae" / "diffusion_pytorch_model.bin")
    model = Model(base=str(broken), layers=(str(sd15.foreign),))
    with pytest.raises(ModelError, match=r"vae has no .*only other variants or formats"):
        export(model, ["pipeline"], tmp_path / "out", sd15.store)
    shutil.rmtree(broken / "vae")
    with pytest.raises(ModelError, match=r"has no vae, which its model_index\.json names"):
        export(model, ["pipeline"], tmp_path / "out", sd15.store)


def test_a_safety_checker_that_is_not_there_is_not_named(tmp_path: Path, sd15: World) -> None:
    base = tmp_path / "base"
    shutil.copytree(sd15.base, base)
    index = json.loads((base / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    write_json(base / "model_index.json", index)
    model = Model(base=str(base), layers=(str(sd15.foreign),))
    pipeline, _ = export(model, ["pipeline"], tmp_path / "out", sd15.store)
    written = json.loads((pipeline / "model_index.json").read_text())
    assert (written["safety_checker"], written["requires_safety_checker"]) == ([None, None], False)
    assert loaded(pipeline).safety_checker is None


def test_text_encoders_are_left_out_only_where_the_model_says_so(tmp_path: Path, sd15: World) -> None:
    stored = load_file(sd15.foreign)
    key = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    more = {f"{key}.lora_down.weight": torch.ones(1, 32), f"{key}.lora_up.weight": torch.ones(32, 1)}
    save_file({**stored, **more}, tmp_path / "both.safetensors")
    model = {"base": str(sd15.base), "layers": [str(tmp_path / "both.safetensors")]}
    with pytest.raises(ModelError, match="network_only = true"):
        export(Model.model_validate(model), ["kohya"], tmp_path / "x.safetensors", sd15.store)
    chosen = Model.model_validate({**model, "network_only": True})
    export(chosen, ["kohya"], tmp_path / "x.safetensors", sd15.store)
    assert load_file(tmp_path / "x.safetensors").keys() == stored.keys()
    identities = [models.resolve(Model.model_validate(each), _context(sd15)).identity(sd15.store) for each in (model, dict(chosen))]
    assert identities[0] != identities[1]


def test_the_command_writes_and_names_what_it_wrote(
    tmp_path: Path, sd15: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["export", "model", "runs/mine/stage1", "--as", "kohya", "comfy", "--root", str(sd15.store.root), "--title", "A"]
    cli.call(words)
    folder = Path("exports/mine-stage1")
    names = ["mine-stage1-kohya.safetensors", "mine-stage1-comfy.safetensors", "README.md"]
    assert capsys.readouterr().out.splitlines() == [str(folder / name) for name in names]
    assert all((folder / name).is_file() for name in names)


def _fingerprints(world: World) -> list[str]:
    steps = json.loads((world.store.root / "mine" / "run.json").read_text())["steps"]
    return [steps[name]["fingerprint"] for name in ("stage1", "stage2")]


def _context(world: World) -> Context:
    return Context(world.store)
