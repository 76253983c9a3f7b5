"""The one client for OpenAI-compatible servers: vLLM, SGLang, Ollama, llama.cpp's server, OpenAI itself.

What may go wrong is sorted into two kinds, because scores are kept for ever:

- the *answer* is no use: refused, empty, cut at its length. Asked again, the same would come (temperature 0), so that it is a
  value with a reason, :class:`NoAnswer`;
- the *server* cannot be used: unreachable, overloaded longer than retries last, a wrong key. That is no property of a
  picture: it is a :class:`ServerError`, nothing is written, and the same command goes on later.

Retries (408, 409, 429, 5xx, time-outs, broken connections, with ``Retry-After``) are the ``openai`` package's. Answers are
cached on disk by the content of what was asked, so that a rerun costs nothing. The key is read from the environment; it is not
part of any fingerprint, cache entry or message.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright import caches
from pairwright.errors import Explained
from pairwright.store import write_json

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

FORMAT = 1
"""Version of the cache's entries; part of every key."""
KEY_FROM = "OPENAI_API_KEY"
NO_KEY = "none"
"""What is sent where no key is set: local servers want the header and do not read it."""
BROKEN = 8
"""So many requests in a row that end in 500 are no property of their pictures."""
SAID = 300
"""Characters of a server's own words that are passed on."""
FEATURES: Mapping[str, tuple[str, ...]] = {
    "response_format": ("response_format", "json_schema", "schema", "structured output", "grammar", "guided"),
    "max_tokens": ("max_completion_tokens",),
    "temperature": ("temperature",),
    "seed": ("seed",),
}
"""What not every server has, and the words in which it says so; it is then asked without."""
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_ADDRESS = re.compile(r"https?://[^\s@/]+(/[^\s@]*)?")
_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"RIFF", "webp"), (b"GIF8", "gif"))


class ServerError(Explained, RuntimeError):
    """A server that cannot be used now; what it has answered so far is kept."""


class _NotTheProtocolError(Exception):
    """A reply that is not a chat completion."""


@dataclass(frozen=True)
class Request:
    """One question. Everything in it is part of the cache's key."""

    text: str
    images: tuple[bytes, ...] = ()
    """Encoded pictures (PNG or JPEG), which come before the text."""
    system: str = ""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, for servers that have structured output; others are asked without."""
    max_tokens: int = 300
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    tokens: int = 0
    """Of question and answer, as the server counts them."""


@dataclass(frozen=True)
class NoAnswer:
    """An answer that is none."""

    reason: str
    final: bool = True
    """Asked again it would be the same, so that it is kept as answers are."""


@dataclass(frozen=True)
class Server:
    """A model behind an address.

    Raises:
        ServerError: an address with a password in it, or a name of a variable that looks like a key.
    """

    model: str
    """As the server calls it."""
    address: str = ""
    """Base URL, ``http://localhost:8000/v1``; default: ``OPENAI_BASE_URL``, else OpenAI's own."""
    key_from: str = KEY_FROM
    """Environment variable that holds the key."""
    revision: str = ""
    """Names the weights behind the model's name, which no server says; part of the cache's key."""
    concurrent: int = 16
    """Requests at once."""
    retries: int = 5
    """Of requests that failed for no fault of their own; waits grow from half a second to 8."""
    timeout: float = 120.0
    """Seconds for one attempt."""
    cache: Path | None = field(default_factory=lambda: caches.folder("answers"))
    """Folder of answers; None: nothing is kept."""

    def __post_init__(self) -> None:
        """Keys stay where they belong."""
        if said := mistake(self.address, self.key_from):
            raise ServerError(said)


def mistake(address: str, key_from: str) -> str | None:
    """What cannot be right of a server's address and of the variable that holds the key; neither is repeated.

    Args:
        address: empty where the environment says it.
        key_from: as :class:`Server` has it.
    """
    if not _VARIABLE.fullmatch(key_from):
        return "key_from is the name of an environment variable (capitals, digits, _) that holds the key, not the key"
    if address and not _ADDRESS.fullmatch(address):
        return "the server's address must be like http://localhost:8000/v1, without user or password"
    return None


class Client:
    """Asks a server. Safe to use from several threads."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._without: set[str] = set()
        """Features of the protocol that this server has refused; see :data:`FEATURES`."""
        self._failed = 0
        """Requests in a row that ended in 500."""

    @cached_property
    def _api(self) -> OpenAI:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ServerError("a model behind a server needs the openai package: pip install 'pairwright[openai]'") from error
        return OpenAI(
            api_key=self._key or NO_KEY,
            base_url=self.server.address or None,
            max_retries=self.server.retries,
            timeout=self.server.timeout,
        )

    @property
    def _key(self) -> str:
        return os.environ.get(self.server.key_from, "")

    def ask(self, requests: Sequence[Request]) -> list[Answer | NoAnswer]:
        """One answer per request, in order; those in the cache are not asked again, equal ones once.

        Raises:
            ServerError: the server cannot be used. What it has answered is in the cache.
        """
        keys = [key(each, self.server) for each in requests]
        found: dict[str, Answer | NoAnswer] = {}
        for name in dict.fromkeys(keys):
            kept = self._kept(name)
            if kept is not None:
                found[name] = kept
        new = {name: request for name, request in zip(keys, requests, strict=True) if name not in found}
        if new:
            with ThreadPoolExecutor(min(self.server.concurrent, len(new)), "ask") as pool:
                waiting = {name: pool.submit(self._new, name, request) for name, request in new.items()}
                try:
                    found |= {name: each.result() for name, each in waiting.items()}
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        return [found[name] for name in keys]

    def _new(self, name: str, request: Request) -> Answer | NoAnswer:
        answer = self._asked(request)
        if self.server.cache is not None and (isinstance(answer, Answer) or answer.final):
            kept = {"answer": answer.text, "tokens": answer.tokens} if isinstance(answer, Answer) else {"none": answer.reason}
            write_json(_file(self.server.cache, name), {"model": self.server.model, **kept})
        return answer

    def _kept(self, name: str) -> Answer | NoAnswer | None:
        if self.server.cache is None:
            return None
        try:
            entry = json.loads(_file(self.server.cache, name).read_text(encoding="utf-8"))
            return NoAnswer(entry["none"]) if "none" in entry else Answer(entry["answer"], entry["tokens"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: asked again

    def _asked(self, request: Request) -> Answer | NoAnswer:
        import openai

        without = frozenset(self._without)
        try:
            answer = self._complete(request, without)
        except openai.APITimeoutError:
            raise ServerError(self._said(f"did not answer within {self.server.timeout:g} s, asked {self._times}")) from None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            raise ServerError(self._said(f"cannot be reached or broke off, asked {self._times} ({cause})")) from None
        except openai.APIStatusError as error:
            unknown = _unknown(error) - without if error.status_code in {400, 404, 415, 422, 501} else set()
            if unknown:
                self._without |= unknown
                return self._asked(request)
            return self._refused(error)
        self._failed = 0
        return answer

    def _complete(self, request: Request, without: frozenset[str]) -> Answer | NoAnswer:
        """Ask; a reply that is not the protocol's (half a document, a proxy's page) is asked for again as a failure is."""
        for _ in range(self.server.retries + 1):
            try:
                return _read(self._send(request, without), request)
            except (_NotTheProtocolError, ValueError, KeyError, TypeError, AttributeError):
                continue
        raise ServerError(self._said(f"sent something that is no answer of an OpenAI-compatible server, asked {self._times}"))

    def _send(self, request: Request, without: frozenset[str]) -> ChatCompletion:
        extra: dict[str, Any] = {"temperature": request.temperature, "seed": request.seed, "max_tokens": request.max_tokens}
        if "max_tokens" in without:
            extra["max_completion_tokens"] = request.max_tokens  # the name that reasoning models insist on
        if request.schema is not None:
            said = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            extra["response_format"] = {"type": "json_schema", "json_schema": said}
        kept = {name: value for name, value in extra.items() if name not in without}
        found: ChatCompletion = self._api.chat.completions.create(model=self.server.model, messages=_messages(request), **kept)
        return found

    def _refused(self, error: Any) -> NoAnswer:
        """A status that is not 200. What lies with the request is an answer of a kind; everything else is an error."""
        status, said = error.status_code, self._clean(_words(error))
        if status in {401, 403}:
            what = f"does not accept the key in {self.server.key_from} ({status}): {said}"
            raise ServerError(self._said(what, "Set the key, and")) from None
        if status == 404:
            what = f"has no model {self.server.model!r} or is no such server (404): {said}"
            raise ServerError(self._said(what, "Set served_model and server, and")) from None
        self._failed = self._failed + 1 if status == 500 else 0
        if self._failed >= BROKEN:
            raise ServerError(self._said(f"failed at {BROKEN} requests in a row, each asked {self._times} (500): {said}")) from None
        if status in {400, 413, 415, 422, 500}:  # 500 after all retries, while it still speaks: this picture is too much for it
            return NoAnswer(f"the server refused the request ({status}): {said}", final=False)
        raise ServerError(self._said(f"is overloaded or out of order ({status}), asked {self._times}: {said}")) from None

    def _said(self, what: str, first: str = "See to it, and") -> str:
        where = self.server.address or os.environ.get("OPENAI_BASE_URL") or "OpenAI"
        text = f"{self.server.model} at {where} {what.rstrip('.')}. {first} run the same command again: what was answered is kept"
        return self._clean(text)

    @property
    def _times(self) -> str:
        return f"{self.server.retries + 1} times" if self.server.retries else "once"

    def _clean(self, text: str) -> str:
        """Without the key: servers repeat it when they refuse it."""
        return text.replace(self._key, "***") if self._key else text


def key(request: Request, server: Server) -> str:
    """What an answer is kept under: pictures, words, model and parameters; not where the server is."""
    said = {
        "format": FORMAT,
        "model": server.model,
        "revision": server.revision,
        "images": [hashlib.sha256(each).hexdigest() for each in request.images],
        "text": request.text,
        "system": request.system,
        "schema": request.schema,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def objects(text: str) -> list[dict[str, Any]]:
    """Every JSON object in a text, outermost ones only: models wrap them in words, fences and thoughts."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while (start := text.find("{", place)) >= 0:
        try:
            value, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _file(cache: Path, name: str) -> Path:
    return cache / name[:2] / f"{name}.json"


def _messages(request: Request) -> list[Any]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": _data_url(each)}} for each in request.images]
    question = {"role": "user", "content": [*parts, {"type": "text", "text": request.text}]}
    return [{"role": "system", "content": request.system}, question] if request.system else [question]


def _data_url(image: bytes) -> str:
    kind = next((kind for head, kind in _TYPES if image.startswith(head)), "png")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _read(completion: Any, request: Request) -> Answer | NoAnswer:
    choices = getattr(completion, "choices", None)
    if not choices:
        raise _NotTheProtocolError
    message, finish = choices[0].message, choices[0].finish_reason
    refusal = getattr(message, "refusal", None)
    if refusal or finish == "content_filter":
        return NoAnswer(f"the model refused: {str(refusal or 'content filter')[:SAID]}")
    if finish == "length":  # the same question would be cut at the same place
        return NoAnswer(f"the answer was cut at {request.max_tokens} tokens")
    text = message.content if isinstance(message.content, str) else ""
    if not text.strip():
        return NoAnswer("the answer was empty")
    return Answer(text, getattr(completion.usage, "total_tokens", 0) or 0)


def _unknown(error: Any) -> set[str]:
    """Features that a refusal speaks of."""
    said = _words(error).lower()
    return {name for name, words in FEATURES.items() if any(word in said for word in words)}


def _words(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    text = body.get("message") or error.message
    return " ".join(str(text).split())[:SAID]
