"""A training worker without Celery: `python -m tests.support.training_worker` works on rows of its queue.

The task, the lease, the supervisor, the training process, Redis and the object store are the real ones.
"""

import time

from services.orchestrator.dispatch import command_fields
from services.training.tasks import train_model
from shared.contracts.base import Queue
from shared.contracts.training import TRAIN_MODEL, TrainModel
from shared.jobs.store import JobStore
from shared.logging import configure_logging
from shared.processes.lifecycle import exit_with_parent
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.tasks.task import run_shard

POLL_S = 0.1


def main() -> None:
    """Works until it is killed, or its parent is."""
    configure_logging("training")
    exit_with_parent()
    settings = RedisSettings()
    jobs = JobStore(connect_redis(settings), settings.prefix)
    while True:
        for job_id, stage, shard in jobs.take(Queue.TRAINING, 1):
            plan = jobs.plan(job_id)
            assert plan is not None
            fields = command_fields("", job_id, plan.stage(stage), jobs.shard(job_id, stage, shard), None)
            run_shard(TRAIN_MODEL, TrainModel.model_validate(fields), train_model)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
