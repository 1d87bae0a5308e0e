"""The shapes of the OpenAI chat and completion interfaces, as far as the engine speaks them."""

import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.serving.embedded.model_process import GenerationTask
from services.serving.registry import ServedEntry
from services.serving.settings import EmbeddedEngineSettings
from shared.errors import InvalidInputError

ZeroOnly = Annotated[float, Field(ge=0, le=0)]
PromptText = Annotated[str, Field(min_length=1)]


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


class SamplingRequest(BaseModel):
    """What both interfaces share. Fields the engine has no use for are taken only at their neutral value."""

    model_config = ConfigDict(extra="forbid")

    model: str
    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    presence_penalty: ZeroOnly | None = None
    frequency_penalty: ZeroOnly | None = None
    user: str | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def drawn(self, entry: ServedEntry, settings: EmbeddedEngineSettings, most: int | None) -> dict[str, Any]:
        """The task's fields that both interfaces fill the same way. Raises InvalidInputError."""
        if self.n > settings.rows:
            raise InvalidInputError(f"n is {self.n} and the engine writes at most {settings.rows} answers at once.")
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return {
            "model": entry.model,
            "reference": entry.reference,
            "n": self.n,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": most or settings.default_max_tokens,
            "seed": secrets.randbits(62) if self.seed is None else self.seed,
            "stop": [stop for stop in stops if stop],
            "stream": self.stream,
        }


class ChatRequest(SamplingRequest):
    """A chat request as clients send it."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: ResponseFormat | None = None
    logprobs: Literal[False] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None

    def tasks(self, entry: ServedEntry, settings: EmbeddedEngineSettings) -> list[GenerationTask]:
        """One task. Raises InvalidInputError for what the engine cannot do."""
        shared = self.drawn(entry, settings, self.max_completion_tokens or self.max_tokens)
        return [GenerationTask(messages=[message.plain() for message in self.messages], **shared)]


class CompletionRequest(SamplingRequest):
    """A completion request: one prompt, or several that are answered together."""

    prompt: str | Annotated[list[PromptText], Field(min_length=1, max_length=64)]
    echo: Literal[False] | None = None
    suffix: None = None
    logprobs: None = None
    best_of: Literal[1] | None = None

    def tasks(self, entry: ServedEntry, settings: EmbeddedEngineSettings) -> list[GenerationTask]:
        """One task a prompt. Raises InvalidInputError for what the engine cannot do."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if self.stream and len(prompts) > 1:
            raise InvalidInputError("A stream carries one prompt: send one, or several without stream.")
        shared = self.drawn(entry, settings, self.max_tokens)
        return [GenerationTask(messages=[], prompt=prompt, **shared) for prompt in prompts]


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


class ChatEnvelope:
    """What all objects of one answer carry: id, time and model name. The form is that of chat completions."""

    prefix, whole, part = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: str) -> None:
        self._common = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def completion(self, done: dict[str, Any]) -> dict[str, Any]:
        choices = [
            {"index": one["index"], **self.said(one["text"]), "logprobs": None, "finish_reason": one["finish_reason"]}
            for one in done["choices"]
        ]
        return {**self._common, "object": self.whole, "choices": choices, "usage": usage(done)}

    def chunk(self, index: int, text: str | None, finish: str | None = None, *, first: bool = False) -> dict[str, Any]:
        choice = {"index": index, **self.added(text, first), "logprobs": None, "finish_reason": finish}
        return {**self._common, "object": self.part, "choices": [choice]}

    def usage_chunk(self, done: dict[str, Any]) -> dict[str, Any]:
        return {**self._common, "object": self.part, "choices": [], "usage": usage(done)}

    def opening(self, count: int) -> list[dict[str, Any]]:
        """What a stream says before any text."""
        return [self.chunk(index, "", first=True) for index in range(count)]

    def said(self, text: str) -> dict[str, Any]:
        """The part of a choice that holds its text."""
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def added(self, text: str | None, first: bool) -> dict[str, Any]:
        """The same in a stream."""
        role = {"role": "assistant"} if first else {}
        return {"delta": {**role, **({} if text is None else {"content": text})}}


class CompletionEnvelope(ChatEnvelope):
    """The same in the form of completions."""

    prefix, whole, part = "cmpl", "text_completion", "text_completion"

    def opening(self, count: int) -> list[dict[str, Any]]:
        return []

    def said(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def added(self, text: str | None, first: bool) -> dict[str, Any]:
        return {"text": text or ""}
