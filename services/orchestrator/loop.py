"""The orchestrator's work: facts in, actions out; and, on a timer, the reaper, the dispatcher and the sweep.

Two orchestrators at once do no harm: every step they take is atomic and idempotent.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from services.orchestrator.advance import AddShards, CloseStage, EndJob, States, advance
from services.orchestrator.archive import archive_job
from services.orchestrator.compile import compile_spec
from services.orchestrator.datasets import pin_datasets
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.retention.run import Retention
from services.orchestrator.retention.settings import RetentionSettings
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import parse_spec
from shared.errors import NotFoundError, SenseError, UnavailableError
from shared.events.stream import Event, FactReader
from shared.jobs.plan import Each, Plan
from shared.jobs.state import ErrorInfo, JobStatus
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.metrics import LEASES_EXPIRED
from shared.settings import EngineSettings, LeaseSettings
from shared.storage.base import ObjectStore

BLOCK_MS = 500
SWEEP_S = 5.0
FINISHED = {contract.fact for contract in CONTRACTS.values()}
News = Mapping[str, set[int]]
log = get_logger()


def news_by_job(events: Iterable[Event]) -> dict[str, dict[str, set[int]]]:
    """Every job that events speak of, with the finished shards of its stages."""
    found: dict[str, dict[str, set[int]]] = {}
    for event in events:
        news = found.setdefault(event.job_id, {})
        if event.name in FINISHED:
            news.setdefault(event.stage, set()).add(int(event.shard))
    return found


class Orchestrator:
    """One pass of `step` reads facts, advances the jobs they speak of, and dispatches."""

    def __init__(self, store: JobStore, objects: ObjectStore, facts: FactReader, dispatcher: Dispatcher) -> None:
        self.store = store
        self.objects = objects
        self.facts = facts
        self.dispatcher = dispatcher
        self.lease = LeaseSettings()
        self.next_sweep = 0.0
        self.next_reap = 0.0
        self.retention = RetentionSettings()
        self.next_retention = time.monotonic() + self.retention.every_s

    def step(self) -> None:
        """One round, at most half a second when nothing happens."""
        events = self.facts.read(block_ms=BLOCK_MS)
        for job_id, news in sorted(news_by_job(events).items()):
            self.advance_job(job_id, news)
        self.facts.acknowledge(events)
        self.housekeeping()
        self.dispatcher.dispatch()

    def housekeeping(self) -> None:
        """Reaper, sweep and retention, when their time has come."""
        self.store.work_off()
        now = time.monotonic()
        if now >= self.next_reap:
            self.next_reap = now + self.lease.reap_s
            if expired := self.store.reap():
                LEASES_EXPIRED.inc(len(expired))
                log.warning("lease.expired", rows=expired)
            self.dispatcher.resend_lost()
        if now >= self.next_sweep:
            self.next_sweep = now + SWEEP_S
            for job_id in self.store.active():
                self.advance_job(job_id, thorough=True)
            self.archive_stale()
        if self.retention.every_s and now >= self.next_retention:
            self.next_retention = now + self.retention.every_s
            gone = Counter(going.kind for going in Retention(self.store, self.objects, self.retention).run())
            log.info("retention.done", **gone)

    def advance_job(self, job_id: str, news: News | None = None, *, thorough: bool = False) -> None:
        """Compiles a new job, then takes its due actions until there are none. A broken job ends with its reason.

        `news` are shards that facts call finished; `thorough` looks for those that no fact told of.
        """
        try:
            plan = self._plan(job_id)
            while self._act(job_id, plan, news or {}, thorough):
                news = None
        except NotFoundError:
            log.warning("job.unknown", job=job_id)
        except SenseError as error:
            if error.retryable:
                raise
            log.error("job.broken", job=job_id, error=error.message)
            self._end(job_id, JobStatus.FAILED, ErrorInfo(code=error.code, message=error.message))

    def _plan(self, job_id: str) -> Plan:
        plan = self.store.plan(job_id)
        if plan is None:
            job = self.store.job(job_id)
            spec = pin_datasets(parse_spec(job.spec), self.objects)
            plan = compile_spec(job_id, spec, EngineSettings().device)
            self.store.set_plan(job_id, plan)
            log.info("job.compiled", job=job_id, stages=len(plan.stages))
        return plan

    def _act(self, job_id: str, plan: Plan, news: News, thorough: bool) -> bool:
        """Takes the actions due now; True where the state may have moved enough for more."""
        status, states = self.store.look(job_id, plan, news)
        if thorough and (untold := self._untold(job_id, plan, states)):
            status, states = self.store.look(job_id, plan, untold)
        actions = advance(plan, status, states)
        for action in actions:
            match action:
                case AddShards(stage, shards):
                    self.store.add_shards(job_id, stage, shards)
                case CloseStage(stage, skipped):
                    self.store.close_stage(job_id, stage, skipped=skipped)
                case EndJob(status, lost):
                    self._end(job_id, status, self._why(job_id, lost))
                    return False
        return bool(actions)

    def _untold(self, job_id: str, plan: Plan, states: States) -> News:
        """Finished shards that a following stage lacks; asked only where its number says that there are some."""
        found: dict[str, set[int]] = {}
        for stage in plan.stages:
            if isinstance(stage.source, Each):
                upstream, state = stage.source.stage, states[stage.id]
                if not state.closed and states[upstream].done > state.total:
                    found.setdefault(upstream, set()).update(self.store.missing(job_id, upstream, stage.id))
        return found

    def _why(self, job_id: str, lost: str | None) -> ErrorInfo | None:
        """The first lost shard's error, with its name."""
        if lost is None:
            return None
        row = self.store.failed_row(job_id, lost)
        if row is None:
            return ErrorInfo(code="internal_error", message=f"stage {lost} lost a shard; its row is gone")
        cause = row.error or ErrorInfo(code="internal_error", message="no reason was recorded")
        message = f"stage {lost} lost shard {row.shard} after {row.attempt} attempt(s): {cause.message}"
        return ErrorInfo(code=cause.code, message=message)

    def _end(self, job_id: str, status: JobStatus, error: ErrorInfo | None) -> None:
        if self.store.end(job_id, status.value, error):
            log.info("job.ended", job=job_id, status=status.value, error=error.message if error else None)
            self.archive_stale()
        self.store.forget_plan(job_id)

    def archive_stale(self) -> None:
        """Archives what is over and not archived yet; an object store that is away is asked again by the next sweep."""
        for job_id, seen in self.store.stale().items():
            try:
                if self.store.job(job_id).status.terminal:
                    archive_job(self.store, self.objects, job_id, self.store.plan(job_id))
                self.store.archived(job_id, seen)
            except UnavailableError as error:
                log.warning("job.not_archived", job=job_id, error=error.message)
