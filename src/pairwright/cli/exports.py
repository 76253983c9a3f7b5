"""``pairwright export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pairwright import options
from pairwright.cli.arguments import Root, app

exports = tyro.extras.SubcommandApp()
app.command(exports, name="export", help="Write what was made for other programs.")


@exports.command(name="model")
def model(
    model: tyro.conf.Positional[Annotated[options.Model, tyro.conf.arg(metavar="MODEL")]],
    export: Annotated[options.Export, tyro.conf.arg(name="")],
    *,
    formats: Annotated[tuple[options.ExportFormat, ...], tyro.conf.arg(name="as")] = ("diffusers",),
    out: Path | None = None,
    replace: bool = False,
    root: Root = Path("runs"),
) -> None:
    """Write a model as a LoRA, a merged network or a whole pipeline.

    Args:
        model: runs/<run>/<step>, one of its checkpoints runs/<run>/<step>@step-00000100, or any model as in a recipe.
        export: what the files say, and how exactly.
        formats: one or several.
        out: a folder, or for one LoRA a .safetensors file; default: exports/<run>-<step>.
        replace: overwrite what is there.
        root: folder of the runs and of the store.
    """
    from pairwright import progress
    from pairwright.export import export as write
    from pairwright.store import Store

    for path in write(model, formats, out, Store(root), export, replace=replace, progress=progress.choose()):
        print(path)


@exports.command(name="pairs")
def pairs(
    pairs: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PAIRS")]],
    export: Annotated[options.ExportPairs, tyro.conf.arg(name="")],
    *,
    formats: Annotated[tuple[options.PairFormat, ...], tyro.conf.arg(name="as")] = ("parquet",),
    out: Path | None = None,
    replace: bool = False,
) -> None:
    """Write pairs as a data set: Parquet, Pick-a-Pic's columns, TRL's, the first paper's CSV, two folders.

    Args:
        pairs: runs/<run>/<step>, a run with one such step, a result in the store, or Parquet files of pairs.
        export: what the dataset card says.
        formats: one or several.
        out: a folder; default: exports/<run>-<step>.
        replace: overwrite what is there.
    """
    from pairwright import progress
    from pairwright.export import export_pairs

    for path in export_pairs(pairs, formats, out, export, replace=replace, progress=progress.choose()):
        print(path)
