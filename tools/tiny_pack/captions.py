"""The captions of the flower photographs: traits in, short English out."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

# The folder names of the TensorFlow flower photographs, and the nouns of the captions.
SPECIES = {
    "daisy": "daisy",
    "dandelion": "dandelion",
    "roses": "rose",
    "sunflowers": "sunflower",
    "tulips": "tulip",
}
COLOURS = ("red", "orange", "yellow", "pink", "purple", "white")
BACKGROUNDS = ("green", "dark", "blue", "brown", "white", "grey", "yellow", "red")
# By how much of the picture the flower covers.
FRAMINGS = ("small", "photo", "close-up")


@dataclass(frozen=True)
class Traits:
    """What a caption says; an empty field is left out of it."""

    species: str
    colour: str = ""
    background: str = ""
    framing: str = ""


def caption(traits: Traits) -> str:
    """One sentence, such as ``a close-up of a yellow sunflower on a green background``."""
    flower = " ".join(word for word in (traits.colour, traits.species) if word)
    if traits.framing == "small":
        flower = f"small {flower}"
    noun = f"{article(flower)} {flower}"
    opening = {"close-up": "a close-up of ", "photo": "a photo of "}.get(traits.framing, "")
    ground = traits.background
    ending = f" on {article(ground)} {ground} background" if ground else ""
    return f"{opening}{noun}{ending}"


def article(words: str) -> str:
    """The indefinite article that `words` take."""
    return "an" if words[:1] in "aeiou" else "a"


def thinned(traits: Traits, chooser: random.Random, drop: float = 0.3) -> Traits:
    """The same traits with each optional one left out at random, as people write."""
    kept = {field: "" if chooser.random() < drop else getattr(traits, field) for field in ("colour", "background", "framing")}
    return replace(traits, **kept)


def every_caption() -> Iterator[str]:
    """All captions that the grammar can make, shorter ones included."""
    for species, colour, background, framing in product(SPECIES.values(), ("", *COLOURS), ("", *BACKGROUNDS), ("", *FRAMINGS)):
        yield caption(Traits(species, colour, background, framing))
