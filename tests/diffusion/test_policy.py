"""Who is measured against whom: one network with adapters, or networks of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from pairwright.diffusion import adapters, families, full, policy
from pairwright.diffusion.families import Condition
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.objectives import denoising_error
from pairwright.diffusion.policy import Policy
from pairwright.models import Layer, ModelError, ModelRef
from pairwright.options import Train
from pairwright.store import Store
from tests.diffusion.conftest import CPU
from tests.miniatures.sd15 import LATENT_SIZE, WIDTH, write_sd15

T = torch.tensor([100, 700])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another fine-tuned model of the same kind, as one finds it: a pipeline's folder."""
    return write_sd15(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def lora(load: Callable[..., Sd15], tmp_path: Path) -> Layer:
    """An adapter that changes the model visibly."""
    family = load()
    adapters.add(family, "one", rank=2, alpha=4, targets=(), seed=0)
    for value in adapters.parameters(family.network, "one").values():
        value.data.add_(0.1)
    adapters.save(family, ("one",), tmp_path / "lora", {})
    return Layer("adapter", str(tmp_path / "lora"))


def given() -> tuple[torch.Tensor, torch.Tensor, Condition, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    state, target = torch.randn(2, 2, 4, LATENT_SIZE, LATENT_SIZE, generator=generator)
    return state, T, Condition({"states": torch.randn(2, 7, WIDTH, generator=generator)}), target


def assemble(start: ModelRef, store: Store, reference: ModelRef | None = None, *, lagging: bool = False, **settings: Any) -> Policy:
    chosen = Train.model_validate({"objective": "dpo", "start": start.base, "dtype": "float32", **settings})
    return policy.assemble(chosen, start, reference, store, CPU, lagging=lagging)


def error(ref: ModelRef, store: Store) -> torch.Tensor:
    """Of the model by itself."""
    state, t, condition, target = given()
    with torch.no_grad():
        return denoising_error(families.load(ref, store, dtype="float32", device=CPU).predict(state, t, condition), target)


def moved(found: Policy, by: float = 0.01) -> None:
    for value in found.trained.values():
        value.data.add_(by)


def test_full_weights_in_every_layout_are_the_network(base: str, other: Path, store: Store, tmp_path: Path) -> None:
    unet = other / "unet"
    tensors = load_file(unet / "diffusion_pytorch_model.safetensors")
    half = len(tensors) // 2
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    parts = {"a.safetensors": dict(list(tensors.items())[:half]), "b.safetensors": dict(list(tensors.items())[half:])}
    for name, part in parts.items():
        save_file(part, sharded / name)
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (sharded / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    expected = error(ModelRef(str(other), "sd15"), store)
    assert (expected - error(ModelRef(base, "sd15"), store)).abs().min() > 1e-3
    for place in (other, unet, unet / "diffusion_pytorch_model.safetensors", sharded):
        assert torch.equal(error(ModelRef(base, "sd15", (Layer("weights", str(place)),)), store), expected), place


def test_an_index_is_read_from_its_own_folder_only(base: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    index = tmp_path / "index" / "diffusion_pytorch_model.safetensors.index.json"
    for text, message in (('{"weight_map": {"x": "../a.bin"}}', "no .safetensors file beside it"), ("[]", "not an index")):
        index.write_text(text)
        with pytest.raises(ModelError, match=message):
            error(ModelRef(base, "sd15", (Layer("weights", str(index.parent)),)), store)


def test_full_weights_above_a_lora_are_refused(base: str, other: Path, lora: Layer, store: Store) -> None:
    layers = (lora, Layer("weights", str(other)))
    with pytest.raises(ModelError, match="LoRAs named before it would be lost"):
        error(ModelRef(base, "sd15", layers), store)
    assert torch.isfinite(error(ModelRef(base, "sd15", layers[::-1]), store)).all()


def test_weights_of_another_network_name_the_keys(base: str, store: Store, tmp_path: Path) -> None:
    save_file({"conv_in.weight": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    with pytest.raises(ModelError, match=r"does not fit sd15 .*missing keys"):
        error(ModelRef(base, "sd15", (Layer("weights", str(tmp_path / "wrong.safetensors")),)), store)


def test_a_lora_on_top_of_full_weights_is_measured_against_them(base: str, other: Path, store: Store) -> None:
    """Aligning on top of a model that is aligned already: its weights are the start and the reference."""
    start = ModelRef(base, "sd15", (Layer("weights", str(other)),))
    found = assemble(start, store)
    assert found.measured is None, "one network is enough"
    assert found.below == start.layers
    assert torch.equal(found.reference_error(*given()), error(start, store))
    with torch.no_grad():
        assert torch.equal(found.error(*given()), error(start, store))


def test_what_a_lora_on_full_weights_saves_gives_the_policy_on_them(base: str, other: Path, store: Store, tmp_path: Path) -> None:
    start = ModelRef(base, "sd15", (Layer("weights", str(other)),))
    found = assemble(start, store)
    moved(found)
    found.save(tmp_path / "result", {}, found.trained)
    result = ModelRef(base, "sd15", (*found.below, Layer(found.kind, str(tmp_path / "result"))))
    with torch.no_grad():
        own = found.error(*given())
    torch.testing.assert_close(error(result, store), own, rtol=1e-5, atol=1e-6)
    assert (own - error(start, store)).abs().min() > 1e-4


def test_the_public_base_below_full_weights_is_a_network_of_its_own(base: str, other: Path, store: Store) -> None:
    start = ModelRef(base, "sd15", (Layer("weights", str(other)),))
    found = assemble(start, store, ModelRef(base, "sd15"))
    assert found.measured is not None
    assert torch.equal(found.reference_error(*given()), error(ModelRef(base, "sd15"), store))


def test_another_base_can_be_the_reference(base: str, other: Path, lora: Layer, store: Store) -> None:
    reference = ModelRef(str(other), "sd15", (lora,))
    found = assemble(ModelRef(base, "sd15"), store, reference)
    before = found.reference_error(*given())
    assert torch.equal(before, error(reference, store))
    moved(found)
    assert torch.equal(found.reference_error(*given()), before)


def test_a_copy_of_the_base_shares_the_network(base: str, store: Store, tmp_path: Path) -> None:
    copy = write_sd15(tmp_path / "copy")
    assert assemble(ModelRef(base, "sd15"), store, ModelRef(str(copy), "sd15")).measured is None


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_reference_that_answers_another_question_is_refused(base: str, store: Store, tmp_path: Path, method: str) -> None:
    velocity = write_sd15(tmp_path / "velocity", seed=2, prediction_type="v_prediction")
    with pytest.raises(ModelError, match=r"another noise schedule or prediction type \(v_prediction\)"):
        assemble(ModelRef(base, "sd15"), store, ModelRef(str(velocity), "sd15"), method=method)
    with pytest.raises(ModelError, match="of family sdxl"):
        assemble(ModelRef(base, "sd15"), store, ModelRef(base, "sdxl", (Layer("weights", base),)), method=method)


@pytest.mark.usefixtures("every_format")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_full_fine_tuning_starts_with_a_gain_of_exactly_0(base: str, lora: Layer, store: Store, dtype: str) -> None:
    """In bfloat16 too, although the reference takes half the memory."""
    found = assemble(ModelRef(base, "sd15", (lora,)), store, method="full", dtype=dtype)
    with torch.no_grad():
        assert torch.equal(found.error(*given()), found.reference_error(*given()))
    assert found.measured is not None
    kinds = {name: value.dtype for name, value in full.parameters(found.measured.network).items()}
    assert kinds["conv_in.weight"] == getattr(torch, dtype)
    assert {value.dtype for value in found.trained.values()} == {torch.float32}


@pytest.mark.usefixtures("every_format")
def test_a_reference_whose_normalisations_are_rounded_would_differ(base: str, store: Store) -> None:
    """Why :func:`pairwright.diffusion.full.shrink` leaves them alone."""
    found = assemble(ModelRef(base, "sd15"), store, method="full", dtype="bfloat16")
    norms = [value for name, value in found.trained.items() if "norm" in name and name.endswith("weight")]
    with torch.no_grad():
        for index, value in enumerate(norms):
            value.mul_(1 + 0.003 * (index % 3))  # not all of them bfloat16's own numbers, as in a trained model
        assert found.measured is not None
        full.assign(found.measured.network, found.trained)
        exact = found.error(*given())
        assert torch.equal(found.reference_error(*given()), exact)
        found.measured.network.to(torch.bfloat16)
        assert not torch.equal(found.reference_error(*given()), exact)


def test_full_fine_tuning_trains_everything_and_never_the_reference(base: str, store: Store) -> None:
    found = assemble(ModelRef(base, "sd15"), store, method="full")
    assert found.measured is not None
    before = found.reference_error(*given())
    found.error(*given()).sum().backward()
    assert found.trained.keys() == dict(UNet2DConditionModel.from_pretrained(base, subfolder="unet").named_parameters()).keys()
    assert all(value.grad is not None for value in found.trained.values())
    assert not any(value.requires_grad for value in found.measured.network.parameters())
    moved(found)
    assert torch.equal(found.reference_error(*given()), before)


def test_full_fine_tuning_starts_with_loras_merged(base: str, lora: Layer, store: Store) -> None:
    start = ModelRef(base, "sd15", (Layer("adapter", lora.path, 0.5), lora))
    found = assemble(start, store, method="full")
    with torch.no_grad():
        torch.testing.assert_close(found.error(*given()), error(start, store), rtol=1e-5, atol=1e-6)
    assert not adapters.lora_layers(found.network)
    assert (error(start, store) - error(ModelRef(base, "sd15"), store)).abs().min() > 1e-3


def test_what_full_fine_tuning_saves_is_diffusers_own_and_stands_for_the_policy(base: str, store: Store, tmp_path: Path) -> None:
    found = assemble(ModelRef(base, "sd15"), store, method="full")
    moved(found)
    found.save(tmp_path / "result", {"modelspec.title": "t"}, found.trained)
    theirs = UNet2DConditionModel.from_pretrained(tmp_path / "result", subfolder="unet")
    assert all(torch.equal(value, found.trained[name]) for name, value in theirs.named_parameters())
    result = ModelRef(base, "sd15", (*found.below, Layer(found.kind, str(tmp_path / "result"))))
    with torch.no_grad():
        assert torch.equal(error(result, store), found.error(*given()))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_lagging_sampling_policy_is_the_policy_as_it_was(base: str, store: Store, method: str) -> None:
    found = assemble(ModelRef(base, "sd15"), store, objective="dro", method=method, lagging=True)
    state, t, condition, _ = given()

    def own() -> torch.Tensor:
        with torch.no_grad(), found.sampling() as sampler:
            return sampler.predict(state, t, condition)

    def trained() -> torch.Tensor:
        with torch.no_grad():
            return found.family.predict(state, t, condition)

    moved(found)
    found.refresh()
    before = own()
    assert torch.equal(before, trained())
    moved(found)
    assert torch.equal(own(), before)
    assert not torch.equal(trained(), before)
    assert found.sampled is not None
    kept = {name: value.detach().clone() for name, value in found.sampled.items()}
    found.refresh()
    assert torch.equal(own(), trained())
    found.put_sampled(kept)
    assert torch.equal(own(), before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_sampling_policy_that_does_not_lag_is_the_policy(base: str, store: Store, method: str) -> None:
    found = assemble(ModelRef(base, "sd15"), store, objective="dro", method=method)
    assert found.sampled is None
    moved(found)
    state, t, condition, _ = given()
    with torch.no_grad(), found.sampling() as sampler:
        assert torch.equal(sampler.predict(state, t, condition), found.family.predict(state, t, condition))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_values_that_are_put_back_must_be_all_of_them(base: str, store: Store, method: str) -> None:
    found = assemble(ModelRef(base, "sd15"), store, method=method)
    values = {name: value.detach() + 1 for name, value in found.trained.items()}
    found.put(values)
    assert all(torch.equal(value, values[name]) for name, value in found.trained.items())
    with pytest.raises(ValueError, match="differ"):
        found.put(dict(list(values.items())[1:]))


def test_sft_holds_no_reference(base: str, store: Store) -> None:
    assert assemble(ModelRef(base, "sd15"), store, objective="sft", method="full").measured is None
