"""The sandbox worker: `celery -A services.sandbox.worker worker -Q sandbox`."""

from services.sandbox.tasks import TASKS
from shared.contracts.base import Queue
from shared.tasks.app import make_app
from shared.tasks.run import register_task
from shared.tasks.worker import attach_worker

app = make_app()
attach_worker(app, Queue.SANDBOX)
for contract, work in TASKS.items():
    register_task(app, contract, work)
