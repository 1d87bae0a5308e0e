"""A finished job's plan, rows and facts in the object store: losing Redis loses no finished work."""

import json

from shared.events.stream import JobEvents
from shared.jobs.plan import Plan
from shared.jobs.store import JobStore
from shared.storage.base import ObjectStore
from shared.storage.jsonl import dump_rows
from shared.storage.keys import archive_key


def archive_job(store: JobStore, objects: ObjectStore, job_id: str, plan: Plan | None) -> None:
    """Writes rows and facts, then the record last: a job without `job.json` is not archived."""
    rows = [row for stage in (plan.stages if plan else []) for row in store.rows(job_id, stage.id)]
    objects.put(archive_key(job_id, "rows.jsonl"), dump_rows(rows))
    events = [event for event in JobEvents(store.client, store.prefix, job_id).all() if event.type == "fact"]
    objects.put(archive_key(job_id, "facts.jsonl"), dump_rows(events))
    states = store.stage_states(job_id, plan, members=False) if plan else {}
    record = {
        "job": store.job(job_id).model_dump(mode="json"),
        "plan": plan.model_dump(mode="json") if plan else None,
        "stages": {
            name: state.model_dump(mode="json", exclude={"existing", "finished"}) for name, state in states.items()
        },
    }
    objects.put(archive_key(job_id, "job.json"), json.dumps(record, ensure_ascii=False).encode())
