"""A job store in memory, small enough to be seen through: applies actions, completes shards, knows no order."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.orchestrator.advance import Action, AddShards, CloseStage, EndJob, advance
from shared.jobs.plan import JobPlan
from shared.jobs.state import JobStatus, StageState

Counts = dict[str, int] | None
Work = Callable[[str, int, dict[str, Any]], Counts]


@dataclass
class Stage:
    """Rows by shard: their parameters, and how they ended."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    done: dict[int, dict[str, int]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)
    closed: bool = False
    skipped: bool = False

    def state(self) -> StageState:
        """As the store would show it."""
        sums: dict[str, int] = {}
        for counts in self.done.values():
            for name, count in counts.items():
                sums[name] = sums.get(name, 0) + count
        settled = len(self.done) + len(self.failed) + len(self.running)
        return StageState(
            total=len(self.rows),
            queued=len(self.rows) - settled,
            running=len(self.running),
            done=len(self.done),
            failed=len(self.failed),
            closed=self.closed,
            skipped=self.skipped,
            counts=sums,
            existing=frozenset(self.rows),
            finished=frozenset(self.done),
        )


class Model:
    """One job. `work` decides a shard's counts, or None for a shard that fails."""

    def __init__(self, plan: JobPlan, work: Work, seed: int = 0) -> None:
        self.plan = plan
        self.work = work
        self.rng = random.Random(seed)
        self.stages = {stage.id: Stage() for stage in plan.stages}
        self.status = JobStatus.RUNNING
        self.lost: str | None = None

    def actions(self) -> list[Action]:
        """What is due by `advance`."""
        return advance(self.plan, self.status, {name: stage.state() for name, stage in self.stages.items()})

    def apply(self, actions: list[Action]) -> None:
        """Atomic and idempotent, as the store's own steps are."""
        for action in actions:
            match action:
                case AddShards(name, shards):
                    if not self.stages[name].closed:
                        self.stages[name].rows = {**shards, **self.stages[name].rows}
                case CloseStage(name, skipped):
                    if not self.stages[name].closed:
                        self.stages[name].closed, self.stages[name].skipped = True, skipped
                case EndJob(status, lost):
                    if not self.status.terminal:
                        self.status, self.lost = status, lost

    def settle(self) -> None:
        """Acts until nothing is due; every list of actions is applied twice, shuffled the second time."""
        for _ in range(1000):
            actions = self.actions()
            if not actions:
                return
            self.apply(actions)
            self.apply(self.rng.sample(actions, len(actions)))
            if self.status.terminal:
                return
        raise AssertionError("actions never end")

    def open_shards(self) -> list[tuple[str, int]]:
        """Rows that nobody has worked on."""
        return [
            (name, shard)
            for name, stage in self.stages.items()
            for shard in stage.rows
            if shard not in stage.done and shard not in stage.failed
        ]

    def complete(self, name: str, shard: int) -> None:
        """Works on one row."""
        stage = self.stages[name]
        counts = self.work(name, shard, stage.rows[shard])
        if counts is None:
            stage.failed.add(shard)
        else:
            stage.done[shard] = counts

    def run(self) -> "Model":
        """To the end, in an order by the seed."""
        self.settle()
        while not self.status.terminal:
            waiting = self.open_shards()
            assert waiting, f"the job hangs: {self.stages}"
            for name, shard in self.rng.sample(waiting, self.rng.randint(1, len(waiting))):
                self.complete(name, shard)
                if self.rng.random() < 0.5:
                    self.settle()
                if self.status.terminal:
                    break
            self.settle()
        return self

    def rows(self) -> dict[str, dict[int, dict[str, Any]]]:
        """Every shard of every stage with its parameters."""
        return {name: dict(sorted(stage.rows.items())) for name, stage in self.stages.items()}


def ones(_stage: str, _shard: int, _params: dict[str, Any]) -> Counts:
    """A shard that counts nothing."""
    return {}
