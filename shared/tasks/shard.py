"""What a task's code sees of the shard it works on: inputs by reference, outputs by name, progress, abort."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from shared.contracts.base import Command
from shared.contracts.refs import ObjectRef, Slice, StageRef
from shared.errors import NotFoundError, UnavailableError
from shared.events.stream import JobEvents
from shared.jobs.ended import archived_key
from shared.jobs.state import ShardRow
from shared.jobs.store import JobStore
from shared.settings import PathSettings
from shared.storage.keys import export_key, shard_key
from shared.storage.records import dump_records, read_records, read_slice
from shared.storage.store import ObjectStore
from shared.tasks.heartbeat import Heartbeat

M = TypeVar("M", bound=BaseModel)


class Shard:
    """One claimed shard. Keys of outputs carry the attempt, so a late twin overwrites nothing."""

    def __init__(self, command: Command, jobs: JobStore, objects: ObjectStore, heartbeat: Heartbeat) -> None:
        self.command = command
        self.jobs = jobs
        self.objects = objects
        self.heartbeat = heartbeat

    @property
    def abort(self) -> threading.Event:
        """Set when the work must stop."""
        return self.heartbeat.abort

    def on_abort(self, action: Callable[[], None]) -> None:
        """What to kill when the lease ends."""
        self.heartbeat.on_abort(action)

    def key(self, name: str, suffix: str = "jsonl") -> str:
        """The key of this attempt's output `name`."""
        command = self.command
        return shard_key(command.job_id, command.stage, command.shard, command.attempt, f"{name}.{suffix}")

    def write_rows(self, name: str, rows: Iterable[BaseModel]) -> ObjectRef:
        """Stores rows as this attempt's output `name`."""
        return self.objects.put(self.key(name), dump_records(rows))

    def write_text(self, name: str, text: str, suffix: str) -> ObjectRef:
        """Stores a text as this attempt's output `name`."""
        return self.objects.put(self.key(name, suffix), text.encode())

    def write_file(self, name: str, path: Path, suffix: str) -> ObjectRef:
        """Stores a local file as this attempt's output `name`."""
        return self.objects.put_file(self.key(name, suffix), path)

    def export(self, name: str, data: bytes) -> ObjectRef:
        """Stores a file people fetch, under the stage's `export/`; equal inputs give equal bytes, so twins agree."""
        return self.objects.put(export_key(self.command.job_id, self.command.stage, name), data)

    def export_file(self, name: str, path: Path) -> ObjectRef:
        """As `export`, from a local file: for what does not fit in memory."""
        return self.objects.put_file(export_key(self.command.job_id, self.command.stage, name), path)

    def refs(self, stage: StageRef, output: str) -> list[ObjectRef]:
        """One output of all finished shards of a stage, in shard order. Raises `NotFoundError` where there is none."""
        found = self.jobs.outputs(stage.job_id or self.command.job_id, stage.stage, output)
        if stage.job_id and not self.jobs.knows(stage.job_id):  # asked afterwards: what is leaving may be read in part
            found = self._archived_refs(stage.job_id, stage.stage, output)
        if not found and stage.job_id:
            raise NotFoundError(f"job {stage.job_id} has no output {output} of stage {stage.stage}")
        return found

    def _archived_refs(self, job_id: str, stage: str, output: str) -> list[ObjectRef]:
        """The same of a job that has left Redis."""
        try:
            key = archived_key(self.objects, job_id, "rows.jsonl")
        except NotFoundError:
            return []
        rows = [row for row in read_records(self.objects, key, ShardRow) if row.stage == stage and row.state == "done"]
        return [row.outputs[output] for row in rows if output in row.outputs]

    def stage_rows(self, stage: StageRef, output: str, model: type[M]) -> Iterator[M]:
        """Rows of one output of a stage, in shard order."""
        for ref in self.refs(stage, output):
            yield from read_records(self.objects, ref, model)

    def rows(self, source: ObjectRef | Slice, model: type[M]) -> list[M]:
        """The rows a shard works on: a whole object, or a slice of a collected one."""
        if isinstance(source, ObjectRef):
            return list(read_records(self.objects, source, model))
        refs = self.refs(source.stage, source.output)
        return list(read_slice(self.objects, refs, source.offset, source.limit, model, PathSettings().records))

    def checkpointed(self) -> bool:
        """Says that a part of the work is safe in the object store; False where the lease is lost."""
        command = self.command
        return self.jobs.checkpointed(command.job_id, command.stage, command.shard, token=self.heartbeat.token)

    def progress(self, **data: Any) -> None:
        """Tells people who watch; never decides anything, and where it cannot be told nothing is lost."""
        events = JobEvents(self.jobs.client, self.jobs.prefix, self.command.job_id)
        with suppress(UnavailableError):
            events.progress(self.command.stage, self.command.shard, data)
