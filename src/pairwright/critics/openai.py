"""A vision model behind a server as critic, by any OpenAI-compatible server: vLLM, SGLang, Ollama, llama.cpp, OpenAI.

"Rich Preference Optimization" takes LLaVA-Critic (``lmms-lab/llava-critic-7b``, which SGLang serves) and GPT-4o. What is asked is
a template, ``advice/templates/critique-1.toml`` or your own; its name is part of every pair. Picture first, then text, temperature
0, free text: critics are tuned on it. A refusal and an answer that is cut or empty are failures with a reason; a server that
cannot be used is an error, and what it has answered is kept and not asked again.

A prompt or a picture can carry words that are meant for the critic. They cannot change another picture's critique, the question or
the length of the answer; a model that believes them can still say something wrong of its own picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pairwright import images
from pairwright.advice import asking, reading
from pairwright.records import Critique, Failed, Picture, Prompt
from pairwright.servers import Answer, Client, NoAnswer, Request, Server


def load(
    *,
    served_model: str,
    revision: str = "",
    template: str = "critique-1",
    side: int = 1024,
    max_tokens: int = 300,
    seed: int = 0,
    server: str = "",
    key_from: str = "OPENAI_API_KEY",
    workers: int = 16,
    timeout: float = 120.0,
) -> OpenAICritic:
    """A critic out of a server and a template.

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
    return OpenAICritic(Client(where), asking.critic(template), side, max_tokens, seed)


@dataclass(frozen=True)
class OpenAICritic:
    """Asks a model what is wrong; see :class:`pairwright.protocols.Critic`."""

    client: Client
    template: asking.Template
    side: int
    max_tokens: int
    seed: int

    def critique(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Critique | Failed]:
        """One critique per picture, in order.

        Raises:
            ServerError: the server cannot be used; what it has answered is kept.
        """
        asked = [self._request(picture, prompt) for picture, prompt in zip(pictures, prompts, strict=True)]
        answers = iter(self.client.ask([each for each in asked if isinstance(each, Request)]))
        return [each if isinstance(each, Failed) else self._read(next(answers)) for each in asked]

    def _request(self, picture: Picture, prompt: Prompt) -> Request | Failed:
        try:
            sent = images.encode(images.at_most(picture.image, self.side))
        except images.DECODING as error:
            return Failed(images.undecodable(error))
        question = self.template.of_critic(prompt.text)
        return Request(question, (sent,), self.template.system.strip(), None, self.max_tokens, seed=self.seed)

    def _read(self, answer: Answer | NoAnswer) -> Critique | Failed:
        if isinstance(answer, NoAnswer):
            return Failed(answer.reason)
        said = reading.critique(answer.text)
        if isinstance(said, Failed):
            return said
        server = self.client.server
        model = {"model": server.model} | ({"revision": server.revision} if server.revision else {})
        return Critique(said, made_by={"critic": "openai", **model, "template": self.template.name})
