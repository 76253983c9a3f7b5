"""A miniature Stable Diffusion, loaded once; families are built per test, since adapters change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pairwright.diffusion import families
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.models import ModelRef
from pairwright.runtime import Dtype
from pairwright.store import Store
from tests.miniatures.sd15 import write_sd15

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("sd15")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def load(base: str) -> Callable[..., Sd15]:
    def build(dtype: Dtype = "float32", folder: str | None = None) -> Sd15:
        family = families.load_base(ModelRef(folder or base, "sd15"), dtype=dtype, device=CPU)
        assert isinstance(family, Sd15)
        return family

    return build


@pytest.fixture
def sd15(load: Callable[..., Sd15]) -> Sd15:
    return load()
