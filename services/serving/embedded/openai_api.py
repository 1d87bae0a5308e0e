"""The parts of OpenAI's chat and completion interfaces that the engine supports."""

import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.serving.embedded.model_process import GenerationTask
from services.serving.registry import ServedEntry
from services.serving.settings import EmbeddedEngineSettings
from shared.errors import InvalidInputError

ZeroOnly = Annotated[float, Field(ge=0, le=0)]
PromptText = Annotated[str, Field(min_length=1)]


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    def as_turn(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        # `developer` is OpenAI's newer name for the same role
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


class SamplingRequest(BaseModel):
    """The fields of both interfaces. Fields that the engine does not support must have their neutral value."""

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

    def task_fields(
        self, entry: ServedEntry, settings: EmbeddedEngineSettings, max_tokens: int | None
    ) -> dict[str, Any]:
        if self.n > settings.max_sequences:
            raise InvalidInputError(
                f"n is {self.n} and the engine writes at most {settings.max_sequences} answers at once."
            )
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return {
            "model": entry.model,
            "reference": entry.reference,
            "n": self.n,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": max_tokens or settings.default_max_tokens,
            "seed": secrets.randbits(62) if self.seed is None else self.seed,
            "stop": [stop for stop in stops if stop],
            "stream": self.stream,
        }


class ChatRequest(SamplingRequest):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    response_format: ResponseFormat | None = None
    logprobs: Literal[False] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None

    def tasks(self, entry: ServedEntry, settings: EmbeddedEngineSettings) -> list[GenerationTask]:
        shared = self.task_fields(entry, settings, self.max_completion_tokens or self.max_tokens)
        return [GenerationTask(messages=[message.as_turn() for message in self.messages], **shared)]


class CompletionRequest(SamplingRequest):
    """A completion request: one prompt, or several that are answered together."""

    prompt: str | Annotated[list[PromptText], Field(min_length=1, max_length=64)]
    echo: Literal[False] | None = None
    suffix: None = None
    logprobs: None = None
    best_of: Literal[1] | None = None

    def tasks(self, entry: ServedEntry, settings: EmbeddedEngineSettings) -> list[GenerationTask]:
        """One task per prompt. Raises InvalidInputError for what the engine cannot do."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if self.stream and len(prompts) > 1:
            raise InvalidInputError("A stream carries one prompt: send one, or several without stream.")
        shared = self.task_fields(entry, settings, self.max_tokens)
        return [GenerationTask(messages=[], prompt=prompt, **shared) for prompt in prompts]


def usage(done: dict[str, Any]) -> dict[str, int]:
    prompt, written = done["prompt_tokens"], done["completion_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


class ChatEnvelope:
    """Builds the objects of one chat completion, which share id, time and model name."""

    prefix, whole, part = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: str) -> None:
        self._common = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def completion(self, done: dict[str, Any]) -> dict[str, Any]:
        choices = [
            {
                "index": one["index"],
                **self.text_fields(one["text"]),
                "logprobs": None,
                "finish_reason": one["finish_reason"],
            }
            for one in done["choices"]
        ]
        return {**self._common, "object": self.whole, "choices": choices, "usage": usage(done)}

    def chunk(self, index: int, text: str | None, finish: str | None = None, *, first: bool = False) -> dict[str, Any]:
        choice = {"index": index, **self.delta_fields(text, first), "logprobs": None, "finish_reason": finish}
        return {**self._common, "object": self.part, "choices": [choice]}

    def usage_chunk(self, done: dict[str, Any]) -> dict[str, Any]:
        return {**self._common, "object": self.part, "choices": [], "usage": usage(done)}

    def opening(self, count: int) -> list[dict[str, Any]]:
        return [self.chunk(index, "", first=True) for index in range(count)]

    def text_fields(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def delta_fields(self, text: str | None, first: bool) -> dict[str, Any]:
        role = {"role": "assistant"} if first else {}
        return {"delta": {**role, **({} if text is None else {"content": text})}}


class CompletionEnvelope(ChatEnvelope):
    """Builds the objects of a text completion."""

    prefix, whole, part = "cmpl", "text_completion", "text_completion"

    def opening(self, count: int) -> list[dict[str, Any]]:
        return []

    def text_fields(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def delta_fields(self, text: str | None, first: bool) -> dict[str, Any]:
        return {"text": text or ""}
