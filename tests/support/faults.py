"""What a test server does wrong, planned by a seed."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """One way in which an endpoint fails a call."""

    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    RESET = "reset"
    STALL = "stall"
    TRICKLE = "trickle"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    HTML = "html"
    EMPTY_CHOICES = "empty_choices"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"


@dataclass
class FaultPlan:
    """`first` are the faults of the first calls, in order of arrival (None: no fault); after them, `rates` decide.

    A rate's draw depends on the seed, the request and how often it was asked, never on the order of arrival.
    A request fails at most `at_most` times by rates, so that a patient client always gets through.
    """

    first: Sequence[Fault | None] = ()
    rates: Mapping[Fault, float] = field(default_factory=dict)
    seed: int = 0
    at_most: int = 3
    retry_after: str = "0"

    def draw(self, arrival: int, request_hash: str, asked_before: int) -> Fault | None:
        if arrival < len(self.first):
            return self.first[arrival]
        if asked_before >= self.at_most:
            return None
        material = f"{self.seed}/{request_hash}/{asked_before}".encode()
        rng = random.Random(int.from_bytes(hashlib.sha256(material).digest()[:8], "big"))
        point = rng.random()
        for fault, rate in sorted(self.rates.items()):
            if point < rate:
                return fault
            point -= rate
        return None
