"""The Celery app of every worker. A message is a hint: rows are written first, and a claim decides.

Results are off, acks are early, nothing is prefetched: redelivery, retries and fan-in belong to the job store.
The measurements behind each value are in docs/decisions/0002-delivery.md.
"""

from queue import Empty
from typing import Any

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from shared.contracts.base import Queue
from shared.contracts.registry import CONTRACTS
from shared.logging import get_logger
from shared.settings import RedisSettings

QUEUE_PREFIX = "celery:"
log = get_logger()


class Channel(kombu_redis.Channel):
    """Kombu's, but a list's entry that is no message is dropped; there it ends the worker, and the tasks it runs."""

    def _brpop_read(self, **options: Any) -> Any:
        known = set(self.qos._delivered or ())
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.error("message.unreadable", error=f"{type(error).__name__}: {error}"[:300])
            for tag in (
                set(self.qos._delivered or ()) - known
            ):  # one that Celery stumbled over counts as being worked on
                self.basic_reject(tag, requeue=False)
            raise Empty from error


class Transport(kombu_redis.Transport):
    """Kombu's Redis transport with that channel."""

    Channel = Channel


# by the scheme's own names: Flower and Celery read what a broker is off its address
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))


def make_app() -> Celery:
    """A configured app; tasks are routed by their contract."""
    settings = RedisSettings()
    app = Celery("sense", broker=settings.url.get_secret_value(), set_as_current=True)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_track_started=True,
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_max_memory_per_child=1_500_000,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "global_keyprefix": f"{settings.prefix}{QUEUE_PREFIX}",
            "visibility_timeout": 7200,
            "socket_timeout": 15,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # redis-py's own retry reconnects inside a read, and then waits for ever for what was never asked for
            "retry_on_timeout": False,
        },
        task_default_queue="unrouted",
        task_routes={name: {"queue": contract.queue.value} for name, contract in CONTRACTS.items()},
    )
    return app


def queue_key(settings: RedisSettings, queue: Queue) -> str:
    """The Redis list in which Celery keeps a queue's messages."""
    return f"{settings.prefix}{QUEUE_PREFIX}{queue.value}"


app = make_app()
