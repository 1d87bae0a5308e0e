"""The sandbox worker: `celery -A services.sandbox.worker worker -Q sandbox`."""

import sys
from typing import Any

from celery.signals import worker_init

from services.sandbox.execution.child_process import report_walls
from services.sandbox.tasks import TASKS
from shared.contracts.base import Queue
from shared.errors import SenseError
from shared.logging import configure_logging
from shared.tasks.app import make_app
from shared.tasks.task import register_task
from shared.tasks.worker import attach_worker

app = make_app()
attach_worker(app, Queue.SANDBOX)
for contract, work in TASKS.items():
    register_task(app, contract, work)


@worker_init.connect(weak=False)
def look_at_walls(**_: Any) -> None:
    """Check before any task is taken: a worker that lacks a required wall does not start."""
    configure_logging(Queue.SANDBOX.value)
    try:
        report_walls()
    except SenseError as error:
        sys.exit(error.message)
