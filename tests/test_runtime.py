"""Which number format networks run in: what a recipe asks for, and what the processor multiplies."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from pairwright import hardware, plan, recipe, runtime
from pairwright.hardware import Device, Processor
from pairwright.options import Train
from pairwright.plan import memory

CPU = torch.device("cpu")
OLD = Processor("a processor with AVX2 alone", 2, ("avx2",))
MASKED = """
import torch
from pairwright import runtime
number = runtime.working_dtype("bfloat16", torch.device("cpu"))
runtime.working_dtype("bfloat16", torch.device("cpu"))
print(number)
"""


@pytest.fixture(autouse=True)
def _said_anew() -> Iterator[None]:
    def forget() -> None:
        runtime._say.cache_clear()
        hardware.multiplies.cache_clear()

    forget()
    yield
    forget()


def test_a_processor_whose_kernels_lack_bfloat16_runs_in_float32_and_says_so_once() -> None:
    """oneDNN's own switch makes this processor one with AVX2 alone."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call, unused-ignore]
        pytest.skip("this torch has no oneDNN")
    masked = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", MASKED], env=masked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.float32"
    assert done.stderr.count("no products in bfloat16") == 1


def test_a_processor_with_wide_registers_and_no_bfloat16_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN has kernels there, which take twice as long as float32's."""
    monkeypatch.setattr(hardware, "_kernels", lambda _: True)
    monkeypatch.setattr(hardware, "processor", lambda: Processor("AVX-512 alone", 2, ("avx512f", "avx2")))
    assert runtime.working_dtype("bfloat16", CPU) == torch.float32


@pytest.mark.parametrize("features", [("avx512_bf16", "avx512f"), ("amx_bf16",), ("bf16", "asimd"), ()])
def test_a_processor_that_has_it_or_cannot_be_read_does_as_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, features: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(hardware, "_kernels", lambda _: True)
    monkeypatch.setattr(hardware, "processor", lambda: Processor("new", 2, features))
    assert runtime.working_dtype("bfloat16", CPU) == torch.bfloat16


def test_without_onednn_everything_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert [runtime.working_dtype(each, CPU) for each in ("bfloat16", "float16", "float32")] == [torch.float32] * 3


def test_a_gpu_does_as_it_is_asked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(hardware, "multiplies", lambda _: False)
    with caplog.at_level(logging.WARNING):
        assert runtime.working_dtype("float16", torch.device("cuda", 1)) == torch.float16
    assert not caplog.messages


def test_a_device_beyond_those_that_are_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert runtime.device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="device 'cuda:2': there are 2 CUDA devices"):
        runtime.device("cuda:2")


def test_the_plan_counts_what_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "processor", lambda: OLD)
    monkeypatch.setattr(hardware, "throughput", lambda _, dtype: {"float32": 1e11, "bfloat16": 4e9}[dtype])
    here, gpu = Device("cpu", "CPU with 2 cores", None, None), Device("cuda:0", "a GPU", None, None)
    assert [memory.bytes_of("bfloat16", each) for each in (here, gpu)] == [4, 2]
    assert memory.bytes_of(None, gpu) == 4
    assert "100 GFLOP/s in a float32 matrix product" in plan.heading([here])[0]


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda;1", ""])
def test_a_word_that_is_no_device_is_an_error_before_anything_runs(name: str) -> None:
    said = f"{name!r} is no device; there is: auto, cpu, mps, cuda, and one of several as cuda:1"
    with pytest.raises(runtime.DeviceError, match=re.escape(said)):
        runtime.device(name)
    step = {"verb": "generate", "models": {"base": "tiny:base"}, "prompts": "tiny:prompts.txt"}
    for options in ({"device": name}, {"devices": ["cpu", name]}):
        with pytest.raises(recipe.RecipeError, match=rf"step\.pictures\.{next(iter(options))}.*{re.escape(said)}"):
            recipe.parse({"name": "r", "step": {"pictures": step | options}}, "r.toml")


def test_devices_that_a_machine_may_have_are_taken() -> None:
    for name in ("auto", "cpu", "mps", "cuda", "cuda:11", "xpu:0"):
        assert Train.model_validate({"objective": "sft", "start": "tiny:base", "device": name}).device == name
