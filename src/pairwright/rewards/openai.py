"""Any vision model behind an OpenAI-compatible server (vLLM, SGLang, Ollama, llama.cpp, OpenAI), as a scorer with a rubric.

The model sees the picture, the prompt as quoted data and a rubric of ours (``rubrics/*.toml``, versioned), and answers with a
number from 1 to 10 and a reason: in a JSON schema where the server has it, else its words are parsed. What is no answer, a
refusal, a cut one, none or two numbers, a number off the scale, is unscored with its reason. :func:`judge` is the same model as
a judge of two pictures, asked in both orders, and :func:`edit_judge` as one of two edits of a picture.

Such scores depend on the model, its version and the rubric, move in steps, and favour what models of its kind make: compare
with them only within one model and rubric. A caption or a picture can carry words that are meant for the judge. They cannot
change the scale, the form or another picture's score; a model that believes them can still give its own picture a wrong one.
Column ``openai_overall`` for the rubric that ships. What is asked is fingerprinted with the model's name and ``revision``; the
server's address and key are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pairwright import images
from pairwright.protocols import Choice, Row
from pairwright.records import Column, Picture, Prompt, TwoEdits, Unscored
from pairwright.rewards import _batches, _rubric
from pairwright.servers import Answer, Client, NoAnswer, Request, Server

CHOICES = ("first", "second", "neither")


def load(
    *,
    served_model: str,
    revision: str = "",
    rubric: str = "overall-1",
    side: int = 1024,
    max_tokens: int = 300,
    server: str = "",
    key_from: str = "OPENAI_API_KEY",
    workers: int = 16,
    timeout: float = 120.0,
) -> OpenAIScorer:
    """A scorer out of a server and a rubric.

    Args:
        served_model: the model as the server calls it.
        revision: names the weights behind that name, which no server says; part of every fingerprint.
        rubric: one that ships, or a ``.toml`` file of your own.
        side: longer sides are reduced to so many pixels.
        max_tokens: of the answer.
        server: base URL, ``http://localhost:8000/v1``; default: ``OPENAI_BASE_URL``, else OpenAI's own.
        key_from: environment variable that holds the key.
        workers: requests at once.
        timeout: seconds for one attempt.

    Raises:
        RubricError: no such rubric, or one that is not whole.
        ServerError: an address or a variable's name that cannot be right.
    """
    where = Server(served_model, server, key_from, revision, workers, timeout=timeout)
    return OpenAIScorer(Client(where), _rubric.load(rubric), rubric, side, max_tokens)


def judge(
    *,
    served_model: str,
    revision: str = "",
    rubric: str = "pair-1",
    side: int = 1024,
    max_tokens: int = 300,
    server: str = "",
    key_from: str = "OPENAI_API_KEY",
    workers: int = 16,
    timeout: float = 120.0,
) -> OpenAIJudge:
    """A judge of two pictures; arguments and errors as those of :func:`load`."""
    where = Server(served_model, server, key_from, revision, workers, timeout=timeout)
    return OpenAIJudge(Client(where), _rubric.load(rubric), side, max_tokens)


def edit_judge(
    *,
    served_model: str,
    revision: str = "",
    rubric: str = "edit-1",
    side: int = 1024,
    max_tokens: int = 300,
    server: str = "",
    key_from: str = "OPENAI_API_KEY",
    workers: int = 16,
    timeout: float = 120.0,
) -> OpenAIEditJudge:
    """A judge of two edits of a picture; arguments and errors as those of :func:`load`."""
    where = Server(served_model, server, key_from, revision, workers, timeout=timeout)
    return OpenAIEditJudge(Client(where), _rubric.load(rubric, "{instruction}"), side, max_tokens)


@dataclass(frozen=True)
class OpenAIScorer:
    """Scores a picture with its prompt by asking a model; see :class:`pairwright.protocols.Reward`."""

    client: Client
    rubric: _rubric.Rubric
    name: str
    side: int
    max_tokens: int

    @property
    def columns(self) -> tuple[Column, ...]:
        """One column, as the rubric names it."""
        scale = f"{self.rubric.lowest} to {self.rubric.highest}"
        return (Column(self.rubric.column, f"{scale}, rubric {self.name}, {self.client.server.model}"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order.

        Raises:
            ServerError: the server cannot be used; what it has answered is kept.
        """
        return _batches.score(pictures, prompts, max(len(pictures), 1), self._rows)

    def _rows(self, decoded: list[Image.Image], texts: list[str]) -> list[Row]:
        scale = range(self.rubric.lowest, self.rubric.highest + 1)
        asked = [
            Request(
                self.rubric.text(text),
                (_sent(image, self.side),),
                self.rubric.system.strip(),
                _rubric.schema("score", scale),
                self.max_tokens,
            )
            for image, text in zip(decoded, texts, strict=True)
        ]
        return [self._row(answer) for answer in self.client.ask(asked)]

    def _row(self, answer: Answer | NoAnswer) -> Row:
        if isinstance(answer, NoAnswer):
            return Unscored(answer.reason)
        found = _rubric.score(answer.text, self.rubric.lowest, self.rubric.highest)
        return found if isinstance(found, Unscored) else (found,)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of two pictures, and why it is undecided where it is."""

    choice: Choice
    reason: str = ""


@dataclass(frozen=True)
class OpenAIJudge:
    """Compares two pictures by asking a model in both orders; see :class:`pairwright.protocols.Judge`.

    A model's preference for the picture that it sees first is as large as many real differences (Zheng et al. 2023, "Judging
    LLM-as-a-Judge", arXiv 2306.05685, section 3.3): a choice that depends on the order is none.
    """

    client: Client
    rubric: _rubric.Rubric
    side: int
    max_tokens: int

    def judge(self, a: Picture, b: Picture, prompt: Prompt) -> Choice:
        """Which of the two is better for the prompt.

        Raises:
            ServerError: the server cannot be used; what it has answered is kept.
        """
        return self.verdicts([(a, b, prompt)])[0].choice

    def verdicts(self, asked: Sequence[tuple[Picture, Picture, Prompt]]) -> list[Verdict]:
        """Many comparisons at once, in order.

        Raises:
            ServerError: as :meth:`judge`.
        """
        requests: list[Request] = []
        places: list[int | Verdict] = []
        for a, b, prompt in asked:
            try:
                one, other = _sent(a.image, self.side), _sent(b.image, self.side)
            except images.DECODING as error:
                places.append(Verdict("undecided", f"a picture cannot be decoded: {type(error).__name__}"))
                continue
            places.append(len(requests))
            requests += [self._request((one, other), prompt), self._request((other, one), prompt)]
        answers = self.client.ask(requests)
        return [each if isinstance(each, Verdict) else _decided(answers[each], answers[each + 1]) for each in places]

    def _request(self, pictures: tuple[bytes, bytes], prompt: Prompt) -> Request:
        schema = _rubric.schema("better", CHOICES)
        return Request(self.rubric.text(prompt.text), pictures, self.rubric.system.strip(), schema, self.max_tokens)


@dataclass(frozen=True)
class OpenAIEditJudge:
    """Compares two edits of a picture by showing a model all three; see :class:`pairwright.protocols.EditJudge`."""

    client: Client
    rubric: _rubric.Rubric
    side: int
    max_tokens: int

    def judge_edits(self, asked: Sequence[TwoEdits]) -> list[Choice]:
        """The better edit of each, in the order in which they are given; what is no answer decides nothing.

        Raises:
            ServerError: the server cannot be used; what it has answered is kept.
        """
        answers = self.client.ask([self._request(each) for each in asked])
        said = [_rubric.better(each.text) if isinstance(each, Answer) else "" for each in answers]
        return [_CHOSEN.get(each, "undecided") if isinstance(each, str) else "undecided" for each in said]

    def _request(self, each: TwoEdits) -> Request:
        shown = tuple(_sent(picture.image, self.side) for picture in (each.original, each.a, each.b))
        schema = _rubric.schema("better", CHOICES)
        question = self.rubric.text(each.prompt.text, each.instruction)
        return Request(question, shown, self.rubric.system.strip(), schema, self.max_tokens)


_CHOSEN: dict[str, Choice] = {"first": "a", "second": "b"}


def _decided(straight: Answer | NoAnswer, turned: Answer | NoAnswer) -> Verdict:
    said = [Unscored(each.reason) if isinstance(each, NoAnswer) else _rubric.better(each.text) for each in (straight, turned)]
    for each in said:
        if isinstance(each, Unscored):
            return Verdict("undecided", each.reason)
    if said == ["first", "second"]:
        return Verdict("a")
    if said == ["second", "first"]:
        return Verdict("b")
    return Verdict("undecided", "neither is better" if said == ["neither", "neither"] else "the choice depends on the order")


def _sent(image: Image.Image, side: int) -> bytes:
    """The picture as PNG, its longer side at most ``side``."""
    return images.encode(images.at_most(image, side))
