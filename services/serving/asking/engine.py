"""The engine as the question answerer calls it: OpenAI's chat interface, asynchronously."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from shared.contracts.records import Message
from shared.errors import InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.llm.responses import read_choice

TOO_LONG = "context_length_exceeded"
ERRORS: dict[int, type[SenseError]] = {400: InvalidInputError, 404: NotFoundError, 422: InvalidInputError}


@dataclass(frozen=True)
class Written:
    """A model's answers to one prompt, and what they cost in tokens; `cut_off` of them ended at their bound."""

    texts: list[str]
    prompt_tokens: int
    completion_tokens: int
    cut_off: int = 0


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    n: int
    temperature: float
    seed: int
    max_tokens: int


@dataclass(frozen=True)
class Listed:
    """A served model, and since when (seconds since 1970)."""

    id: str
    created: int


class ChatEngine:
    """One engine at `url`, without /v1."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http, self._url = http, url.rstrip("/")

    async def models(self) -> list[Listed]:
        """What is served. Raises UnavailableError."""
        answer = await self._call("GET", "/v1/models", None)
        return [Listed(str(one["id"]), int(one.get("created") or 0)) for one in answer["data"]]

    async def write(self, model: str, messages: Sequence[Message], how: Sampling) -> Written:
        """Raises NotFoundError (not served), InvalidInputError (code context_length_exceeded), UnavailableError."""
        body = {
            "model": model,
            "messages": [message.model_dump() for message in messages],
            **{"n": how.n, "temperature": how.temperature, "seed": how.seed, "max_tokens": how.max_tokens},
        }
        answer = await self._call("POST", "/v1/chat/completions", body)
        try:
            said = [read_choice(choice, place) for place, choice in enumerate(answer["choices"])]
            usage = answer.get("usage") or {}
            prompt, written = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
            cut_off = sum(one.finish_reason == "length" for one in said)
            return Written([one.text for one in said], prompt, written, cut_off)
        except (KeyError, TypeError, ValueError) as error:
            raise UnavailableError(f"the engine gave no answer for {model} that can be read", code="engine") from error

    async def _call(self, method: str, path: str, body: object) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, self._url + path, json=body)
            said: dict[str, Any] = answer.json()
        except httpx.HTTPError as error:
            message = f"the engine at {self._url} does not answer ({type(error).__name__}); see: sense status"
            raise UnavailableError(message, code="engine_unavailable") from error
        except ValueError as error:
            raise UnavailableError(f"the engine at {self._url} answered {answer.status_code} without JSON") from error
        if answer.is_error:
            raise refusal(answer.status_code, said)
        return said


def refusal(status: int, said: object) -> SenseError:
    """The engine's error as ours; what its code and sentence say of length becomes one code."""
    error = said.get("error") if isinstance(said, dict) else None
    error = error if isinstance(error, dict) else {}
    message = str(error.get("message") or f"the engine answered {status} without saying why")
    code = str(error.get("code") or "engine_error")
    if code == TOO_LONG or "context length" in message or "max_model_len" in message:
        return InvalidInputError(message, code=TOO_LONG)
    kind = ERRORS.get(status, UnavailableError)
    return kind(message, code="model_not_found" if status == 404 else code if not code.isdigit() else "engine_error")
