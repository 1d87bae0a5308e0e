"""What callers send to a model and get back, and the log of recorded answers: a paid answer is never bought again."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from shared.contracts.records import Message
from shared.errors import NotFoundError, SenseError, UnavailableError
from shared.logging import get_logger
from shared.storage.keys import answer_key
from shared.storage.store import ObjectStore


class ChatRequest(BaseModel):
    """One call for `n` samples; `slot` and `try_number` distinguish calls that are otherwise equal.

    None leaves a sampling parameter to the endpoint. `max_tokens` bounds each sample, so that a budget knows the worst
    case.
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
        """Half a surrogate pair can be neither sent nor recorded; this must show before the call is paid."""
        for message in messages:
            message.content.encode()
        return messages


class ChatAnswer(BaseModel):
    """`texts` and `finish_reasons` in the order of the samples; `seconds` is the duration of the paid call.

    `omitted`: parameters that the endpoint does not accept and that were left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: list[str]
    finish_reasons: list[str]
    prompt_tokens: int
    completion_tokens: int
    key: str = Field(description="object key of the recorded answer")
    cached: bool
    seconds: float
    omitted: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Usage:
    """The cost of one answer; a recorded one costs nothing now: its tokens are zero. `usd` is None without prices."""

    endpoint: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    cached: bool
    seconds: float


UsageCallback = Callable[[Usage], None]


HASH_VERSION = 1
RECORD_PATIENCE_S = 60.0  # how long a paid answer waits for a store that is full or down
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
log = get_logger()


class RecordedAnswer(BaseModel):
    """What the object holds: the request as sent, and the answer as received."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = HASH_VERSION
    endpoint: str
    request: ChatRequest
    served_model: str | None
    texts: list[str]
    finish_reasons: list[str]
    prompt_tokens: int
    completion_tokens: int
    usage_reported: bool
    seconds: float
    omitted: list[str] = Field(default_factory=list)

    def encoded(self) -> bytes:
        """The stored bytes; without `omitted` if it is empty."""
        return self.model_dump_json(exclude=None if self.omitted else {"omitted"}).encode()


def answer_hash(endpoint: str, request: ChatRequest, changes: Mapping[str, Any] | None = None) -> str:
    """SHA-256 (hex) of canonical JSON: endpoint name, request, and what the endpoint's profile changes."""
    content: dict[str, Any] = {
        "version": HASH_VERSION,
        "endpoint": endpoint,
        "request": request.model_dump(mode="json"),
    }
    if changes:
        content["changes"] = changes
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class AnswerLog:
    """Recorded answers in the object store. `abort` ends the wait for a store that accepts nothing."""

    def __init__(self, store: ObjectStore, abort: threading.Event | None = None) -> None:
        self.store = store
        self.abort = abort or threading.Event()

    def find(self, hashed: str) -> RecordedAnswer | None:
        """Raises `SenseError` for a damaged record: buying the answer again would hide the damage."""
        key = answer_key(hashed)
        try:
            return RecordedAnswer.model_validate_json(self.store.get(key))
        except NotFoundError:
            return None
        except ValidationError:
            raise SenseError(
                f"the recorded answer {key} is damaged; delete the object to buy the answer again",
                code="corrupt_object",
            ) from None

    def record(self, hashed: str, answer: RecordedAnswer) -> str:
        """Stores the answer and returns its object key.

        The answer is paid: while the store is full or down this retries, and nothing more is bought meanwhile.
        """
        key, data = answer_key(hashed), answer.encoded()
        ends, pause = time.monotonic() + RECORD_PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                return self.store.put(key, data).key
            except UnavailableError as error:
                if self.abort.is_set() or time.monotonic() >= ends:
                    raise
                log.warning("llm.answer_not_stored", key=key, error=error.message)
            self.abort.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
