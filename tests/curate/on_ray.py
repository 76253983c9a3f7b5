"""A curation for the Ray engine; as a script, one that can be killed: ``python -m tests.curate.on_ray ROOT PHOTOGRAPHS``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pairwright.context import Context
from pairwright.curate import curate
from pairwright.options import Curate
from pairwright.store import Node, Store


def made(root: Path, photographs: Path, **changes: Any) -> Node:
    plain: dict[str, Any] = {
        "source": {"name": "imagefolder", "path": str(photographs)},
        "resolution": 32,
        "near_duplicates": 0,
        "filters": [{"reward": "colorfulness", "rule": "at_least", "value": 20.0}],
        "saliency": "tests.fakes.middle",
        "perturbation": "tests.fakes.dye",
        "gap": {"reward": "tests.fakes.red", "at_least": 0.02},
        "keep": {"reward": "tests.fakes.red", "top": 25},
        "ray": {"read": {"most": 2}, "score": {"most": 1}, "saliency": {"most": 1}, "repaint": {"most": 1}},
    }
    return curate(Curate.model_validate({**plain, **changes}), Context(Store(root)))


def files(root: Path, *verbs: str) -> dict[str, bytes]:
    """The shards of these verbs' results, by their paths."""
    return {str(path.relative_to(root)): path.read_bytes() for verb in verbs for path in (root / "store" / verb).rglob("*.parquet")}


if __name__ == "__main__":
    made(Path(sys.argv[1]), Path(sys.argv[2]), engine="ray", eager=True)
