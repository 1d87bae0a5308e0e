"""The replay cache: a paid answer is stored before anyone sees it, and is never bought again."""

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import NotFoundError, SenseError, UnavailableError
from shared.llm.messages import ChatRequest
from shared.logging import get_logger
from shared.storage.base import ObjectStore
from shared.storage.keys import answer_key

HASH_VERSION = 1
RECORD_PATIENCE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0
log = get_logger()


class RecordedAnswer(BaseModel):
    """What the object holds: the request as asked, and the answer as it came.

    `left_out` are parameters of the request that the server does not take, so that it was asked without them.
    """

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
    left_out: list[str] = Field(default_factory=list)

    def encoded(self) -> bytes:
        """As it is stored: without what an older version would not know, where there is nothing of it."""
        return self.model_dump_json(exclude=None if self.left_out else {"left_out"}).encode()


def answer_hash(endpoint: str, request: ChatRequest, changes: Mapping[str, Any] | None = None) -> str:
    """SHA-256 (hex) over canonical JSON of endpoint name, model, parameters, messages, slot and try, and of what the
    endpoint's profile changes."""
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
    """Recorded answers in the object store. Once `abort` is set, a store that takes no answer is not waited for."""

    def __init__(self, store: ObjectStore, abort: threading.Event | None = None) -> None:
        self.store = store
        self.abort = abort or threading.Event()

    def find(self, hashed: str) -> RecordedAnswer | None:
        """None when nothing is recorded. A damaged record raises, since buying again would hide the damage."""
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
        """Stores the answer durably and gives its object key.

        It is paid: a store that is full or away gets it again and again for a while, and until then nothing more is
        bought in its place.
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
