"""Connections to Redis that raise `UnavailableError` where redis-py raises errors of its classes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.client import Pipeline
from redis.retry import Retry

from shared.errors import UnavailableError
from shared.settings import RedisSettings

# redis-py types every answer as bytes | str, whatever decode_responses says, so the client is untyped; the methods of
# the job store are typed.
RedisClient = Any

# Answers that do not mean that the command is wrong: this server or its replacement will run it later. The word comes
# first in an answer, but may stand inside the error of a script.
RETRY_LATER_REASONS = {
    "LOADING": "it still reads its data",
    "BUSY": "another script runs",
    "READONLY": "it is a replica, or a failover is under way",
    "MASTERDOWN": "its master is away",
    "TRYAGAIN": "its slots are being moved",
    "CLUSTERDOWN": "its cluster is not whole",
    "NOREPLICAS": "too few replicas follow it",
    "NOMASTERLINK": "its master is away",
    "UNKILLABLE": "another script runs",
    "OOM": "it takes no writes: free memory on its machine, or raise maxmemory",
    "MISCONF": "it takes no writes: free disk space on its machine",
    "NOAUTH": "it wants a password; has it been started anew?",
    "WRONGPASS": "it refuses the password; has it been started anew?",
}
REASON_WORD = re.compile(rf"(?:^|[\s:-])({'|'.join(RETRY_LATER_REASONS)})\b")
# redis-py has classes for these; the client itself tries them again, like a lost connection.
RETRIED_ERRORS: list[type[redis.RedisError]] = [
    redis.ConnectionError,
    redis.TimeoutError,
    redis.BusyLoadingError,
    redis.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
]


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turns exceptions of Redis into `UnavailableError` wherever trying again can help."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
        if (found := as_unavailable(error)) is None:
            raise
        raise found from error


def as_unavailable(error: redis.RedisError) -> UnavailableError | None:
    """Returns None if the command itself is wrong, and not the server or the connection."""
    told = type(error).__name__ if not str(error) else str(error)
    if word := reason_word(error):
        return UnavailableError(f"Redis says try again later ({told[:200]}): {RETRY_LATER_REASONS[word]}")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return UnavailableError(f"Redis does not answer ({told[:200]}); is the stack up? try: sense status")
    return None


REASON_BY_CLASS = {
    redis.BusyLoadingError: "LOADING",
    redis.ReadOnlyError: "READONLY",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.OutOfMemoryError: "OOM",
}


def reason_word(error: redis.RedisError) -> str | None:
    """The code of an answer that means "later". redis-py removes it from messages that it has a class for."""
    for known, word in REASON_BY_CLASS.items():
        if isinstance(error, known):
            return word
    if not isinstance(error, redis.ResponseError | redis.AuthenticationError):
        return None
    found = REASON_WORD.search(str(error)[:500])
    return found[1] if found else None


class TranslatingPipeline(Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with redis_errors():
            return list(super().execute(raise_on_error))


class TranslatingRedis(redis.Redis):
    """A client whose commands all raise `UnavailableError` instead of redis-py's errors where a retry can help."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with redis_errors():
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        return TranslatingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def connect_redis(settings: RedisSettings, *, timeout_s: float = 15.0, retries: int = 5) -> RedisClient:
    """With five retries, the client tries a lost connection again for about three seconds."""
    return TranslatingRedis.from_url(
        settings.url.get_secret_value(),
        decode_responses=True,
        encoding_errors="replace",  # one value that is not text must not fail a whole answer
        socket_keepalive=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), retries=retries),
        retry_on_error=list(RETRIED_ERRORS),
    )
