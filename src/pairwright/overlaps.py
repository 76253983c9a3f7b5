"""Captions that are also evaluation prompts: a model trained on them is not tested on anything new.

Texts are compared as words, without case and punctuation. *Exact*: the same words in the same order. *Near*: sets of at least
four words whose Jaccard index is 0.8 or more.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

NEAR = 0.8
LEAST_WORDS = 4
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Match:
    """A caption and the prompt that it resembles."""

    caption: str
    prompt: str
    likeness: float
    """Jaccard index of their words; 1 and ``exact`` where order is the same too."""
    exact: bool


def words(text: str) -> tuple[str, ...]:
    """Lower case, without punctuation."""
    return tuple(_WORD.findall(text.casefold()))


def matches(captions: Sequence[str], prompts: Sequence[str]) -> list[Match]:
    """For every different caption that resembles a prompt the most alike one."""
    index = _Index(prompts)
    return [found for caption in dict.fromkeys(captions) if (found := index.nearest(caption)) is not None]


class _Index:
    """Prompts by their rarest words.

    Two sets with a Jaccard index of at least t share a word among the ``n - ceil(t n) + 1`` rarest of each (prefix filtering,
    Chaudhuri et al. 2006), so that only few are compared, and none is missed.
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        self._prompts = list(dict.fromkeys(prompts))
        self._exact = {words(text): text for text in reversed(self._prompts)}
        self._sets = [frozenset(words(text)) for text in self._prompts]
        self._counts = Counter(word for each in self._sets for word in each)
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for place, each in enumerate(self._sets):
            for word in self._rarest(each):
                self._by_word[word].append(place)

    def nearest(self, caption: str) -> Match | None:
        said = words(caption)
        if said and said in self._exact:
            return Match(caption, self._exact[said], 1.0, exact=True)
        own = frozenset(said)
        if len(own) < LEAST_WORDS:
            return None
        places = {place for word in self._rarest(own) for place in self._by_word.get(word, ())}
        alike = [(len(own & self._sets[place]) / len(own | self._sets[place]), -place) for place in places]
        best, place = max(alike, default=(0.0, 0))
        return Match(caption, self._prompts[-place], best, exact=False) if best >= NEAR else None

    def _rarest(self, each: frozenset[str]) -> list[str]:
        if len(each) < LEAST_WORDS:
            return []
        ordered = sorted(each, key=lambda word: (self._counts[word], word))
        return ordered[: len(each) - ceil(NEAR * len(each) - 1e-9) + 1]
