import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pairwright import runtime
from pairwright.diffusion import adapters, lora_files
from pairwright.diffusion.adapters import Average
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.models import LORA_FILE, ModelError


def add(family: Sd15, name: str, seed: int = 0, *, rank: int = 4, alpha: float = 4, scrambled: bool = True) -> None:
    """A fresh adapter; scrambled: with a B that does something."""
    adapters.add(family, name, rank=rank, alpha=alpha, targets=(), seed=seed)
    if scrambled:
        generator = torch.Generator().manual_seed(seed)
        for key, value in adapters.parameters(family.network, name).items():
            if ".lora_B." in key:
                value.data.copy_(torch.randn(value.shape, generator=generator) * 0.2)


def predict(family: Sd15) -> torch.Tensor:
    latents = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return family.predict(latents, torch.tensor([10, 900]), family.condition(["rose", "tulip"]))


def test_a_fresh_adapter_changes_nothing_and_its_values_are_keyed(sd15: Sd15, load: Callable[..., Sd15]) -> None:
    before = predict(sd15)
    add(sd15, "policy", scrambled=False)
    assert torch.equal(predict(sd15), before)
    again, other = load(), load()
    add(again, "anything", scrambled=False)
    add(other, "policy", seed=1, scrambled=False)
    first, second, third = (
        torch.cat([value.flatten() for value in adapters.parameters(each.network, name).values()])
        for each, name in ((sd15, "policy"), (again, "anything"), (other, "policy"))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_fresh_adapter_is_gaussian_with_deviation_one_over_rank(sd15: Sd15) -> None:
    add(sd15, "policy", rank=8, scrambled=False)
    found = adapters.parameters(sd15.network, "policy")
    a = torch.cat([value.flatten() for key, value in found.items() if ".lora_A." in key])
    assert a.std().item() == pytest.approx(1 / 8, rel=0.05)
    assert all(not value.any() for key, value in found.items() if ".lora_B." in key)
    targets = {key.split(".lora_")[0].rsplit(".", 1)[-1] for key in found}
    assert targets == {"to_q", "to_k", "to_v", "0"}


def test_only_switches_what_acts_and_not_what_is_trainable(sd15: Sd15) -> None:
    bare = predict(sd15)
    add(sd15, "one", seed=1)
    one = predict(sd15)
    add(sd15, "two", seed=2)
    adapters.freeze(sd15.network, "two")
    both = predict(sd15)
    trainable = {name for name, value in sd15.network.named_parameters() if value.requires_grad}
    for names, expected in (((), bare), (("one",), one), (("one", "two"), both)):
        with adapters.only(sd15.network, names):
            assert torch.equal(predict(sd15), expected)
            assert {name for name, value in sd15.network.named_parameters() if value.requires_grad} == trainable
    assert torch.equal(predict(sd15), both)
    assert not torch.equal(one, bare)
    assert not torch.equal(one, both)


def test_what_was_active_comes_back_after_an_error(sd15: Sd15) -> None:
    add(sd15, "one")
    before = predict(sd15)
    with pytest.raises(RuntimeError, match="inside"), adapters.only(sd15.network, ()):
        raise RuntimeError("inside")
    assert torch.equal(predict(sd15), before)


def test_a_copy_is_frozen_and_equal_and_stays_behind(sd15: Sd15) -> None:
    add(sd15, "policy", rank=2, alpha=6)
    expected = predict(sd15)
    adapters.copy(sd15, "policy", "reference")
    assert torch.equal(predict(sd15), expected), "a copy is not active"
    for value in adapters.parameters(sd15.network, "policy").values():
        value.data.add_(0.1)
    with adapters.only(sd15.network, ["reference"]):
        assert torch.equal(predict(sd15), expected)
    assert not any(value.requires_grad for value in adapters.parameters(sd15.network, "reference").values())
    assert all(value.requires_grad for value in adapters.parameters(sd15.network, "policy").values())


@pytest.mark.usefixtures("every_format")
def test_adapters_on_a_bfloat16_base_are_float32_and_small_steps_move_them(load: Callable[..., Sd15], tmp_path: Path) -> None:
    """Trap 3: bfloat16 weights with AdamW."""
    family = load("bfloat16")
    add(family, "policy")
    found = adapters.parameters(family.network, "policy")
    assert {value.dtype for value in found.values()} == {torch.float32}
    before = {key: value.detach().clone() for key, value in found.items()}
    optimiser = torch.optim.AdamW(list(found.values()), lr=2.56e-6)
    latents = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    loss = family.predict(latents, torch.tensor([10, 900]), family.condition(["rose", "tulip"])).square().mean()
    torch.autograd.backward(loss)
    optimiser.step()
    moved = sum(int((value != before[key]).sum()) for key, value in found.items())
    assert moved > 0.99 * sum(value.numel() for value in found.values())
    adapters.save(family, ["policy"], tmp_path, {})
    again = load("bfloat16")
    adapters.attach(again, "policy", tmp_path / LORA_FILE)
    assert all(torch.equal(value, found[key]) for key, value in adapters.parameters(again.network, "policy").items())


@pytest.mark.parametrize("alpha", [4.0, 10.0])
def test_a_file_gives_the_same_model_back(sd15: Sd15, load: Callable[..., Sd15], tmp_path: Path, alpha: float) -> None:
    add(sd15, "policy", alpha=alpha)
    adapters.save(sd15, ["policy"], tmp_path, {"modelspec.title": "a title"})
    again = load()
    adapters.attach(again, "layer0", tmp_path / LORA_FILE)
    assert torch.equal(predict(again), predict(sd15))
    assert not any(parameter.requires_grad for parameter in again.network.parameters())


def test_a_file_at_half_strength_is_half_the_change(sd15: Sd15, load: Callable[..., Sd15], tmp_path: Path) -> None:
    add(sd15, "policy", alpha=8)
    adapters.save(sd15, ["policy"], tmp_path, {})
    again, by_hand = load(), load()
    adapters.attach(again, "layer0", tmp_path / LORA_FILE, scale=0.5)
    add(by_hand, "policy", alpha=4)
    torch.testing.assert_close(predict(again), predict(by_hand), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chain", [["policy"], ["start0", "policy"]])
def test_diffusers_own_pipeline_loads_the_file_and_predicts_the_same(
    sd15: Sd15, base: str, tmp_path: Path, chain: list[str]
) -> None:
    if "start0" in chain:
        add(sd15, "start0", seed=5, rank=2, alpha=3)
    add(sd15, "policy", alpha=10)
    adapters.save(sd15, chain, tmp_path, {})
    with runtime.quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    bare = predict(sd15)
    pipeline.load_lora_weights(tmp_path)
    latents = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        states = sd15.condition(["rose", "tulip"]).tensors["states"]
        found = pipeline.unet(latents, torch.tensor([10, 900]), states).sample
    torch.testing.assert_close(found, predict(sd15), atol=1e-4, rtol=1e-4)
    assert torch.equal(bare, predict(sd15))


def test_the_header_says_what_the_file_is(sd15: Sd15, base: str, tmp_path: Path) -> None:
    add(sd15, "policy", rank=2, alpha=6)
    adapters.save(sd15, ["policy"], tmp_path, {"modelspec.title": "a title"})
    with safe_open(tmp_path / LORA_FILE, framework="pt") as file:
        metadata, keys = file.metadata(), list(file.keys())
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.title"] == "a title"
    assert (metadata["rank"], metadata["alpha"], metadata["base"]) == ("2", "6", base)
    assert json.loads(metadata[lora_files.METADATA_KEY])["unet.lora_alpha"] == 6
    assert all(key.startswith("unet.") and key.endswith((".lora_A.weight", ".lora_B.weight")) for key in keys)


def test_equal_adapters_are_equal_files(sd15: Sd15, tmp_path: Path) -> None:
    """A step that builds on an adapter is fingerprinted by the file's content."""
    add(sd15, "policy")
    files = []
    for name in "abcd":
        adapters.save(sd15, ["policy"], tmp_path / name, {f"field{index}": "x" for index in range(8)})
        files.append((tmp_path / name / LORA_FILE).read_bytes())
    assert len(set(files)) == 1


def test_averaged_values_are_written_instead_of_the_current_ones(sd15: Sd15, tmp_path: Path) -> None:
    add(sd15, "policy")
    averaged = {key: torch.full_like(value, 0.25) for key, value in adapters.parameters(sd15.network, "policy").items()}
    adapters.save(sd15, ["policy"], tmp_path, {}, averaged)
    stored = load_file(tmp_path / LORA_FILE)
    assert stored.keys() == {f"unet.{key}" for key in averaged}
    assert all(torch.equal(stored[f"unet.{key}"], value) for key, value in averaged.items())


def test_a_file_without_settings_has_alpha_equal_to_each_rank(sd15: Sd15, load: Callable[..., Sd15], tmp_path: Path) -> None:
    add(sd15, "policy")
    tensors = {f"unet.{key}": value.detach().clone() for key, value in adapters.parameters(sd15.network, "policy").items()}
    first = sorted(key.rsplit(".lora_", 1)[0] for key in tensors)[0]
    tensors[f"{first}.lora_A.weight"] = tensors[f"{first}.lora_A.weight"][:2].contiguous()
    tensors[f"{first}.lora_B.weight"] = tensors[f"{first}.lora_B.weight"][:, :2].contiguous()
    save_file(tensors, tmp_path / "plain.safetensors")
    again = load()
    adapters.attach(again, "plain", tmp_path / "plain.safetensors")
    scalings = {layer.scaling["plain"] for layer in adapters.lora_layers(again.network)}
    assert scalings == {1.0}
    assert sorted({layer.r["plain"] for layer in adapters.lora_layers(again.network)}) == [2, 4]


@pytest.mark.parametrize("key", ["text_encoder.x.lora_A.weight", "lora_unet_down_blocks_9.lora_down.weight"])
def test_keys_that_would_be_ignored_are_refused(sd15: Sd15, tmp_path: Path, key: str) -> None:
    save_file({key: torch.zeros(2, 2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match=key.split(".", maxsplit=1)[0]):
        adapters.attach(sd15, "foreign", tmp_path / "foreign.safetensors")


def test_an_adapter_of_another_model_is_refused(sd15: Sd15, tmp_path: Path) -> None:
    key = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{key}.lora_A.weight": torch.zeros(2, 64), f"{key}.lora_B.weight": torch.zeros(64, 2)}, tmp_path / "other.safetensors"
    )
    with pytest.raises(ModelError, match=r"a layer on sd15 .*does not fit"):
        adapters.attach(sd15, "other", tmp_path / "other.safetensors")


def test_targets_that_do_not_exist_are_refused(sd15: Sd15) -> None:
    with pytest.raises(ModelError, match="to_nothing"):
        adapters.add(sd15, "policy", rank=4, alpha=4, targets=["to_nothing"], seed=0)


def test_kohyas_convolutions_and_mixed_strengths_are_what_they_add_to_the_weights(
    sd15: Sd15, load: Callable[..., Sd15], tmp_path: Path
) -> None:
    names = lora_files.of(sd15.network, "unet")
    generator = torch.Generator().manual_seed(0)
    modules = [name for name in names.shapes if name.endswith(("to_q", "conv1", "proj_in", "time_emb_proj", "ff.net.2"))]
    changes = {}
    for rank, name in enumerate(modules, 1):
        out, *inputs = names.shapes[name]
        down = torch.randn((rank, *inputs), generator=generator)
        up = torch.randn((out, rank, *[1] * (len(inputs) - 1)), generator=generator)
        changes[name] = lora_files.Change(down, up * 0.01, float(rank % 3 + 1))
    lora_files.write(tmp_path / "x.safetensors", changes, names, {}, "kohya")
    adapters.attach(sd15, "foreign", tmp_path / "x.safetensors", scale=0.5)
    by_hand = load()
    bare = predict(by_hand)
    with torch.no_grad():
        for name, change in changes.items():
            weight = by_hand.network.get_submodule(name).weight
            assert isinstance(weight, torch.Tensor)
            weight += 0.5 * change.delta()
    torch.testing.assert_close(predict(sd15), predict(by_hand), atol=1e-5, rtol=1e-5)
    assert (predict(sd15) - bare).abs().max() > 0.01


def test_the_average_warms_up() -> None:
    average = Average({"w": torch.tensor([0.0])}, 0.9999)
    average.update({"w": torch.tensor([11.0])}, 1)
    # decay min(0.9999, 2 / 11): 0 * 2 / 11 + 11 * 9 / 11 = 9.
    assert average.tensors["w"].item() == pytest.approx(9.0)
    average.update({"w": torch.tensor([0.0])}, 2)
    assert average.tensors["w"].item() == pytest.approx(9.0 * 3 / 12)
    late = Average({"w": torch.tensor([1.0])}, 0.9)
    late.update({"w": torch.tensor([0.0])}, 100_000)
    assert late.tensors["w"].item() == pytest.approx(0.9)
