"""The orchestrator process: `python -m services.orchestrator.app`."""

import os
import signal
import socket
import sys
import threading

from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.loop import Orchestrator
from shared.errors import ConflictError, UnavailableError
from shared.events.stream import FactReader
from shared.health import check_data_version, touch_alive
from shared.jobs.connect import connect_redis
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerBoard
from shared.lifeline import exit_with_parent
from shared.logging import configure_logging, get_logger
from shared.metrics import expose_metrics
from shared.settings import RedisSettings
from shared.storage.directory import DirectoryStore
from shared.storage.open import open_store
from shared.storage.settings import StoreSettings
from shared.tasks.app import make_app

PAUSE_S = 1.0
log = get_logger()


def build() -> Orchestrator:
    """An orchestrator by this process's settings."""
    settings = RedisSettings()
    client = connect_redis(settings)
    store = JobStore(client, settings.prefix)
    facts = FactReader(client, settings.prefix, f"{socket.gethostname()}:{os.getpid()}")
    dispatcher = Dispatcher(store, WorkerBoard(client, settings.prefix), make_app())
    objects = open_store(StoreSettings())
    if isinstance(objects, DirectoryStore):
        objects.remove_leftovers()  # halves of puts that a kill left, a day old and never listed
    return Orchestrator(store, objects, facts, dispatcher)


def main() -> int:
    """Runs until SIGTERM; a Redis or a store that is away is waited for."""
    configure_logging("orchestrator")
    exit_with_parent()
    expose_metrics()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    orchestrator = build()
    opened = False
    log.info("orchestrator.ready")
    while not stop.is_set():
        try:
            if not opened:
                check_data_version(orchestrator.store.client, orchestrator.store.prefix, orchestrator.objects)
                orchestrator.facts.open()
                opened = True
            orchestrator.step()
            touch_alive()
        except UnavailableError as error:
            opened = False
            log.warning("orchestrator.waiting", error=error.message)
            stop.wait(PAUSE_S)
        except ConflictError as error:
            log.error("orchestrator.refused", error=error.message)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
