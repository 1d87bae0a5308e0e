"""What every worker does besides its tasks: reports that it is alive, ends stalled tasks, drains on SIGTERM."""

import os
import socket
import threading
import time
from typing import Any

from celery import Celery
from celery.signals import task_unknown, worker_init, worker_process_init, worker_ready, worker_shutting_down

from shared.contracts.base import Queue
from shared.errors import SenseError
from shared.jobs.workers import WorkerRegistry
from shared.logging import configure_logging, get_logger
from shared.metrics import expose_metrics
from shared.processes.health import touch_alive
from shared.processes.lifecycle import exit_with_parent, hide_memory
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.tasks.liveness import open_watchdog, start_watching
from shared.tasks.task import refuse_command

BEAT_S = 5.0  # the registry forgets a worker that is silent for 20 s
log = get_logger()


def attach_worker(app: Celery, queue: Queue) -> None:
    """Connects the signals of a worker of one service."""
    board_id = f"{socket.gethostname()}:{os.getpid()}"

    @worker_init.connect(weak=False)
    def share_memory(**_: Any) -> None:
        # before the pool forks, so that its processes share the memory
        open_watchdog()

    @worker_ready.connect(weak=False)
    def announce(sender: Any, **_: Any) -> None:
        configure_logging(queue.value)
        exit_with_parent()
        expose_metrics()
        slots = int(getattr(sender, "concurrency", 0) or getattr(getattr(sender, "controller", None), "concurrency", 1))
        threading.Thread(target=send_beats, args=(queue, board_id, slots), name="board", daemon=True).start()
        start_watching()
        log.info("worker.ready", queue=queue.value, slots=slots)

    @worker_process_init.connect(weak=False)
    def child_logs(**_: Any) -> None:
        configure_logging(queue.value)
        hide_memory()

    @task_unknown.connect(weak=False)
    def refuse(message: Any = None, name: str = "", **_: Any) -> None:
        # Celery only drops the message, and it would be sent again for ever. The consumer must not be blocked, so a
        # thread refuses it.
        threading.Thread(target=refuse_unknown, args=(message, name), daemon=True).start()

    @worker_shutting_down.connect(weak=False)
    def drain(**_: Any) -> None:
        # kombu may hold its locks here, so a thread talks to Redis
        threading.Thread(target=drain_worker, args=(queue, board_id), daemon=True).start()


def open_registry() -> WorkerRegistry:
    settings = RedisSettings()
    return WorkerRegistry(connect_redis(settings), settings.prefix)


def send_beats(queue: Queue, worker: str, slots: int) -> None:
    while True:
        try:
            open_registry().beat(queue, worker, slots)
            touch_alive()
        except SenseError as error:
            log.warning("board.beat_failed", error=error.message)
        except Exception:  # a worker without beats gets no work, so the next one is tried whatever failed
            log.exception("board.beat_failed")
        time.sleep(BEAT_S)


def refuse_unknown(message: Any, name: str) -> None:
    """Fails the attempt at a task that this version of the service does not have."""
    try:
        _, words, _ = message.decode()
        refuse_command(words["command"], f"this worker has no task {name}")
    except SenseError as error:
        log.warning("command.not_refused", task=name, error=error.message)
    except Exception as error:  # the message counts as never claimed
        log.warning("command.unreadable", task=name, error=str(error)[:300])


def drain_worker(queue: Queue, worker: str) -> None:
    try:
        open_registry().drain(queue, worker)
    except SenseError as error:
        log.warning("board.drain_failed", error=error.message)
