"""What callers give to a model and get back."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.contracts.records import Message


class ChatRequest(BaseModel):
    """One call. `n` samples come back from it; `slot` and `try_number` tell apart calls that are otherwise equal.

    None for a sampling parameter leaves it to the endpoint. `max_tokens` bounds each sample, so that a
    budget can know the worst case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    max_tokens: int = Field(default=1024, ge=1)
    seed: int | None = None
    n: int = Field(default=1, ge=1)
    slot: int = Field(default=0, ge=0)
    try_number: int = Field(default=0, ge=0)

    @field_validator("messages")
    @classmethod
    def _check_unicode(cls, messages: list[Message]) -> list[Message]:
        """Half a surrogate pair cannot be sent or recorded; it must not be found out after the call is paid."""
        for message in messages:
            message.content.encode()
        return messages


class ChatAnswer(BaseModel):
    """`texts` and `finish_reasons` in the order of the samples; `seconds` is the time of the call that was paid.

    `left_out`: parameters that the endpoint does not take, so that it was asked without them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: list[str]
    finish_reasons: list[str]
    prompt_tokens: int
    completion_tokens: int
    key: str = Field(description="object key of the recorded answer")
    cached: bool
    seconds: float
    left_out: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Usage:
    """One answer's cost. Cached answers cost nothing now: their tokens are zero. `usd` is None without prices."""

    endpoint: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    cached: bool
    seconds: float


UsageCallback = Callable[[Usage], None]
