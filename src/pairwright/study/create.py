"""A study out of a run's ``generate`` step: written whole, or not at all."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from pairwright import images
from pairwright.options import Study
from pairwright.store import Node, Store, write_folder
from pairwright.study.database import FILE, Database, Shown
from pairwright.study.design import DAMAGED, Generated, Pair, StudyError, models_of, pairs_of
from pairwright.tables import PictureIndex

FOLDER = "studies"
"""Of a run, with a folder for each study."""
_MOSAIC = 12  # squares along the short side: nothing but the colours is left
_LETTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def create(node: Node, store: Store, run: Path, name: str, options: Study) -> Path:
    """Make a study of the pictures of a ``generate`` step.

    The folder holds one file: design, pictures (PNG, encoded anew, without metadata), pairs, raters' links and votes. It needs
    neither the run nor the store any more.

    Args:
        node: the step's result.
        store: where its pictures are.
        run: the run's folder.
        name: of the study, within the run.
        options: see :class:`pairwright.options.Study`.

    Returns:
        the study's folder.

    Raises:
        StudyError: there is one of that name, the step made no pictures, or the models are not among them.
    """
    if not name or set(name) - _LETTERS:
        raise StudyError(f"name: letters, digits, - and _ only, got {name!r}")
    folder = run / FOLDER / name
    if folder.exists():
        raise StudyError(f"{folder} is there already, perhaps with votes in it; choose another --name, or remove it")
    if not (node.path / "models.json").is_file():
        raise StudyError(f"{node.path} holds no pictures of several models; name a generate step with --step")
    nodes = _nodes(node, store)
    models = models_of(options, list(nodes))
    pairs = pairs_of(options, models, _generated({label: nodes[label] for label in models}))
    design = {**options.model_dump(mode="json"), "models": list(models), "pictures": node.fingerprint, "name": name}

    def write(temporary: Path) -> None:
        with Database(temporary / FILE, new=True) as database:
            database.fill(design, pairs, _pictures(pairs, nodes), secrets.token_urlsafe(24))
            for _ in range(options.raters):
                database.add_rater()

    write_folder(folder, write)
    return folder


def locate(path: Path) -> Path:
    """The folder of a study: ``path`` itself, or the only one of a run.

    Raises:
        StudyError: there is none, or several.
    """
    if (path / FILE).is_file():
        return path
    found = sorted(each.parent for each in (path / FOLDER).glob(f"*/{FILE}") if not each.parent.name.startswith("."))
    if len(found) == 1:
        return found[0]
    if found:
        raise StudyError(f"{path} has several studies; name one: {', '.join(str(each) for each in found)}")
    raise StudyError(f"{path} has no study; make one: pairwright study create {path} --step pictures")


def _nodes(node: Node, store: Store) -> dict[str, Node]:
    listed: Mapping[str, str] = json.loads((node.path / "models.json").read_text(encoding="utf-8"))
    return {label: store.open("pictures", digest) for label, digest in listed.items()}


def _generated(nodes: Mapping[str, Node]) -> list[Generated]:
    texts: dict[str, tuple[str, str]] = {}
    ids: dict[str, dict[int, dict[str, str]]] = {}
    for label, node in nodes.items():
        for row in node.rows(columns=["id", "caption", "prompt_id", "category", "index"]):
            prompt = row["prompt_id"] or row["caption"]
            texts[prompt] = (row["caption"], row["category"] or "")
            ids.setdefault(prompt, {}).setdefault(int(row["index"]), {})[label] = row["id"]
    return [Generated(prompt, *texts[prompt], ids[prompt]) for prompt in sorted(ids)]


def _pictures(pairs: Sequence[Pair], nodes: Mapping[str, Node]) -> Iterator[tuple[tuple[str, str], Shown]]:
    """Model, id and picture, every picture once, under a token that tells nothing."""
    indices = {label: PictureIndex.of(node) for label, node in nodes.items()}
    done: set[tuple[str, str]] = set()
    for pair in pairs:
        for key in zip(pair.models, pair.pictures, strict=True):
            if key in done:
                continue
            done.add(key)
            model, picture = key if key[0] != DAMAGED else (pair.models[0], pair.pictures[0])
            image = indices[model].get([picture])[0].image
            shown = mosaic(image) if key[0] == DAMAGED else image
            yield key, Shown(secrets.token_urlsafe(18), images.encode(shown), *shown.size)


def mosaic(image: Image.Image) -> Image.Image:
    """The picture in coarse squares: same size, same colours, nothing to recognise."""
    scale = _MOSAIC / min(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST)
