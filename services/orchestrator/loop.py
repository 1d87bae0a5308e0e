"""The orchestrator's work: facts in, actions out; and a sweep over all living jobs, in slices.

Whatever goes wrong in one job's step ends, puts aside or puts off that job, with its reason, and no other. Only what
concerns all, a Redis that is away or another orchestrator that has taken over, is raised.
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
SLICE_S = 0.2  # what a round gives to the sweep, and to slow work where it is not on a clock of its own
DAMAGED = "damaged_record"
STORE_DENIED = "store_denied"  # a key that was changed: nothing is wrong with the job
TRIES = 5  # of a job whose step meets what may be the machine's fault
FINISHED = {contract.event for contract in CONTRACTS.values()}
WAKING = ("job.cancelling", "job.retried")
News = Mapping[str, set[int]]
log = get_logger()


def news_by_job(events: Iterable[Event]) -> dict[str, dict[str, set[int]]]:
    """Every job that events speak of, with the finished shards of its stages."""
    found: dict[str, dict[str, set[int]]] = {}
    for event in events:
        if not event.job_id:
            continue
        news = found.setdefault(event.job_id, {})
        if event.name in FINISHED and event.shard:
            news.setdefault(event.stage, set()).add(int(event.shard))
    return found


class Orchestrator:
    """`step` does everything once, one after the other; a process gives `advance_some`, `dispatch_some` and
    `archivist.work` a thread each (`app.py`), so that none of them waits for another."""

    def __init__(self, store: JobStore, objects: ObjectStore, events: EventReader, dispatcher: Dispatcher) -> None:
        self.store = store
        self.objects = objects
        self.events = events
        self.dispatcher = dispatcher
        self.archivist = Archiver(store, objects)
        self.roster = AdmissionQueue(store, OrchestratorSettings().most_jobs)
        self.setbacks = Backoff()
        self.acted = Signal()
        self.lease = LeaseSettings()
        self.to_sweep: deque[str] = deque()
        self.next_sweep = 0.0
        self.next_reap = 0.0

    def step(self) -> None:
        """One round, at most half a second when nothing happens."""
        self.advance_some()
        self.dispatch_some()
        self.archivist.work(SLICE_S)

    def advance_some(self) -> None:
        """Facts that have come, and a slice of the sweep."""
        events = self.events.read(block_ms=None if self.to_sweep else BLOCK_MS)
        for event in events:
            if event.name in WAKING:
                self.setbacks.clear(event.job_id)
        for job_id, news in news_by_job(events).items():
            self.advance_job(job_id, news)
        self.events.acknowledge(events)
        if events:
            self.acted.set()
        self.sweep()

    def dispatch_some(self) -> None:
        """A slice of what large changes left to do, the reaper when its time has come, commands for what is queued."""
        self.store.work_off()
        now = time.monotonic()
        if now >= self.next_reap:
            self.next_reap = now + self.lease.reap_s
            self.dispatcher.reap()
        self.dispatcher.dispatch()

    def sweep(self) -> None:
        """Goes on with the round over all jobs that are worked on; a new one begins five seconds after the last."""
        now = time.monotonic()
        if not self.to_sweep and now >= self.next_sweep:
            self.next_sweep = now + SWEEP_S
            for job_id, reason in self.store.damaged().items():
                self.break_off(job_id, ErrorInfo(code=DAMAGED, message=f"{reason}; submit its spec again"))
            self.roster.refresh()
            self.to_sweep.extend([*self.roster.stopped(), *self.roster.admitted])
        self.to_sweep.extend(self.roster.next_ones())
        while self.to_sweep:
            self.advance_job(self.to_sweep.popleft(), thorough=True)
            self.acted.set()
            if time.monotonic() >= now + SLICE_S:
                return

    def advance_job(self, job_id: str, news: News | None = None, *, thorough: bool = False) -> None:
        """Compiles a new job, then takes its due actions until there are none. A broken job ends with its reason.

        `news` are shards that facts call finished; `thorough` looks for those that no fact told of.
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
        """Ends a job with the reason, in whatever state its keys are; one that cannot even be ended now is put off.

        Raises `UnavailableError` where what looks like damage of one job is damage of a key of all.
        """
        if error.code == DAMAGED:
            self.store.check_common()
        log.error("job.broken", job=job_id, code=error.code, error=error.message)
        try:
            if self._end_broken(job_id, error):
                JOBS_BROKEN.labels(end="failed").inc()
                if error.code == DAMAGED:
                    self.store.quarantine(job_id, error)  # it ended: what cannot be read is in nobody's way any more
            elif self.store.quarantine(job_id, error):
                JOBS_BROKEN.labels(end="quarantined").inc()
        except NotLeaderError:
            raise
        except Exception as failure:
            self._put_off(job_id, failure)
            return
        self.roster.remove(job_id)
        self.store.forget_plan(job_id)
        self.setbacks.clear(job_id)

    def _end_broken(self, job_id: str, error: ErrorInfo) -> bool:
        """By the step of any ending; one that was told to stop is cancelled, as it was told."""
        try:
            (status,) = self.store.statuses([job_id])
            end = JobStatus.CANCELLED if status == JobStatus.CANCELLING else JobStatus.FAILED
            return self.store.end(job_id, end.value, error)
        except DAMAGE_ERRORS:
            return False

    def _put_off(self, job_id: str, error: Exception) -> int:
        """Tries this job again after a pause. Raises `UnavailableError` where Redis is away: then all wait."""
        self.store.ping()
        count = self.setbacks.add(job_id)
        JOBS_BROKEN.labels(end="put_off").inc()
        log.warning("job.put_off", job=job_id, times=count, error=summarize_error(error))
        return count

    def _plan(self, job_id: str) -> JobPlan | None:
        """The stored plan, which counts, whoever compiled it; None where the job is not worked on now."""
        plan = self.store.plan(job_id)
        if plan is not None:
            self.roster.admits(job_id, planned=True)
            return plan
        job = self.store.job(job_id)
        if job.status is JobStatus.CANCELLING:
            self._end(job_id, JobStatus.CANCELLED, None)
        if job.status is not JobStatus.QUEUED and job.status is not JobStatus.RUNNING:
            self.roster.remove(job_id)
            return None
        if not self.roster.admits(job_id):
            return None
        spec = pin_datasets(parse_spec(job.spec), self.objects)
        data_plan = None
        if isinstance(spec, SftSpec | DpoSpec):
            data_plan = self.store.plan(spec.data.removeprefix("job:"))
        plan = compile_spec(job_id, spec, EngineSettings().device, data_plan)
        if not self.store.set_plan(job_id, plan):
            return self.store.plan(job_id)
        log.info("job.compiled", job=job_id, stages=len(plan.stages))
        return plan

    def _act(self, job_id: str, plan: JobPlan, news: News, thorough: bool) -> bool:
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

    def _untold(self, job_id: str, plan: JobPlan, states: States) -> News:
        """Finished shards that a following stage lacks; asked only where its number says that there are some."""
        found: dict[str, set[int]] = {}
        for stage in plan.stages:
            if isinstance(stage.source, EachShard):
                upstream, state = stage.source.stage, states[stage.id]
                if not state.closed and states[upstream].done > state.total:
                    found.setdefault(upstream, set()).update(self.store.missing(job_id, upstream, stage.id))
        return found

    def _why(self, job_id: str, lost: str | None) -> ErrorInfo | None:
        """The first lost shard's error, with its name."""
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
        self.roster.remove(job_id)
