"""The training worker: `celery -A services.training.worker worker -Q training`."""

from services.training.tasks import TASKS
from shared.contracts.base import Queue
from shared.tasks.app import make_app
from shared.tasks.task import register_task
from shared.tasks.worker import attach_worker

app = make_app()
attach_worker(app, Queue.TRAINING)
for contract, work in TASKS.items():
    register_task(app, contract, work)
