"""A real worker of the synthesis queue whose first shard meets a text that stops its interpreter.

`celery -A tests.support.stalling_worker worker -Q synthesis`. Shards from 1 on are done at once.
"""

import re

from shared.contracts.base import Queue
from shared.contracts.synthesis import WRITE_EXAMPLES, WriteExamples, WrittenCounts
from shared.tasks.app import make_app
from shared.tasks.task import Shard, TaskResult, register_task
from shared.tasks.worker import attach_worker


def write(command: WriteExamples, _: Shard) -> TaskResult:
    """`re` holds the interpreter's lock: no thread of this process runs any more."""
    if command.shard == 0:
        re.match(r"(a|a)*$", "a" * 60 + "b")
    return TaskResult(WrittenCounts(written=2))


app = make_app()
attach_worker(app, Queue.SYNTHESIS)
register_task(app, WRITE_EXAMPLES, write)
