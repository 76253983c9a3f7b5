"""What a result needs beside it to mean something: when, on what, with which versions and weights. And tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import platform, python_version
from typing import Any

from pairwright import hardware, weights
from pairwright.store import write_json, write_text

LIBRARIES = ("pairwright", "torch", "diffusers", "transformers", "peft", "numpy")
RESULTS = Path(__file__).parent / "results"


def provenance() -> dict[str, Any]:
    """Date, machine, versions, and the tiny pack's models by their content."""
    processor = hardware.processor()
    pack = weights.tiny_pack()
    models = sorted(each.name for each in pack.iterdir() if each.is_dir() and any(each.rglob("*.safetensors")))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{processor.model}, {processor.cores} cores",
        "devices": [device.label for device in hardware.devices()],
        "system": f"{platform()}, Python {python_version()}",
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "pack": {name: weights.identity(f"{weights.TINY_PREFIX}{name}") for name in models},
    }


def footnote(said: Mapping[str, Any]) -> str:
    """The provenance as lines of Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    pack = ", ".join(f"{name} `{digest.removeprefix('sha256:')}`" for name, digest in said["pack"].items())
    return (
        f"- Date: {said['date']}\n- Machine: {said['machine']} ({', '.join(said['devices'])}); {said['system']}\n"
        f"- Versions: {versions}\n- Tiny pack: {pack}\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right from the second column on."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def write(name: str, result: Mapping[str, Any], page: str, folder: Path = RESULTS) -> Path:
    """Write ``<name>.json`` and ``<name>.md``; returns the page."""
    write_json(folder / f"{name}.json", result)
    write_text(folder / f"{name}.md", page)
    return folder / f"{name}.md"
