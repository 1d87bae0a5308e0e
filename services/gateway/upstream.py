"""Finds the questions behind answers: a shard that follows another one shard by shard shares its examples."""

from functools import cached_property

from services.gateway.jobs_reader import JobReader
from services.gateway.paging import walk_rows
from shared.contracts.records import Example
from shared.contracts.refs import ObjectRef
from shared.errors import NotFoundError
from shared.jobs.plan import EachShard, JobPlan, StagePlan
from shared.jobs.state import ShardRecord
from shared.storage.records import read_records

EXAMPLES = "examples"


class ShardExamples:
    """The examples of a stage's shards, read from the stage above it that wrote them, one shard at a time."""

    def __init__(self, job: JobReader, plan: JobPlan, stage: str) -> None:
        self.job = job
        self.plan = plan
        self.stages = above(plan, stage)
        self.held: tuple[int, dict[str, Example]] | None = None

    def of(self, shard: int) -> dict[str, Example]:
        """By example id; empty where no stage above left them. A shard holds tens of questions."""
        if self.held is None or self.held[0] != shard:
            ref = self._ref(shard)
            rows = read_records(self.job.backend.objects, ref, Example) if ref else ()
            self.held = (shard, {row.example_id: row for row in rows})
        return self.held[1]

    def _ref(self, shard: int) -> ObjectRef | None:
        for stage in self.stages:
            row = self._row(stage.id, shard)
            if row is not None and EXAMPLES in row.outputs:
                return row.outputs[EXAMPLES]
        return None

    def _row(self, stage: str, shard: int) -> ShardRecord | None:
        if self.job.archived:
            return self._archived.get((stage, shard))
        try:
            return self.job.backend.jobs.shard(self.job.job_id, stage, shard)
        except NotFoundError:
            return None

    @cached_property
    def _archived(self) -> dict[tuple[str, int], ShardRecord]:
        """The archive has no index: its rows of these stages are read once."""
        found = (row for stage in self.stages for row in walk_rows(self.job, stage.id))
        return {(row.stage, row.shard): row for row in found}


def above(plan: JobPlan, stage: str) -> list[StagePlan]:
    """The stages that this one follows shard by shard, nearest first."""
    found: list[StagePlan] = []
    source = plan.stage(stage).source
    while isinstance(source, EachShard):
        found.append(plan.stage(source.stage))
        source = found[-1].source
    return found
