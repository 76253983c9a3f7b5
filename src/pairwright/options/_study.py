"""A study with human raters."""

from __future__ import annotations

from pydantic import Field

from pairwright.options._base import Options

CONSENT = """\
You will see pairs of pictures that computer programs made for a short text, and say each time which of the two you prefer.

What is stored: your answers, how long each one took, whether the pictures stood side by side, and when it arrived. Your name, \
your address and your device are not. The answers are analysed together with those of the other participants and may be published.

Taking part is voluntary. You can stop at any time by closing the page, and go on later with the same link."""


class Study(Options):
    """Pairs of pictures of a ``generate`` step, judged by people."""

    models: tuple[str, ...] = ()
    """Labels of the models to compare, two or more; default: all of the step. The first is what the others are measured
    against."""
    against_first: bool = False
    """Show every model against the first only, not every two models."""
    per_category: int = Field(15, ge=1)
    """Prompts of each category, chosen by seed; all where a category has fewer."""
    raters: int = Field(17, ge=1, le=1000)
    """How many links are made. An odd number has no tied majorities; more can be added later."""
    question: str = Field("Which image do you prefer given the prompt?", min_length=1, max_length=300)
    """Asked of every pair."""
    consent: str = Field(CONSENT, min_length=1, max_length=20_000)
    """What raters agree to before the first pair; paragraphs are separated by an empty line."""
    ties: bool = False
    """Whether "no preference" is an answer."""
    repeats: float = Field(0.05, ge=0, le=0.2)
    """Share of the pairs that each rater sees again later, sides swapped."""
    checks: float = Field(0.05, ge=0, le=0.2)
    """Attention checks as a share of the pairs: a picture against a coarse mosaic of it."""
    least_seconds: float = Field(1.0, ge=0, le=60)
    """Answers are taken no sooner after both pictures are seen."""
    seed: int = 0
    """Decides prompts, order, sides, checks and repeats."""
