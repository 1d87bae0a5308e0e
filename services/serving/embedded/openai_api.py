"""The shapes of the OpenAI chat interface, as far as the engine speaks it."""

import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.serving.embedded.settings import EngineSettings
from services.serving.embedded.wire import ChatTask
from services.serving.protocol import ServedModel
from shared.errors import InvalidInputError

Zero = Annotated[float, Field(ge=0, le=0)]


class TextPart(BaseModel):
    """One part of a message's content; the model reads text only."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A turn of the conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    """Whether the last chunk of a stream carries usage counts."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class ResponseFormat(BaseModel):
    """Plain text is the only format."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


class ChatRequest(BaseModel):
    """A request as clients send it. Fields the engine has no use for are taken only at their neutral value."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logprobs: Literal[False] | None = None
    user: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None

    def task(self, model: ServedModel, settings: EngineSettings) -> ChatTask:
        """Raises InvalidInputError for what the engine cannot do."""
        if self.n > settings.rows:
            raise InvalidInputError(f"n is {self.n} and the engine writes at most {settings.rows} answers at once.")
        if self.stream and self.n > 1:
            raise InvalidInputError("A stream carries one answer: ask for n=1, or without stream.")
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return ChatTask(
            model=model,
            messages=[message.plain() for message in self.messages],
            n=self.n,
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens or settings.default_max_tokens,
            seed=secrets.randbits(62) if self.seed is None else self.seed,
            stop=[stop for stop in stops if stop],
            stream=self.stream,
        )


def error_body(message: str, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def first_fault(error: ValidationError) -> tuple[str, str]:
    """The field and a sentence for the first thing wrong with a request."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "body"
    return where, f"The field '{where}' cannot be used: {fault['msg']}."


def usage(done: dict[str, Any]) -> dict[str, int]:
    prompt, written = done["prompt_tokens"], done["completion_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


class Envelope:
    """What all objects of one answer carry: id, time and model name."""

    def __init__(self, model: str) -> None:
        self._common = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def completion(self, done: dict[str, Any]) -> dict[str, Any]:
        choices = [
            {
                "index": choice["index"],
                "message": {"role": "assistant", "content": choice["text"], "refusal": None},
                "logprobs": None,
                "finish_reason": choice["finish_reason"],
            }
            for choice in done["choices"]
        ]
        return {**self._common, "object": "chat.completion", "choices": choices, "usage": usage(done)}

    def chunk(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, done: dict[str, Any]) -> dict[str, Any]:
        return {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": usage(done)}
