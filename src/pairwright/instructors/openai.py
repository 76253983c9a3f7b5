"""A vision model behind a server as instructor, by any OpenAI-compatible server: vLLM, SGLang, Ollama, llama.cpp, OpenAI.

"Rich Preference Optimization" is best with Qwen2.5-VL-7B-Instruct after LLaVA-Critic's critique (two steps); without a critique
the same model is asked from picture and prompt alone (one step). Heat maps of a critique are sent as further pictures. The answer
is a JSON object by schema where the server has that, else its words are read. It is at most 25 words, so that it survives CLIP's
77 tokens beside a prompt; what cannot be read, is longer, refused, cut or empty is a failure with a reason.

A prompt, a critique or a picture can carry words that are meant for the instructor. They cannot change another picture's
instruction, the form or the length of the answer; a model that believes them can still give its own picture a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pairwright import images
from pairwright.advice import asking, heat, reading
from pairwright.records import Critique, Failed, Instruction, Picture, Prompt
from pairwright.servers import Answer, Client, NoAnswer, Request, Server


def load(
    *,
    served_model: str,
    revision: str = "",
    template: str = "instruction-1",
    side: int = 1024,
    max_tokens: int = 200,
    seed: int = 0,
    server: str = "",
    key_from: str = "OPENAI_API_KEY",
    workers: int = 16,
    timeout: float = 120.0,
) -> OpenAIInstructor:
    """An instructor out of a server and a template.

    Args:
        served_model: the model as the server calls it.
        revision: names the weights behind that name, which no server says; part of every fingerprint.
        template: one that ships, or a ``.toml`` file of your own.
        side: longer sides are reduced to so many pixels.
        max_tokens: of the answer.
        seed: passed to the server.
        server: base URL, ``http://localhost:8000/v1``; default: ``OPENAI_BASE_URL``, else OpenAI's own.
        key_from: environment variable that holds the key.
        workers: requests at once.
        timeout: seconds for one attempt.

    Raises:
        TemplateError: no such template, or one that is not whole.
        ServerError: an address or a variable's name that cannot be right.
    """
    where = Server(served_model, server, key_from, revision, workers, timeout=timeout)
    return OpenAIInstructor(Client(where), asking.instructor(template), side, max_tokens, seed)


@dataclass(frozen=True)
class OpenAIInstructor:
    """Asks a model what to change; see :class:`pairwright.protocols.Instructor`."""

    client: Client
    template: asking.Template
    side: int
    max_tokens: int
    seed: int

    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> list[Instruction | Failed]:
        """One instruction per picture, in order. A critique without a fault asks nothing.

        Raises:
            ServerError: the server cannot be used; what it has answered is kept.
        """
        asked = [self._request(*each) for each in zip(pictures, prompts, critiques, strict=True)]
        answers = iter(self.client.ask([each for each in asked if isinstance(each, Request)]))
        return [
            each if isinstance(each, Failed) else self._read(next(answers), alone=critique is None)
            for each, critique in zip(asked, critiques, strict=True)
        ]

    def _request(self, picture: Picture, prompt: Prompt, critique: Critique | None) -> Request | Failed:
        if critique is not None and critique.text == reading.NOTHING:
            return Failed(reading.NOTHING)
        try:
            seen = images.at_most(picture.image, self.side)
        except images.DECODING as error:
            return Failed(images.undecodable(error))
        maps = [heat.shown(seen, each) for each in critique.maps.values()] if critique else []
        sent = tuple(images.encode(each) for each in (seen, *maps))
        question = self.template.of_instructor(prompt.text, critique)
        return Request(question, sent, self.template.system.strip(), reading.SCHEMA, self.max_tokens, seed=self.seed)

    def _read(self, answer: Answer | NoAnswer, *, alone: bool) -> Instruction | Failed:
        if isinstance(answer, NoAnswer):
            return Failed(answer.reason)
        said = reading.instruction(answer.text)
        if isinstance(said, Failed):
            return said
        server = self.client.server
        model = {"model": server.model} | ({"revision": server.revision} if server.revision else {})
        made_by = {"instructor": "openai", **model, "template": self.template.name, "steps": "one" if alone else "two"}
        return Instruction(said, made_by)
