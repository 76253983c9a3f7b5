import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pairwright import models, options, weights
from pairwright.context import Context
from pairwright.models import LORA_FILE, Layer, ModelError, ModelRef
from pairwright.store import Node, Store, write_json
from tests.miniatures.sd15 import write_sd15


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("sd15")))


def lora(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"unet.x.lora_A.weight": torch.full((1, 2), value)}, folder / LORA_FILE)
    return folder


def trained(store: Store, base: str, *, seed: int = 0, complete: bool = True) -> Node:
    """A train node with a result and one checkpoint."""
    node = store.node("train", {"seed": seed})
    for place in ("checkpoints/step-00000002/adapter", "adapter"):
        lora(node.path / place, float(seed) + (place == "adapter"))
        ref = ModelRef(base, "sd15", (models.trained_layer(node, place),))
        if complete or place != "adapter":
            write_json((node.path / place).parent / "model.json", ref.to_json())
    return node


def resolve(name: str, store: Store, *layers: str, **inputs: Node) -> ModelRef:
    return models.resolve(options.Model(base=name, layers=layers), Context(store, inputs))


def test_a_base_is_its_folder_and_its_family_is_read_from_it(base: str, store: Store) -> None:
    assert resolve(base, store) == ModelRef(base, "sd15")


def test_relative_paths_become_absolute(base: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(base).parent)
    assert resolve(Path(base).name, store).base == base


def test_layers_are_put_on_top_in_order_with_their_strength(base: str, store: Store, tmp_path: Path) -> None:
    first, second = lora(tmp_path / "first"), lora(tmp_path / "second") / LORA_FILE
    found = resolve(base, store, f"{first}:0.5", str(second))
    assert found.layers == (Layer("adapter", str(first), 0.5), Layer("adapter", str(second), 1.0))
    assert found.layers[0].file(store) == first / LORA_FILE
    assert found.layers[1].file(store) == second


def test_a_step_stands_for_its_model_and_its_checkpoints(base: str, store: Store) -> None:
    node = trained(store, base)
    found = resolve("stage1", store, stage1=node)
    assert found.base == base
    assert found.layers[0].path == f"store:train/{node.fingerprint}/adapter"
    assert found.layers[0].file(store) == node.path / "adapter" / LORA_FILE
    checkpoint = resolve("stage1@step-00000002", store, stage1=node)
    assert checkpoint.layers[0].file(store).parent.parent.name == "step-00000002"


def test_another_runs_step_is_found_through_its_pointers(base: str, store: Store) -> None:
    node = trained(store, base)
    write_json(store.root / "x" / "run.json", {"steps": {"stage1": {"verb": "train", "fingerprint": node.fingerprint}}})
    assert resolve("runs/x/stage1", store) == resolve("stage1", store, stage1=node)
    assert resolve("runs/x/stage1@step-00000002", store).layers[0].path.endswith("step-00000002/adapter")
    with pytest.raises(ModelError, match="no step 'stage2'; it has stage1"):
        resolve("runs/x/stage2", store)


def test_a_run_that_is_not_there_is_an_error_with_the_nearest_one(base: str, store: Store) -> None:
    write_json(store.root / "first" / "run.json", {"steps": {}})
    with pytest.raises(ModelError, match=r"there is no run 'frist' in .*\. Did you mean 'first'\?"):
        resolve("runs/frist/stage1", store)


def test_a_step_of_another_run_that_is_not_finished_is_an_error(base: str, store: Store) -> None:
    write_json(store.root / "x" / "run.json", {"steps": {"stage1": {"verb": "train", "fingerprint": None}}})
    with pytest.raises(ModelError, match="not finished"):
        resolve("runs/x/stage1", store)


def test_an_unfinished_step_has_checkpoints_but_no_model(base: str, store: Store) -> None:
    node = trained(store, base, complete=False)
    with pytest.raises(ModelError, match="no finished model; its checkpoints are step-00000002"):
        resolve("stage1", store, stage1=node)
    assert resolve("stage1@step-00000002", store, stage1=node).family == "sd15"


def test_a_moved_store_still_holds_its_models(base: str, store: Store, tmp_path: Path) -> None:
    ref = resolve("stage1", store, stage1=trained(store, base))
    before = ref.identity(store)
    store.root.rename(tmp_path / "moved")
    moved = Store(tmp_path / "moved")
    assert ref.layers[0].file(moved).is_file()
    assert ref.identity(moved) == before


def test_json_gives_the_same_model_back(base: str, store: Store, tmp_path: Path) -> None:
    ref = resolve(base, store, base, f"{lora(tmp_path / 'one')}:0.25")
    assert [layer.kind for layer in ref.layers] == ["weights", "adapter"]
    assert ModelRef.from_json(json.loads(json.dumps(ref.to_json()))) == ref


def test_identity_is_content_and_not_place(base: str, store: Store, tmp_path: Path) -> None:
    one, same, other = (lora(tmp_path / name, value) for name, value in (("one", 1.0), ("same", 1.0), ("other", 2.0)))
    identities = [resolve(base, store, str(path)).identity(store) for path in (one, same, other)]
    assert identities[0] == identities[1] != identities[2]
    assert resolve(base, store, f"{one}:0.5").identity(store) != identities[0]
    assert identities[0]["base"] == weights.identity(base)


def test_the_strength_that_peft_keeps_beside_the_file_is_part_of_the_identity(base: str, store: Store, tmp_path: Path) -> None:
    folder = lora(tmp_path / "peft")
    ref = resolve(base, store, str(folder))
    identities = [ref.identity(store)["layers"][0]]
    for alpha in (4, 8):
        write_json(folder / "adapter_config.json", {"lora_alpha": alpha})
        identities.append(ref.identity(store)["layers"][0])
    assert len({identity.get("config") for identity in identities}) == 3
    assert len({identity["weights"] for identity in identities}) == 1


def test_other_formats_than_safetensors_are_not_read(base: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "lora.bin").touch()
    with pytest.raises(ModelError, match="other formats can execute code"):
        resolve(base, store, str(tmp_path / "lora.bin")).layers[0].file(store)


def test_a_folder_with_several_files_must_be_narrowed(base: str, store: Store, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match="name one of them"):
        resolve(base, store, str(tmp_path)).layers[0].file(store)
    lora(tmp_path)
    assert resolve(base, store, str(tmp_path)).layers[0].file(store).name == LORA_FILE


def test_an_unknown_pipeline_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ModelError, match="FluxPipeline"):
        resolve(str(tmp_path), store)


def test_a_folder_without_an_index_needs_its_family_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its family is not known"):
        resolve(str(tmp_path), store)
    assert models.resolve(options.Model(base=str(tmp_path), family="sd15"), Context(store)).family == "sd15"


def test_what_is_nowhere_is_an_error(store: Store) -> None:
    with pytest.raises(weights.WeightsError, match="neither a file or folder"):
        resolve("./nothing/at/all", store)
