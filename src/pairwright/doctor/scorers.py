"""Whether the scorers that are here can be loaded, and whether they still say what they said.

Golden scores of the tiny pack come with it (``golden.json``). Of every other scorer the first scores that this user saw are
kept in the cache folder, with the weights' content, the libraries' versions and the hardware, and later ones are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pairwright import caches, hardware, literals, places, plugins, runtime, weights
from pairwright.doctor import probes
from pairwright.doctor.compare import comparable, compare
from pairwright.doctor.findings import Finding
from pairwright.doctor.probes import Seen
from pairwright.errors import Explained
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress
from pairwright.store import write_json

GOLDEN = "golden.json"
TINY = ("pickscore", "imagereward", "classifier")
"""The tiny pack's scorers; each is a folder of its own."""
VARIANTS: Mapping[str, Mapping[str, tuple[str, dict[str, str]]]] = {
    "hpsv2": {
        "hpsv2": ("HPS_v2_compressed", {"version": "2.0"}),
        "hpsv2 2.1": ("HPS_v2.1_compressed", {"version": "2.1"}),
    }
}
"""Scorers with several checkpoints: label -> how the file's name begins, and the options."""
ROOM = 1.2
"""What loading and scoring a few pictures take, over the size of the files. 7B networks are stored in 16 bits, as they run."""
GIGA = 1e9

_GOLDEN = TypeAdapter(dict[str, Seen])


@dataclass(frozen=True)
class _Candidate:
    label: str
    plugin: Plugin
    file: str = ""
    """A file that must be among its model's begins like this."""


def checked(progress: Progress = SILENT) -> Iterator[Finding]:
    """One finding per scorer that is here, then those that are not. Nothing is downloaded; one is in memory at a time."""
    absent: list[str] = []
    needing: list[str] = []
    with weights.only_here():
        yield from _tiny(progress)
        for name in plugins.names("rewards"):
            required = [each.name for each in plugins.signature("rewards", name).options if each.default is None]
            if required:
                needing.append(f"{name} ({required[0]})")
                continue
            for each in _candidates(name):
                found = _places(each.plugin)
                if all(_is_here(place, each.file if option == "model" else "") for option, place in found.items()):
                    yield _real(each, found, progress)
                else:
                    absent.append(each.label)
    if absent:
        yield Finding("not here", ", ".join(absent) + ": weights or tokenizer are not cached")
    if needing:
        yield Finding("not tried", ", ".join(needing) + ": without a default for the option in brackets")


def write_golden(pack: Path) -> Path:
    """Have a tiny pack's scorers score the fixed pictures and keep that as the pack's golden scores; returns the file.

    Scorers that the pack does not hold yet are left out.
    """
    found = {name: pack / name for name in TINY if (pack / name).is_dir()}
    golden = {name: _asked_tiny(name, path) for name, path in found.items()}
    write_json(pack / GOLDEN, {name: seen.model_dump() for name, seen in golden.items()})
    return pack / GOLDEN


def _candidates(name: str) -> list[_Candidate]:
    variants = VARIANTS.get(name, {name: ("", {})})
    return [_Candidate(label, Plugin(name=name, options=dict(options)), file) for label, (file, options) in variants.items()]


def _places(plugin: Plugin) -> dict[str, places.Place]:
    """By option: everything that a scorer reads, wherever it is."""
    silent = places.Hub(silent="the doctor asks nobody")
    found: dict[str, places.Place] = {}
    for option in ("model", "backbone"):
        name = literals.option("rewards", plugin, option)
        if isinstance(name, str):
            found[option] = places.place(name, "weights", silent)
    if "model" in found and (processor := literals.processor_of("rewards", plugin, found["model"].folder)):
        found["processor"] = places.place(processor, "processor", silent)
    return found


def _is_here(place: places.Place, beginning: str) -> bool:
    if place.state in {"missing", "download"} or place.folder is None:
        return False
    return not beginning or any(each.name.startswith(beginning) for each in place.folder.rglob("*"))


def _tiny(progress: Progress) -> Iterator[Finding]:
    pack = weights.tiny_pack()
    if weights.untrained() or not any((pack / name).is_dir() for name in TINY):
        return
    try:
        golden = _GOLDEN.validate_json((pack / GOLDEN).read_bytes())
    except FileNotFoundError:
        yield Finding("tiny pack", f"has no {GOLDEN}: nothing to compare with")
        return
    except ValidationError as error:
        yield Finding("tiny pack", f"{pack / GOLDEN} cannot be read ({error.error_count()} errors)", "install pairwright anew")
        return
    for name, seen in golden.items():
        label = f"{weights.TINY_PREFIX}{name}"
        progress.say(f"{label} ...")
        try:
            verdict = compare(seen, _asked_tiny(name, weights.locate(label)), f"{GOLDEN} says")
        except Exception as error:  # noqa: BLE001 - one scorer costs itself only, whatever a library raises
            yield _failed(label, error)
            continue
        yield Finding(label, verdict.text, verdict.wrong)


def _asked_tiny(name: str, path: Path) -> Seen:
    options = {"model": str(path), "dtype": "float32"}  # bfloat16's rounding would hide most of what could go wrong
    place = places.Place(f"{weights.TINY_PREFIX}{name}", "weights", "package", None, folder=path)
    return probes.ask(Plugin(name=name, options=options), {"model": place})


def _real(candidate: _Candidate, found: Mapping[str, places.Place], progress: Progress) -> Finding:
    label = candidate.label
    short = _short_of_memory(found)
    if short:
        return Finding(label, f"skipped: {short}")
    progress.say(f"{label} ...")
    try:
        now = probes.ask(candidate.plugin, found)
    except Exception as error:  # noqa: BLE001 - one scorer costs itself only, whatever a library raises
        return _failed(label, error)
    return _remembered(label, now)


def _remembered(label: str, now: Seen) -> Finding:
    path = caches.folder("scorers") / f"{label.replace(' ', '-')}.json"
    first = None
    if path.is_file():
        try:
            first = Seen.model_validate_json(path.read_bytes())
        except ValidationError as error:
            said = f"loads; what was first seen cannot be read ({error.error_count()} errors)"
            return Finding(label, said, f"remove {path}: today's scores are kept then")
    if first is None or not comparable(first, now):
        write_json(path, now.model_dump())
        return Finding(label, f"loads; its scores are kept from now on ({now.device}{', ' if now.dtype else ''}{now.dtype})")
    verdict = compare(first, now, f"first seen on {first.date}")
    hint = f"{verdict.wrong}. To keep today's scores instead, remove {path}" if verdict.wrong else ""
    return Finding(label, verdict.text, hint)


def _failed(label: str, error: Exception) -> Finding:
    said = str(error) if isinstance(error, Explained) else f"{type(error).__name__}: {error}"
    return Finding(label, "cannot be loaded or does not score", " ".join(said.split()))


def _short_of_memory(found: Mapping[str, places.Place]) -> str:
    """Why there is too little memory, on the way (main memory) or where it runs; ``""`` where there is enough."""
    needed = ROOM * sum(each.bytes or 0 for each in found.values())
    where = runtime.device()
    rooms = {"memory": hardware.memory()[1], str(where): hardware.describe(where).free}
    for name, free in rooms.items():
        if free is not None and free < needed:
            return f"it needs about {needed / GIGA:.1f} GB, and {free / GIGA:.1f} GB of {name} are free"
    return ""
