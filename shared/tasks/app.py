"""The Celery app of every worker. A message is only a hint: the job store knows the shards, and a claim decides.

Results are off, acks are early and nothing is prefetched, because redelivery, retries and fan-in belong to the job
store. The measurements behind each value are in docs/decisions/0002-delivery.md.
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
    """Drops an entry of the list that is not a message. Kombu's channel lets it end the worker and its tasks."""

    def _brpop_read(self, **options: Any) -> Any:
        known = set(self.qos._delivered or ())
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            log.error("message.unreadable", error=f"{type(error).__name__}: {error}"[:300])
            # a message on which Celery failed counts as delivered
            for tag in set(self.qos._delivered or ()) - known:
                self.basic_reject(tag, requeue=False)
            # Kombu treats this as "no message yet"
            raise Empty from error


class Transport(kombu_redis.Transport):
    Channel = Channel


# registered under the names of the schemes, because Flower and Celery recognize brokers by their address
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))


def make_app() -> Celery:
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
        worker_max_memory_per_child=1_500_000,  # KiB
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # BUSY, READONLY, OOM and the like arrive as answers; a worker waits and does not exit
        broker_channel_error_retry=True,
        broker_transport_options={
            "global_keyprefix": f"{settings.prefix}{QUEUE_PREFIX}",
            "visibility_timeout": 7200,
            "socket_timeout": 15,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # the retry of redis-py reconnects inside a read and then waits for ever for an answer to nothing
            "retry_on_timeout": False,
        },
        task_default_queue="unrouted",
        task_routes={name: {"queue": contract.queue.value} for name, contract in CONTRACTS.items()},
    )
    return app


def queue_key(settings: RedisSettings, queue: Queue) -> str:
    """The Redis list in which Celery keeps the messages of a queue."""
    return f"{settings.prefix}{QUEUE_PREFIX}{queue.value}"


app = make_app()
