"""Connections to Redis whose failures are the product's own errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared.errors import UnavailableError
from shared.settings import RedisSettings

# redis-py types every answer as bytes | str, whatever decode_responses says; the store's own methods are typed.
Client = Any


def connect_redis(settings: RedisSettings) -> Client:
    """A client that speaks text and tries a lost connection again for about three seconds."""
    return redis.Redis.from_url(
        settings.url.get_secret_value(),
        decode_responses=True,
        encoding_errors="replace",  # one value that is no text must not fail the answer about all others
        socket_keepalive=True,
        socket_timeout=15,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), retries=5),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
    )


@contextmanager
def redis_errors() -> Iterator[None]:
    """Redis's own exceptions become `UnavailableError`, with the remedy."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise UnavailableError(f"Redis does not answer ({error}); is the stack up? try: sense status") from error
    except redis.ResponseError as error:
        if "OOM" in str(error) or "MISCONF" in str(error):
            raise UnavailableError(f"Redis takes no writes ({error}); free memory or disk on its machine") from error
        raise
