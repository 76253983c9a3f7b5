import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from pairwright import generate as verb
from pairwright import images, tables
from pairwright.context import Context
from pairwright.diffusion import families, sampling
from pairwright.diffusion.sampling import Settings
from pairwright.generate import GenerateError, generate, pictures
from pairwright.models import ModelRef
from pairwright.options import Generate, PromptSet
from pairwright.store import Node, Store
from tests.miniatures.pairs import write_pairs
from tests.miniatures.sd15 import write_sd15

SMALL = {"per_prompt": 2, "resolution": 32, "steps": 2, "guidance": 3.0, "dtype": "float32", "prompts": {"name": "pairs"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("sd15")))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("other"), seed=1))


def run(root: Path, labels: dict[str, str], **settings: Any) -> tuple[Node, dict[str, Node]]:
    store = Store(root)
    options = Generate.model_validate({"models": labels, **SMALL, **settings})
    node = generate(options, Context(store, {"pairs": write_pairs(store)}))
    return node, pictures(node, store)


def rows(node: Node) -> list[dict[str, Any]]:
    return list(node.rows())


def test_every_prompt_gets_its_pictures_from_every_model(tmp_path: Path, base: str, other: str) -> None:
    node, found = run(tmp_path, {"base": base, "other": other})
    assert list(found) == ["base", "other"]
    assert node.summary == {"models": 2, "prompts": 3, "pictures": 12}
    for child in found.values():
        assert Counter(row["caption"] for row in rows(child)) == {"flower 0": 2, "flower 1": 2, "flower 2": 2}
        assert [row["index"] for row in rows(child)] == [0, 1] * 3
        assert len({row["id"] for row in rows(child)}) == 6
        assert {tables.picture_of(row).image.size for row in rows(child)} == {(32, 32)}
    keys = [[(row["prompt_id"], row["index"]) for row in rows(child)] for child in found.values()]
    assert keys[0] == keys[1]


def test_a_picture_is_what_its_noise_and_prompt_make(tmp_path: Path, base: str) -> None:
    _, found = run(tmp_path, {"base": base}, seed=3)
    row = rows(found["base"])[3]
    family = families.load(ModelRef(base, "sd15"), Store(tmp_path), dtype="float32", device=torch.device("cpu"))
    key = f"{row['prompt_id']}#{row['index']}"
    noise = sampling.initial_noise(family, 32, [key], 3)
    settings = Settings(steps=2, guidance=3.0, seed=3)
    latents = sampling.sample(family, family.condition([row["caption"]]), family.condition([""]), noise, [key], settings)
    expected = images.to_tensor(images.from_tensor(family.decode(latents)[0]))
    assert (tables.picture_of(row).tensor - expected).abs().max() <= 1.01 / 255


def test_models_are_shared_between_runs_and_labels(tmp_path: Path, base: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = run(tmp_path, {"base": base})
    calls: list[str] = []
    whole = families.load

    def counted(ref: ModelRef, *args: Any, **options: Any) -> families.Family:
        calls.append(ref.base)
        return whole(ref, *args, **options)

    monkeypatch.setattr(families, "load", counted)
    _, second = run(tmp_path, {"start": base, "other": other}, batch_size=1)
    assert second["start"] == first["base"]
    assert calls == [other]


def test_an_interrupted_run_goes_on_at_the_missing_shard(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "SHARD", 2)
    _, whole = run(tmp_path / "whole", {"base": base})
    decode, calls = families.Condition.cat, [0]

    def killed(conditions: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return decode(conditions)

    monkeypatch.setattr(families.Condition, "cat", staticmethod(killed))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", {"base": base})
    _, resumed = run(tmp_path / "killed", {"base": base})
    assert calls[0] == 2 + 2, "one sampling was done before, two after"
    assert rows(resumed["base"]) == rows(whole["base"])
    assert len(resumed["base"].shards()) == 3


def test_a_changed_seed_or_prompt_is_another_picture(tmp_path: Path, base: str) -> None:
    _, one = run(tmp_path, {"base": base})
    _, two = run(tmp_path, {"base": base}, seed=1)
    assert one["base"] != two["base"]
    assert rows(one["base"])[0]["id"] != rows(two["base"])[0]["id"]


def test_prompts_come_from_a_file_too(tmp_path: Path, base: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a rose\na tulip\n")
    _, found = run(tmp_path / "runs", {"base": base}, prompts=str(path))
    assert [row["caption"] for row in rows(found["base"])] == ["a rose"] * 2 + ["a tulip"] * 2


def test_a_limit_takes_some_prompts_by_seed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    context = Context(store, {"pairs": write_pairs(store, 9, captions=9)})
    chosen = [prompt.text for prompt in verb.prompts_of(PromptSet(name="pairs", limit=3), context)]
    assert len(chosen) == 3
    assert chosen == sorted(chosen)
    assert chosen != [prompt.text for prompt in verb.prompts_of(PromptSet(name="pairs", limit=3, seed=1), context)]


def test_a_step_without_captions_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(GenerateError, match="no captions"):
        verb.prompts_of(PromptSet(name="stage1"), Context(store, {"stage1": store.node("train", {})}))


def test_models_json_names_the_nodes(tmp_path: Path, base: str) -> None:
    node, found = run(tmp_path, {"base": base}, per_prompt=1)
    assert json.loads((node.path / "models.json").read_text()) == {"base": found["base"].fingerprint}
    assert found["base"].verb == "pictures"


def test_two_devices_share_the_pictures_and_give_those_of_one(tmp_path: Path, base: str, other: str) -> None:
    models = {"base": base, "other": other}
    _, alone = run(tmp_path / "one", models, per_prompt=22, steps=1)
    node, shared = run(tmp_path / "two", models, per_prompt=22, steps=1, devices=["cpu", "cpu"])
    assert node.complete
    for label, child in shared.items():
        assert child.complete
        assert child.fingerprint == alone[label].fingerprint
        assert child.summary == alone[label].summary
        assert len(child.shards()) == 2
        for ours, expected in zip(rows(child), rows(alone[label]), strict=True):
            assert (ours["prompt_id"], ours["index"]) == (expected["prompt_id"], expected["index"])
            # Fewer threads add in another order.
            assert (tables.picture_of(ours).tensor - tables.picture_of(expected).tensor).abs().max() <= 1.01 / 255


def test_a_device_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path, base: str) -> None:
    with pytest.raises(ValueError, match="device 'cuda:99'"):
        run(tmp_path, {"base": base}, devices=["cpu", "cuda:99"])
    assert not list(tmp_path.rglob("data-*.parquet"))[1:], "only the pairs' own shard"


def test_compiled_networks_make_the_same_pictures(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the compiler's own front end; what its back ends make of the graph is torch's to test, and slow."""
    compiled: list[Any] = []

    def compile_(self: torch.nn.Module) -> None:
        compiled.append(type(self).__name__)
        whole(self, backend="eager")

    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", compile_)
    _, plain = run(tmp_path / "plain", {"base": base})
    _, found = run(tmp_path / "compiled", {"base": base}, compile=True)
    assert compiled == ["UNet2DConditionModel"]
    assert plain["base"].fingerprint == found["base"].fingerprint
    assert [row["image"]["bytes"] for row in rows(found["base"])] == [row["image"]["bytes"] for row in rows(plain["base"])]


def test_a_compiler_that_is_not_there_is_an_error_that_says_so(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no working C++ compiler was found")

    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: whole(self, backend=broken))
    with pytest.raises(GenerateError, match=r"compile = true, and torch.compile failed .*no working C"):
        run(tmp_path, {"base": base}, compile=True)
