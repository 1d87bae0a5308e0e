"""The work of the orchestrator: events in, actions out, and a sweep over all active jobs in slices.

If the step of a job fails, only that job is ended, quarantined or put off, with the reason. Errors that concern all
jobs are raised: Redis does not answer, or another orchestrator leads.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from threading import Event as Signal

from services.orchestrator.admission import AdmissionQueue, Backoff
from services.orchestrator.advance import AddShards, CloseStage, EndJob, States, advance
from services.orchestrator.archive import Archiver
from services.orchestrator.dispatch import Dispatcher
from services.orchestrator.planning.compile import compile_spec, pin_datasets
from services.orchestrator.settings import OrchestratorSettings
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import DpoSpec, SftSpec, parse_spec
from shared.errors import NotFoundError, SenseError
from shared.jobs.events import Event, EventReader
from shared.jobs.plan import EachShard, JobPlan
from shared.jobs.state import DAMAGE_ERRORS, ErrorInfo, JobStatus, summarize_error
from shared.jobs.steps import NotLeaderError
from shared.jobs.store import JobStore
from shared.logging import get_logger
from shared.metrics import JOBS_BROKEN
from shared.settings import EngineSettings, LeaseSettings
from shared.storage.store import ObjectStore

BLOCK_MS = 500
SWEEP_S = 5.0
SLICE_S = 0.2  # the part of a round that the sweep may take, and that slow work may take
DAMAGED = "damaged_record"
STORE_DENIED = "store_denied"  # the key of the object store was changed: the job itself is fine
TRIES = 5  # of a step that fails with an unexpected error, which may come from the machine
FINISHED = {contract.event for contract in CONTRACTS.values()}
WAKING = ("job.cancelling", "job.retried")
News = Mapping[str, set[int]]
log = get_logger()


def news_by_job(events: Iterable[Event]) -> dict[str, dict[str, set[int]]]:
    found: dict[str, dict[str, set[int]]] = {}
    for event in events:
        if not event.job_id:
            continue
        news = found.setdefault(event.job_id, {})
        if event.name in FINISHED and event.shard:
            news.setdefault(event.stage, set()).add(int(event.shard))
    return found


class Orchestrator:
    """`step` does everything once, in order.

    The process (`app.py`) runs `advance_some`, `dispatch_some` and `archiver.work` in a thread each, so that none of
    them waits for another.
    """

    def __init__(self, store: JobStore, objects: ObjectStore, events: EventReader, dispatcher: Dispatcher) -> None:
        self.store = store
        self.objects = objects
        self.events = events
        self.dispatcher = dispatcher
        self.archiver = Archiver(store, objects)
        self.admission = AdmissionQueue(store, OrchestratorSettings().most_jobs)
        self.setbacks = Backoff()
        self.acted = Signal()
        self.lease = LeaseSettings()
        self.to_sweep: deque[str] = deque()
        self.next_sweep = 0.0
        self.next_reap = 0.0

    def step(self) -> None:
        """Does one round, which takes at most half a second if nothing happens."""
        self.advance_some()
        self.dispatch_some()
        self.archiver.work(SLICE_S)

    def advance_some(self) -> None:
        events = self.events.read(block_ms=None if self.to_sweep else BLOCK_MS)
        for event in events:
            # a cancel or a retry must not wait for the pause of an earlier failure
            if event.name in WAKING:
                self.setbacks.clear(event.job_id)
        for job_id, news in news_by_job(events).items():
            self.advance_job(job_id, news)
        self.events.acknowledge(events)
        if events:
            self.acted.set()
        self.sweep()

    def dispatch_some(self) -> None:
        """Continues large changes, reaps expired leases when due and sends commands for queued shards."""
        self.store.work_off()
        now = time.monotonic()
        if now >= self.next_reap:
            self.next_reap = now + self.lease.reap_s
            self.dispatcher.reap()
        self.dispatcher.dispatch()

    def sweep(self) -> None:
        """Continues the sweep over all admitted jobs for `SLICE_S`; a new one begins at most every five seconds."""
        now = time.monotonic()
        if not self.to_sweep and now >= self.next_sweep:
            self.next_sweep = now + SWEEP_S
            for job_id, reason in self.store.damaged().items():
                self.break_off(job_id, ErrorInfo(code=DAMAGED, message=f"{reason}; submit its spec again"))
            self.admission.refresh()
            self.to_sweep.extend([*self.admission.cancelled_while_waiting(), *self.admission.admitted])
        self.to_sweep.extend(self.admission.admit_next())
        # the time is checked after each job, so that every round handles at least one job
        while self.to_sweep:
            self.advance_job(self.to_sweep.popleft(), thorough=True)
            self.acted.set()
            if time.monotonic() >= now + SLICE_S:
                return

    def advance_job(self, job_id: str, news: News | None = None, *, thorough: bool = False) -> None:
        """Compiles a new job, then takes its actions until none is due. A broken job ends with the reason.

        `news` are shards that events report as finished; `thorough` also looks for finished shards without an event.
        """
        if not self.setbacks.is_due(job_id):
            return
        try:
            if (plan := self._plan(job_id)) is not None:
                while self._act(job_id, plan, news or {}, thorough):
                    news = None
            self.setbacks.clear(job_id)
        except NotLeaderError:
            raise
        except NotFoundError as error:
            log.warning("job.unknown", job=job_id)
            self.break_off(job_id, ErrorInfo(code=DAMAGED, message=f"its record is gone: {error.message}"))
        except SenseError as error:
            if error.retryable or error.code == STORE_DENIED:
                self._put_off(job_id, error)
            else:
                self.break_off(job_id, ErrorInfo(code=error.code, message=error.message))
        except DAMAGE_ERRORS as error:
            log.warning("job.unreadable", job=job_id, exc_info=error)
            why = f"its record, plan or rows cannot be read ({summarize_error(error)}); submit its spec again"
            self.break_off(job_id, ErrorInfo(code=DAMAGED, message=why))
        except Exception as error:
            log.exception("job.step_failed", job=job_id)
            if self._put_off(job_id, error) >= TRIES:
                self.break_off(job_id, ErrorInfo(code="internal_error", message=summarize_error(error)))

    def break_off(self, job_id: str, error: ErrorInfo) -> None:
        """Ends a job with the reason, whatever the state of its keys. If even that fails, the job is put off.

        Raises `UnavailableError` if the damage is in a key of all jobs and not of this one.
        """
        if error.code == DAMAGED:
            self.store.check_common()
        log.error("job.broken", job=job_id, code=error.code, error=error.message)
        try:
            if self._end_broken(job_id, error):
                JOBS_BROKEN.labels(end="failed").inc()
                if error.code == DAMAGED:
                    self.store.quarantine(job_id, error)  # it has ended: what cannot be read is moved away
            elif self.store.quarantine(job_id, error):
                JOBS_BROKEN.labels(end="quarantined").inc()
        except NotLeaderError:
            raise
        except Exception as failure:
            self._put_off(job_id, failure)
            return
        self.admission.remove(job_id)
        self.store.forget_plan(job_id)
        self.setbacks.clear(job_id)

    def _end_broken(self, job_id: str, error: ErrorInfo) -> bool:
        try:
            (status,) = self.store.statuses([job_id])
            end = JobStatus.CANCELLED if status == JobStatus.CANCELLING else JobStatus.FAILED
            return self.store.end(job_id, end.value, error)
        except DAMAGE_ERRORS:
            return False

    def _put_off(self, job_id: str, error: Exception) -> int:
        """Tries this job again after a pause. Raises `UnavailableError` if Redis is away: then all jobs wait."""
        self.store.ping()
        count = self.setbacks.add(job_id)
        JOBS_BROKEN.labels(end="put_off").inc()
        log.warning("job.put_off", job=job_id, times=count, error=summarize_error(error))
        return count

    def _plan(self, job_id: str) -> JobPlan | None:
        """Returns the stored plan, whoever compiled it, or a new one; None if the job is not worked on now."""
        plan = self.store.plan(job_id)
        if plan is not None:
            self.admission.admits(job_id, planned=True)
            return plan
        job = self.store.job(job_id)
        if job.status is JobStatus.CANCELLING:
            self._end(job_id, JobStatus.CANCELLED, None)
        if job.status is not JobStatus.QUEUED and job.status is not JobStatus.RUNNING:
            self.admission.remove(job_id)
            return None
        if not self.admission.admits(job_id):
            return None
        # pinned once here; the plan then names exact versions
        spec = pin_datasets(parse_spec(job.spec), self.objects)
        data_plan = None
        if isinstance(spec, SftSpec | DpoSpec):
            data_plan = self.store.plan(spec.data.removeprefix("job:"))
        plan = compile_spec(job_id, spec, EngineSettings().device, data_plan)
        # another leader may have stored a plan meanwhile: that one counts
        if not self.store.set_plan(job_id, plan):
            return self.store.plan(job_id)
        log.info("job.compiled", job=job_id, stages=len(plan.stages))
        return plan

    def _act(self, job_id: str, plan: JobPlan, news: News, thorough: bool) -> bool:
        status, states = self.store.look(job_id, plan, news)
        if thorough and (unreported := self._unreported(job_id, plan, states)):
            status, states = self.store.look(job_id, plan, unreported)
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

    def _unreported(self, job_id: str, plan: JobPlan, states: States) -> News:
        """Finished shards that a following stage lacks; looked up only if the counters say that there are some."""
        found: dict[str, set[int]] = {}
        for stage in plan.stages:
            if isinstance(stage.source, EachShard):
                upstream, state = stage.source.stage, states[stage.id]
                if not state.closed and states[upstream].done > state.total:
                    found.setdefault(upstream, set()).update(self.store.missing(job_id, upstream, stage.id))
        return found

    def _why(self, job_id: str, lost: str | None) -> ErrorInfo | None:
        if lost is None:
            return None
        row = self.store.first_failed_shard(job_id, lost)
        if row is None:
            return ErrorInfo(code="internal_error", message=f"stage {lost} lost a shard whose row cannot be read")
        cause = row.error or ErrorInfo(code="internal_error", message="no reason was recorded")
        message = f"stage {lost} lost shard {row.shard} after {row.attempt} attempt(s): {cause.message}"
        return ErrorInfo(code=cause.code, message=message)

    def _end(self, job_id: str, status: JobStatus, error: ErrorInfo | None) -> None:
        if self.store.end(job_id, status.value, error):
            log.info("job.ended", job=job_id, status=status.value, error=error.message if error else None)
        self.store.forget_plan(job_id)
        self.admission.remove(job_id)
