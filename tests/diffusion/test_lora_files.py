"""Every spelling of a LoRA's keys is the same LoRA: held against diffusers' own converters, and around in a circle."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_sd3_transformer_checkpoint_to_diffusers
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pairwright.diffusion import lora_files
from pairwright.diffusion.lora_files import Change, Format, Spellings
from pairwright.models import ModelError

FORMATS: tuple[Format, ...] = ("diffusers", "kohya", "comfy")


def sd15() -> Any:
    """SD-1.5's own blocks, all of them, and narrow."""
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 4, 8, 8), cross_attention_dim=8, attention_head_dim=2, norm_num_groups=2
    )


def sdxl() -> Any:
    """SDXL's own blocks, with fewer transformer layers."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 4, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=32,
    )


def sd35() -> Any:
    """SD-3.5-M's blocks: three, the first two with a second attention."""
    return SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=4,
        num_attention_heads=2,
        joint_attention_dim=8,
        caption_projection_dim=8,
        pooled_projection_dim=8,
        pos_embed_max_size=8,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )


NETWORKS: dict[str, Callable[[], Any]] = {"sd15": sd15, "sdxl": sdxl, "sd35": sd35}


@pytest.fixture(scope="module", params=NETWORKS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(family: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[family]()


@pytest.fixture(scope="module")
def names(network: nn.Module, family: str) -> Spellings:
    return lora_files.of(network, "transformer" if family == "sd35" else "unet")


def change(shape: torch.Size, rank: int = 2, alpha: float | None = None, seed: int = 0) -> Change:
    """A random change of a weight of that shape."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn((rank, *shape[1:]), generator=generator)
    up = torch.randn((shape[0], rank, *[1] * (len(shape) - 2)), generator=generator)
    return Change(down, up, float(rank) if alpha is None else alpha)


def changes_of(names: Spellings, ending: str = "", *, mixed: bool = False) -> dict[str, Change]:
    """A change of every module with that ending; mixed: with ranks and alphas that differ."""
    found = sorted(module for module in names.shapes if module.endswith(ending))
    return {
        module: change(names.shapes[module], 1 + index % 3 if mixed else 2, 1.5 + index % 2 if mixed else 3.0, index)
        for index, module in enumerate(found)
    }


def deltas(changes: Mapping[str, Change]) -> dict[str, Tensor]:
    return {module: each.delta() for module, each in changes.items()}


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-5, msg=key)


def written(path: Path, changes: Mapping[str, Change], names: Spellings, form: Format = "diffusers") -> Path:
    lora_files.write(path, changes, names, {}, form)
    return path


def original_checkpoint(network: nn.Module, names: Spellings) -> dict[str, Tensor]:
    """The network's weights as its original implementation would store them, by our table."""
    own = network.state_dict()
    found: dict[str, Tensor] = {}
    for name, place in names.original.items():
        for half in ("weight", "bias"):
            if f"{place.modules[0]}.{half}" in own:
                value = torch.cat([own[f"{module}.{half}"] for module in place.modules])
                found[f"{name}.{half}"] = torch.cat(value.chunk(2)[::-1]) if place.swapped else value
    # What has no LoRA (norms, a table of positions) has names beside those of what has.
    beside = {
        "in_layers.2": {"in_layers.0": "norm1"},
        "out_layers.3": {"out_layers.0": "norm2"},
        "proj_in": {"norm": "norm"},
        "attn1.to_q": {},
        "ff.net.2": {f"norm{each}": f"../norm{each}" for each in (1, 2, 3)},
        "out.2": {"out.0": "conv_norm_out"},
        "attn.qkv": {"attn.ln_q": "norm_q", "attn.ln_k": "norm_k"},
        "attn2.qkv": {"attn2.ln_q": "norm_q", "attn2.ln_k": "norm_k"},
        "x_embedder.proj": {"pos_embed": "pos_embed"},
    }
    for name, place in names.original.items():
        for ending, norms in beside.items():
            if not re.search(rf"(^|\.){re.escape(ending)}$", name):
                continue
            start, inside = name.removesuffix(ending), place.modules[0].rpartition(".")[0]
            for original, ours in norms.items():
                added = ours.replace("norm_", "norm_added_") if "context_block" in name else ours
                parent = inside.removesuffix(".ff.net") if ours.startswith("../") else inside
                for half in (".weight", ".bias", ""):
                    key = f"{parent}.{added.removeprefix('../')}{half}".removeprefix(".")
                    if key in own:
                        found[f"{start}{original}{half}"] = own[key]
    return found


def test_the_original_names_are_those_that_diffusers_own_single_file_loader_reads(
    network: Any, names: Spellings, family: str
) -> None:
    stored = original_checkpoint(network, names)
    if family == "sd35":
        found = convert_sd3_transformer_checkpoint_to_diffusers(stored)
    else:
        stored = {f"model.diffusion_model.{key}": value for key, value in stored.items()}
        found = convert_ldm_unet_checkpoint(stored, network.config)
    own = network.state_dict()
    assert found.keys() == own.keys()
    for key, value in own.items():
        assert torch.equal(found[key], value), key


def test_every_weight_has_one_original_name_and_no_two_share_a_spelling(names: Spellings) -> None:
    covered = [module for place in names.original.values() for module in place.modules]
    assert sorted(covered) == sorted(names.shapes)
    assert len({name.replace(".", "_") for name in names.shapes}) == len(names.shapes)
    assert len({name.replace(".", "_") for name in names.original}) == len(names.original)


def test_names_do_not_change_when_an_adapter_is_put_on(family: str) -> None:
    from peft import LoraConfig

    network = NETWORKS[family]()
    before = lora_files.of(network, "unet")
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "conv1", "proj_in", "ff.net.2"]))
    assert lora_files.of(network, "unet") == before


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mixed", [False, True], ids=["one rank", "mixed ranks"])
def test_what_is_written_in_a_format_is_read_back(tmp_path: Path, names: Spellings, form: Format, mixed: bool) -> None:
    changes = changes_of(names, mixed=mixed)
    found = lora_files.read(written(tmp_path / "x.safetensors", changes, names, form), names)
    assert_equal(deltas(found), deltas(changes))
    assert {module: each.rank for module, each in found.items()} == {module: each.rank for module, each in changes.items()}


def test_around_through_all_formats_the_lora_stays_the_same(tmp_path: Path, names: Spellings) -> None:
    changes = changes_of(names, "to_q", mixed=True) | changes_of(names, "to_v")
    found: Mapping[str, Change] = changes
    for form in ("comfy", "kohya", "diffusers", "kohya", "comfy", "diffusers"):
        found = lora_files.read(written(tmp_path / f"{form}.safetensors", found, names, form), names)
    assert_equal(deltas(found), deltas(changes))


@pytest.mark.parametrize("mixed", [False, True], ids=["one rank", "mixed ranks"])
@pytest.mark.parametrize("which", ["sd15", "sdxl"])
def test_diffusers_converter_reads_kohyas_keys_as_we_do(tmp_path: Path, which: str, mixed: bool) -> None:
    network = NETWORKS[which]()
    names = lora_files.of(network, "unet")
    changes = {
        module: each
        for ending in (
            "to_q",
            "to_k",
            "to_v",
            "to_out.0",
            "proj_in",
            "ff.net.2",
            "conv1",
            "conv2",
            "conv_shortcut",
            "time_emb_proj",
        )
        for module, each in changes_of(names, ending, mixed=mixed).items()
    }
    stored = load_file(written(tmp_path / "x.safetensors", changes, names, "kohya"))
    found, alphas = _convert_non_diffusers_lora_to_diffusers(_maybe_map_sgm_blocks_to_diffusers(dict(stored), network.config))
    found = convert_unet_state_dict_to_peft({key.removeprefix("unet."): value for key, value in found.items()})
    (alpha,) = set(alphas.values())
    theirs = {
        key.removesuffix(".lora_A.weight"): Change(value, found[key.replace("lora_A", "lora_B")], alpha).delta()
        for key, value in found.items()
        if key.endswith(".lora_A.weight")
    }
    assert_equal(theirs, deltas(changes))


def test_kohya_spells_sd15_as_diffusers_does_and_the_others_as_their_originals(tmp_path: Path) -> None:
    spelled = {}
    for which, build in NETWORKS.items():
        names = lora_files.of(build(), "transformer" if which == "sd35" else "unet")
        changes = changes_of(names, "to_k")
        spelled[which] = sorted(load_file(written(tmp_path / "x.safetensors", changes, names, "kohya")))[1]
    assert spelled == {
        "sd15": "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k.lora_down.weight",
        "sdxl": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k.lora_down.weight",
        "sd35": "lora_unet_joint_blocks_0_x_block_attn2_qkv.lora_down.weight",
    }


def test_a_fused_qkv_holds_its_parts_on_the_diagonal(tmp_path: Path) -> None:
    names = lora_files.of(sd35(), "transformer")
    block = "transformer_blocks.0.attn."
    changes = {
        f"{block}to_q": change(names.shapes[f"{block}to_q"], 2, 1.0),
        f"{block}to_v": change(names.shapes[f"{block}to_v"], 1),
    }
    stored = load_file(written(tmp_path / "x.safetensors", changes, names, "comfy"))
    key = "diffusion_model.joint_blocks.0.x_block.attn.qkv"
    down, up, alpha = (stored[f"{key}.{each}"] for each in ("lora_down.weight", "lora_up.weight", "alpha"))
    assert (down.shape, up.shape, alpha.item()) == ((3, 8), (24, 3), 3.0)
    product = up @ down
    torch.testing.assert_close(product[:8], changes[f"{block}to_q"].delta())
    assert not product[8:16].any()
    torch.testing.assert_close(product[16:], changes[f"{block}to_v"].delta())


def test_a_fused_qkv_that_was_trained_as_one_is_read(tmp_path: Path) -> None:
    names = lora_files.of(sd35(), "transformer")
    fused = change(torch.Size((24, 8)), 4, 2.0)
    key = "lora_unet_joint_blocks_2_context_block_attn_qkv"
    tensors = {f"{key}.lora_down.weight": fused.down, f"{key}.lora_up.weight": fused.up, f"{key}.alpha": torch.tensor(2.0)}
    save_file(tensors, tmp_path / "x.safetensors")
    found = deltas(lora_files.read(tmp_path / "x.safetensors", names))
    block = "transformer_blocks.2.attn.add_"
    assert_equal(found, {f"{block}{name}_proj": part for name, part in zip("qkv", fused.delta().chunk(3), strict=True)})


OLD = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.parametrize(
    ("key", "down", "up"),
    [
        (f"unet.{OLD}.processor.to_q_lora", ".down.weight", ".up.weight"),
        (f"unet.{OLD}.to_q", ".lora.down.weight", ".lora.up.weight"),
        (f"{OLD}.to_q", ".lora_A.weight", ".lora_B.weight"),
        ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q", ".lora_down.weight", ".lora_up.weight"),
        ("diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight"),
        ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q", ".lora_down.weight", ".lora_up.weight"),
        ("lycoris_" + f"{OLD}.to_q".replace(".", "_"), ".lora_down.weight", ".lora_up.weight"),
    ],
)
def test_old_and_mixed_spellings_mean_the_same_module(tmp_path: Path, key: str, down: str, up: str) -> None:
    names = lora_files.of(sd15(), "unet")
    expected = change(names.shapes[f"{OLD}.to_q"])
    save_file({key + down: expected.down, key + up: expected.up}, tmp_path / "x.safetensors")
    assert_equal(deltas(lora_files.read(tmp_path / "x.safetensors", names)), {f"{OLD}.to_q": expected.delta()})


def test_the_old_output_projection_is_the_first_of_its_pair(tmp_path: Path) -> None:
    names = lora_files.of(sd15(), "unet")
    expected = change(names.shapes[f"{OLD}.to_out.0"])
    start = f"unet.{OLD}.processor.to_out_lora"
    save_file({f"{start}.down.weight": expected.down, f"{start}.up.weight": expected.up}, tmp_path / "x.safetensors")
    assert_equal(deltas(lora_files.read(tmp_path / "x.safetensors", names)), {f"{OLD}.to_out.0": expected.delta()})


def test_pefts_own_file_takes_its_strength_from_the_configuration_beside_it(tmp_path: Path) -> None:
    names = lora_files.of(sd35(), "transformer")
    module = "transformer_blocks.0.attn.to_q"
    start = f"base_model.model.{module}"
    part = change(names.shapes[module])
    path = tmp_path / "adapter_model.safetensors"
    save_file({f"{start}.lora_A.weight": part.down, f"{start}.lora_B.weight": part.up}, path)
    with pytest.raises(ModelError, match=r"strength stands in adapter_config\.json"):
        lora_files.read(path, names)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4}))
    torch.testing.assert_close(lora_files.read(path, names)[module].delta(), 2 * (part.up @ part.down))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4, "use_rslora": True}))
    torch.testing.assert_close(lora_files.read(path, names)[module].delta(), 4 / 2**0.5 * (part.up @ part.down))
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "alpha_pattern": {"attn.to_q": 6}}))
    torch.testing.assert_close(lora_files.read(path, names)[module].delta(), 3 * (part.up @ part.down))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        lora_files.read(path, names)


def test_a_convolution_that_is_factored_once_more_is_multiplied_out(tmp_path: Path) -> None:
    names = lora_files.of(sd15(), "unet")
    generator = torch.Generator().manual_seed(0)
    down, mid, up = (torch.randn(shape, generator=generator) for shape in ((2, 4, 1, 1), (2, 2, 3, 3), (4, 2, 1, 1)))
    key = "lora_unet_down_blocks_0_resnets_0_conv1"
    tensors = {f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up}
    save_file(tensors, tmp_path / "x.safetensors")
    found = lora_files.read(tmp_path / "x.safetensors", names)["down_blocks.0.resnets.0.conv1"].delta()
    x = torch.randn((1, 4, 5, 5), generator=generator)
    by_hand = nn.functional.conv2d(nn.functional.conv2d(nn.functional.conv2d(x, down), mid, padding=1), up)
    torch.testing.assert_close(nn.functional.conv2d(x, found, padding=1), by_hand, atol=1e-4, rtol=1e-4)


TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"


def test_a_part_for_the_text_encoders_is_refused_unless_it_is_left_out_on_purpose(tmp_path: Path) -> None:
    names = lora_files.of(sd15(), "unet")
    changes = changes_of(names, "attn2.to_q")
    stored = load_file(written(tmp_path / "unet.safetensors", changes, names, "kohya"))
    save_file({**stored, TEXT: torch.zeros(2, 2)}, tmp_path / "both.safetensors")
    with pytest.raises(ModelError, match=r"also changes the text encoders \(1 of its \d+ keys: lora_te_.*network_only = true"):
        lora_files.read(tmp_path / "both.safetensors", names)
    found = lora_files.read(tmp_path / "both.safetensors", names, network_only=True)
    assert_equal(deltas(found), deltas(changes))


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("dora_scale", "DoRA"),
        ("lora_magnitude_vector", "DoRA"),
        ("hada_w1_a", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("oft_blocks", "OFT"),
        ("diff", "full difference"),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(tmp_path: Path, ending: str, kind: str) -> None:
    save_file({f"lora_unet_down_blocks_0_x.{ending}": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=rf"{kind}.*not a plain LoRA \(lora_unet"):
        lora_files.read(tmp_path / "x.safetensors", lora_files.of(sd15(), "unet"))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"lora_unet_down_blocks_9_to_q.lora_down.weight": (2, 4), "lora_unet_down_blocks_9_to_q.lora_up.weight": (4, 2)},
         "1 keys that are not of this network: lora_unet_down_blocks_9_to_q"),
        ({f"unet.{OLD}.to_q.lora_A.weight": (2, 4)}, "1 keys that are not of this network: unet.down_blocks"),
        ({"unet.something": (2, 2)}, "unet.something"),
        ({f"unet.{OLD}.to_q.lora_A.weight": (2, 5), f"unet.{OLD}.to_q.lora_B.weight": (4, 2)}, r"that it changes is \(4, 4\)"),
        ({f"unet.{OLD}.to_q.lora_A.weight": (2, 4), f"unet.{OLD}.to_q.lora_B.weight": (2, 4)}, "does not fit"),
        ({f"unet.{OLD}.to_q.lora_A.weight": (0, 4), f"unet.{OLD}.to_q.lora_B.weight": (4, 0)}, "does not fit"),
    ],
    ids=["unknown module", "half a pair", "no ending", "inputs", "outputs", "no rank"],
)  # fmt: skip
def test_what_is_not_of_this_network_is_named(tmp_path: Path, stored: dict[str, tuple[int, ...]], said: str) -> None:
    save_file({key: torch.zeros(shape) for key, shape in stored.items()}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=said):
        lora_files.read(tmp_path / "x.safetensors", lora_files.of(sd15(), "unet"))


def test_numbers_that_are_not_finite_and_files_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    names = lora_files.of(sd15(), "unet")
    start = f"unet.{OLD}.to_q"
    save_file({f"{start}.lora_A.weight": torch.full((1, 4), torch.nan), f"{start}.lora_B.weight": torch.ones(4, 1)}, tmp_path / "n")
    with pytest.raises(ModelError, match=f"not finite, in {start}"):
        lora_files.read(tmp_path / "n", names)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        lora_files.read(tmp_path / "text", names)


def test_the_header_is_modelspecs_and_kohyas_and_names_the_content(tmp_path: Path) -> None:
    names = lora_files.of(sd15(), "unet")
    changes = changes_of(names, "attn2.to_q")
    lora_files.write(tmp_path / "x", changes, names, {"modelspec.title": "a title", "ss_seed": "7"}, "kohya")
    with safe_open(tmp_path / "x", framework="pt") as file:
        said = file.metadata()
    content = (tmp_path / "x").read_bytes()
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert said["modelspec.hash_sha256"] == f"0x{digest}"
    assert (said["modelspec.sai_model_spec"], said["modelspec.title"], said["ss_seed"]) == ("1.0.1", "a title", "7")
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("2", "3")
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == sorted(said)


def test_half_precision_halves_the_file_and_keeps_the_alpha(tmp_path: Path) -> None:
    names = lora_files.of(sd15(), "unet")
    changes = changes_of(names, "to_q")
    full = lora_files.content(changes, names, "kohya", {})
    half = lora_files.content(changes, names, "kohya", {}, torch.float16)
    assert len(half) < 0.92 * len(full), "most of so small a file is its header"
    (tmp_path / "x").write_bytes(half)
    assert {key.endswith(".alpha"): value.dtype for key, value in load_file(tmp_path / "x").items()} == {
        True: torch.float32,
        False: torch.float16,
    }
    for module, found in lora_files.read(tmp_path / "x", names).items():
        torch.testing.assert_close(found.delta(), changes[module].delta(), atol=5e-3, rtol=5e-3)


def test_a_sum_of_changes_is_exact_and_has_the_summed_ranks() -> None:
    shape = torch.Size((6, 5, 3, 3))
    parts = [change(shape, 2, 1.0, 1), change(shape, 3, 9.0, 2), change(shape, 1, 0.5, 3)]
    whole = lora_files.add(parts)
    assert (whole.rank, whole.strength) == (6, 1.0)
    torch.testing.assert_close(whole.delta(), sum((part.delta() for part in parts[1:]), parts[0].delta()))


def test_a_reduced_rank_is_the_nearest_and_its_error_is_said() -> None:
    up, down = torch.eye(4), torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    found, error = lora_files.reduce({"m": Change(down, up, 4.0), "small": Change(torch.ones(1, 2), torch.ones(2, 1), 1.0)}, 2)
    torch.testing.assert_close(found["m"].delta(), torch.diag(torch.tensor([4.0, 3.0, 0.0, 0.0])))
    # Cut: 2^2 + 1^2. Whole: 16 + 9 + 4 + 1, and 4 for the module of rank 1, which stays.
    assert error == pytest.approx((5 / 34) ** 0.5)
    assert found["small"].rank == 1
    exact, none = lora_files.reduce({"m": Change(down, up, 8.0)}, 4)
    assert none == 0.0
    torch.testing.assert_close(exact["m"].delta(), 2 * down)


def test_a_convolution_is_reduced_as_the_matrix_that_it_is() -> None:
    whole = lora_files.add([change(torch.Size((6, 5, 3, 3)), 2, None, 1), change(torch.Size((6, 5, 3, 3)), 2, None, 2)])
    found, error = lora_files.reduce({"m": whole}, 3)
    assert found["m"].up.shape == (6, 3, 1, 1)
    difference = (found["m"].delta() - whole.delta()).norm() / whole.delta().norm()
    assert difference.item() == pytest.approx(error, rel=1e-4)
    singular = torch.linalg.svdvals(whole.delta().flatten(1))
    assert error == pytest.approx((singular[3:].norm() / singular.norm()).item(), rel=1e-4)
