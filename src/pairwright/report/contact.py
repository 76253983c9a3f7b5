"""A contact sheet as one picture to send around: a row per prompt, a column per model or checkpoint, the same noise throughout."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from pairwright import images
from pairwright.report.gather import Run, Step, read_run, spread
from pairwright.report.grid import read_models
from pairwright.store import write_file

SIDE = 128
"""Pixels of a picture."""
MOST_PROMPTS = 24
_GAP, _CAPTION, _HEAD = 6, 200, 28
_INK, _SOFT, _PAPER, _FILL = (31, 30, 27), (103, 99, 90), (252, 251, 248), (239, 236, 228)


def contact_sheet(folder: Path, step: str) -> Path:
    """Write ``<step>-contact-sheet.jpg`` into a run's folder.

    Args:
        folder: the run.
        step: a ``generate`` step that is done.

    Raises:
        ReportError: the folder holds no run.
        ValueError: the run has no such step with pictures.
    """
    run = read_run(folder)
    found = run.step(step)
    if found is None or found.verb != "generate" or not found.done:
        raise ValueError(f"{folder} has no finished generate step {step!r}")
    path = folder / f"{step}-contact-sheet.jpg"
    data = _jpeg(draw(run, found))
    write_file(path, lambda temporary: temporary.write_bytes(data))
    return path


def draw(run: Run, step: Step) -> Image.Image:
    """The sheet: prompts evenly spread over the set, the first noise of each."""
    models = read_models(run.store, step.json("models.json") or {})
    texts = {prompt: text for model in models.values() for prompt, (text, _) in model.texts.items()}
    chosen = [list(texts)[place] for place in spread(len(texts), MOST_PROMPTS)]
    cell = SIDE + _GAP
    sheet = Image.new("RGB", (_CAPTION + len(models) * cell + _GAP, _HEAD + len(chosen) * cell + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, (label, model) in enumerate(models.items()):
        left = _CAPTION + column * cell
        pen.text((left, 8), _cut(label, SIDE), fill=_INK, font=_font())
        here = [prompt for prompt in chosen if (prompt, 0) in model.ids]
        for prompt, picture in zip(here, model.index.get([model.ids[prompt, 0] for prompt in here]), strict=True):
            top = _HEAD + chosen.index(prompt) * cell
            pen.rectangle((left, top, left + SIDE, top + SIDE), fill=_FILL)
            small = ImageOps.contain(images.decode(picture.data), (SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
    for row, prompt in enumerate(chosen):
        lines = textwrap.wrap(texts[prompt], 30)[: SIDE // 16]
        pen.multiline_text((_GAP, _HEAD + row * cell + 2), "\n".join(lines), fill=_SOFT, font=_font(), spacing=3)
    return sheet


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=12)


def _cut(label: str, width: int) -> str:
    while label and _font().getlength(label) > width:
        label = label[:-2] + "\N{HORIZONTAL ELLIPSIS}" if len(label) > 2 else ""
    return label


def _jpeg(sheet: Image.Image) -> bytes:
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=88, optimize=True)
    return stream.getvalue()
