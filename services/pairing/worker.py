"""The pairing worker: `celery -A services.pairing.worker worker -Q pairing`."""

from services.pairing.tasks import TASKS
from shared.contracts.base import Queue
from shared.tasks.app import make_app
from shared.tasks.task import register_task
from shared.tasks.worker import attach_worker

app = make_app()
attach_worker(app, Queue.PAIRING)
for contract, work in TASKS.items():
    register_task(app, contract, work)
