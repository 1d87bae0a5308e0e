"""A finished job's plan, rows and facts in the object store: losing Redis loses no finished work."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from shared.events.stream import JobEvents
from shared.jobs.plan import Plan
from shared.jobs.store import BATCH, JobStore, batches
from shared.storage.base import ObjectStore
from shared.storage.jsonl import dump_rows
from shared.storage.keys import archive_key


def archive_job(store: JobStore, objects: ObjectStore, job_id: str, plan: Plan | None) -> None:
    """Writes rows and facts, then the record last: a job without `job.json` is not archived."""
    rows = (row for stage in (plan.stages if plan else []) for row in store.rows(job_id, stage.id))
    put_rows(objects, archive_key(job_id, "rows.jsonl"), rows)
    events = (event for event in JobEvents(store.client, store.prefix, job_id).all() if event.type == "fact")
    put_rows(objects, archive_key(job_id, "facts.jsonl"), events)
    states = store.stage_states(job_id, plan, members=False) if plan else {}
    record = {
        "job": store.job(job_id).model_dump(mode="json"),
        "plan": plan.model_dump(mode="json") if plan else None,
        "stages": {
            name: state.model_dump(mode="json", exclude={"existing", "finished"}) for name, state in states.items()
        },
    }
    objects.put(archive_key(job_id, "job.json"), json.dumps(record, ensure_ascii=False).encode())


def put_rows(objects: ObjectStore, key: str, rows: Iterable[BaseModel]) -> None:
    """By a local file: a job may have more rows than fit in memory."""
    with tempfile.TemporaryDirectory(prefix="sense-archive-") as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("wb") as file:
            file.writelines(dump_rows(some) for some in batches(rows, BATCH))
        objects.put_file(key, path)
