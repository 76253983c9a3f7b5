"""Another source's pictures, those without a caption described by a vision model behind an OpenAI-compatible server.

A picture that has a caption keeps it. Answers are cached by picture, question and model, so that reading again costs nothing;
what could not be described leaves with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from pydantic import PositiveInt

from pairwright import images, plugins
from pairwright.options import Plugin
from pairwright.protocols import Source
from pairwright.records import Picture, Rejected
from pairwright.servers import Answer, Client, Request, Server
from pairwright.sources._errors import SourceError

QUESTION = (
    "Describe this picture in one plain sentence of at most 40 words, as a caption for a text-to-image model: what is in it, "
    "where, in which light and style. Name no people and do not begin with 'The image'. Answer with the sentence alone."
)
UNCAPTIONED = "uncaptioned"
"""The option by which a source says that pictures without a caption come all the same."""


def load(
    *,
    source: dict[str, Any],
    served_model: str,
    revision: str = "",
    question: str = QUESTION,
    side: PositiveInt = 1024,
    max_tokens: PositiveInt = 120,
    server: str = "",
    key_from: str = "OPENAI_API_KEY",
    workers: PositiveInt = 16,
    timeout: float = 120.0,
) -> Captioned:
    """A source whose pictures all have captions.

    Args:
        source: where the pictures are: ``{ name = "imagefolder", path = "photos" }``.
        served_model: the model as the server calls it.
        revision: names the weights behind that name, which no server says; part of the fingerprint.
        question: what the model is asked.
        side: longer sides are reduced to so many pixels before they are sent.
        max_tokens: of the answer.
        server: base URL, ``http://localhost:8000/v1``; default: ``OPENAI_BASE_URL``, else OpenAI's own.
        key_from: environment variable that holds the key.
        workers: requests at once.
        timeout: seconds for one attempt.

    Raises:
        SourceError: the source has no pictures without captions to give.
        PluginError: there is no such source, or it has no such option.
        ServerError: an address or a variable's name that cannot be right.
    """
    inner = Plugin.model_validate(source)
    takes = {each.name for each in plugins.signature("sources", inner.name).options}
    if UNCAPTIONED not in takes:
        raise SourceError(f"the source {inner.name!r} has no option {UNCAPTIONED!r}: it gives no pictures without captions")
    found: Source = plugins.load("sources", inner.name, **{UNCAPTIONED: True, **inner.options})
    client = Client(Server(served_model, server, key_from, revision, workers, timeout=timeout))
    return Captioned(found, client, question, side, max_tokens)


@dataclass(frozen=True)
class Captioned:
    """See :class:`pairwright.protocols.Source`."""

    source: Source
    client: Client
    question: str
    side: int
    max_tokens: int

    @cached_property
    def _fingerprint(self) -> str:
        asked = [self.client.server.model, self.client.server.revision, self.question, self.side, self.max_tokens]
        return hashlib.sha256(json.dumps([self.source.fingerprint(), *asked]).encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """Of the pictures, the model and what it is asked."""
        return self._fingerprint

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Picture | Rejected]:
        items = iter(self.source)
        while some := list(islice(items, self.client.server.concurrent)):
            yield from self._described(some)

    def _described(self, items: list[Picture | Rejected]) -> Iterator[Picture | Rejected]:
        silent = [each for each in items if isinstance(each, Picture) and not each.caption]
        asked = [
            Request(self.question, (images.encode(images.at_most(each.image, self.side)),), max_tokens=self.max_tokens)
            for each in silent
        ]
        answers = dict(zip((each.id for each in silent), self.client.ask(asked), strict=True)) if asked else {}
        for item in items:
            if isinstance(item, Rejected) or item.caption:
                yield item
                continue
            answer = answers[item.id]
            caption = " ".join(answer.text.split()).strip("\"' ") if isinstance(answer, Answer) else ""
            if caption:
                yield replace(item, caption=caption, provenance={**item.provenance, "captioner": self.client.server.model})
            else:
                reason = "the answer was empty" if isinstance(answer, Answer) else answer.reason
                yield Rejected(item.provenance.get("file", item.id), "caption", f"not captioned: {reason}")
