"""The job store: the truth about jobs, stages and shards. Every change is one atomic step in Redis."""

import hashlib
import json
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from shared.contracts.base import Counts, Fact, Queue
from shared.contracts.refs import ObjectRef
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import AnySpec
from shared.errors import ConflictError, NotFoundError, UnavailableError
from shared.jobs.connect import Client, redis_errors
from shared.jobs.plan import Each, Plan, TopUp
from shared.jobs.rows import DAMAGE, checked, read_job, read_or, read_row, read_stage, salvage_job, summarize
from shared.jobs.state import ErrorInfo, JobRecord, JobStatus, ShardRow, StageState
from shared.jobs.steps import Steps

IDEMPOTENCY_TTL_S = 24 * 3600
PLANS_KEPT = 128
BATCH = 1000
ASIDE_DAYS = 30
COMMON = {"jobs": "zset", "active": "set", "stale": "hash", "leases": "zset", "damaged": "hash", "facts": "stream"}
T = TypeVar("T")


def compact(value: object) -> str:
    """JSON without spaces, keys as given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class Load(NamedTuple):
    """A queue: rows sent and unclaimed, rows that run, jobs that have rows waiting."""

    sent: int
    running: int
    jobs: int


class JobStore:
    """Jobs by id. Raises `UnavailableError` when Redis does not answer."""

    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.steps = Steps(client, prefix)
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    def key(self, *parts: str) -> str:
        """A key under this store's prefix."""
        return self.prefix + ":".join(parts)

    # jobs

    def submit(self, spec: AnySpec, *, request_id: str = "", idempotency_key: str = "") -> tuple[JobRecord, bool]:
        """Records a new job, or finds the one of the same idempotency key; True where it is new.

        Raises `ConflictError` (code idempotency_mismatch) where the key was used with another body.
        """
        body = compact(spec.model_dump(mode="json"))
        digest = hashlib.sha256(body.encode()).hexdigest()
        job_id = f"{uuid.uuid4().hex[:12]}"
        fields = (spec.kind, spec.name, body, request_id)
        answer = self.steps.run("submit", job_id, idempotency_key, IDEMPOTENCY_TTL_S, digest, *fields)
        if answer[0] == "other":
            message = f"the Idempotency-Key was used for job {answer[1]} with another body; choose a new key"
            raise ConflictError(message, code="idempotency_mismatch")
        return self.job(answer[1]), answer[0] == "new"

    def job(self, job_id: str) -> JobRecord:
        """The job's record. Raises `NotFoundError`."""
        with redis_errors():
            fields = self.client.hgetall(self.key("job", job_id))
        if not fields:
            raise self._unknown(job_id)
        return read_job(fields)

    def shown_job(self, job_id: str) -> JobRecord:
        """The job's record, or what is left of a damaged one. Raises `NotFoundError`."""
        try:
            return self.job(job_id)
        except DAMAGE as error:
            with redis_errors():
                is_hash = self.client.type(self.key("job", job_id)) == "hash"
                return salvage_job(job_id, self.client.hgetall(self.key("job", job_id)) if is_hash else {}, error)

    def job_ids(self) -> list[str]:
        """All known ids, newest first."""
        with redis_errors():
            return list(self.client.zrevrange(self.key("jobs"), 0, -1))

    def active(self) -> list[str]:
        """Ids of jobs that are not terminal."""
        with redis_errors():
            return sorted(self.client.smembers(self.key("active")))

    def submissions(self, job_ids: Sequence[str]) -> list[tuple[str, bool, float]]:
        """Jobs with whether they have a plan, and when they came. One that cannot be read counts as planned: it is
        looked at, and ended."""
        pipe = self.client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hexists(self.key("job", job_id), "plan")
            pipe.zscore(self.key("jobs"), job_id)
        with redis_errors():
            answers = iter(pipe.execute(raise_on_error=False))
        return [(job_id, bool(next(answers)), read_or(0.0, float, next(answers))) for job_id in job_ids]

    def statuses(self, job_ids: Sequence[str]) -> list[str | None]:
        """The statuses of these jobs; None for what is gone or cannot be read."""
        pipe = self.client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(self.key("job", job_id), "status")
        with redis_errors():
            return [read_or(None, str, answer) for answer in pipe.execute(raise_on_error=False)]

    def ping(self) -> None:
        """Raises `UnavailableError` where Redis does not answer: what failed was not one job's matter."""
        with redis_errors():
            self.client.ping()

    def check_common(self) -> None:
        """Raises `UnavailableError` where a key of all jobs holds something else: then no job is to blame."""
        pipe = self.client.pipeline(transaction=False)
        for name in COMMON:
            pipe.type(self.key(name))
        with redis_errors():
            found = zip(COMMON.items(), pipe.execute(), strict=True)
        if wrong := [name for (name, kind), held in found if held not in (kind, "none")]:
            raise UnavailableError(
                f"Redis holds something else under {', '.join(map(self.key, wrong))}; rename it away"
            )

    def cancel(self, job_id: str) -> str:
        """Asks a job to end; the answer is its status. Raises `NotFoundError`.

        One whose keys cannot be read is put aside at once, so that there is no job that cannot be cancelled.
        """
        try:
            status = self.steps.run("cancel", job_id)
            with redis_errors():
                if status == "unknown" and not self.client.exists(self.key("job", job_id)):
                    raise self._unknown(job_id)
            return JobStatus(status).value
        except DAMAGE as error:
            reason = f"it was cancelled, and its record could not be read ({summarize(error)}); submit its spec again"
            self.quarantine(job_id, ErrorInfo(code="damaged_record", message=reason))
            return self.shown_job(job_id).status.value

    def retry(self, job_id: str) -> str:
        """Runs a job's failed and cancelled shards again. Raises `ConflictError`, `NotFoundError`."""
        status = self._known(job_id, self.steps.run("retry", job_id))
        if status != "retried":
            raise ConflictError(f"job {job_id} is {status}; only a failed or cancelled job can be retried")
        return "running"

    def end(self, job_id: str, status: str, error: ErrorInfo | None = None) -> bool:
        """Makes a job terminal; False where it already was."""
        return bool(self.steps.run("end_job", job_id, status, error.model_dump_json() if error else ""))

    def quarantine(self, job_id: str, error: ErrorInfo) -> bool:
        """Fails a job that `end` cannot end: what cannot be read of it is put aside for a month, under `aside:`."""
        queues = [queue.value for queue in Queue]
        return bool(self.steps.run("quarantine", job_id, error.model_dump_json(), ASIDE_DAYS, *queues))

    def mark_damaged(self, job_id: str, reason: str) -> None:
        """Tells the orchestrator's main loop of a job that has to be ended, whoever meets it."""
        with redis_errors():
            self.client.hset(self.key("damaged"), job_id, reason)

    def damaged(self) -> dict[str, str]:
        """Jobs of which a step met what it cannot read, with what that was; `quarantine` takes one off."""
        with redis_errors():
            return dict(self.client.hgetall(self.key("damaged")))

    def stale(self) -> dict[str, int]:
        """Jobs that are over and whose archive lacks something, each with the number that `archived` wants."""
        with redis_errors():
            return {job_id: int(seen) for job_id, seen in sorted(self.client.hgetall(self.key("stale")).items())}

    def mark_stale(self, job_id: str) -> None:
        """The archive of a job that is over is to be written again."""
        with redis_errors():
            self.client.hincrby(self.key("stale"), job_id, 1)

    def archived(self, job_id: str, seen: int) -> bool:
        """The archive holds everything up to `seen`; False where more came meanwhile."""
        return bool(self.steps.run("archived", job_id, seen))

    def _known(self, job_id: str, status: str) -> str:
        if status == "unknown":
            raise self._unknown(job_id)
        return status

    @staticmethod
    def _unknown(job_id: str) -> NotFoundError:
        return NotFoundError(f"there is no job {job_id}; list them with: sense jobs", code="job_not_found")

    # plan and stages

    def set_plan(self, job_id: str, plan: Plan) -> bool:
        """Stores the compiled plan once; False where there is one already: that one counts, for who compiled too."""
        args: list[str | int] = []
        for stage in plan.stages:
            contract, device = CONTRACTS[stage.task], stage.device
            args += [stage.id, stage.task, contract.queue.value, contract.max_attempts]
            args += [device.name if device else "", device.hold if device else ""]
            args += [stage.frees or "", int(isinstance(stage.source, Each))]
        return bool(self.steps.run("set_plan", job_id, plan.model_dump_json(), *args))

    def plan(self, job_id: str) -> Plan | None:
        """The stored plan, or None before the orchestrator compiled it. A plan never changes: it is read once."""
        if (known := self._plans.get(job_id)) is not None:
            self._plans.move_to_end(job_id)
            return known
        with redis_errors():
            text = self.client.hget(self.key("job", job_id), "plan")
        if not text:
            return None
        plan = self._plans[job_id] = Plan.model_validate_json(text)
        while len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan

    def request_ids(self, job_ids: Iterable[str]) -> dict[str, str]:
        """The request that each job came with; the job's own id where it came with none."""
        wanted = sorted(set(job_ids))
        pipe = self.client.pipeline(transaction=False)
        for job_id in wanted:
            pipe.hget(self.key("job", job_id), "request_id")
        with redis_errors():
            answers = zip(wanted, pipe.execute(raise_on_error=False), strict=True)
        return {job_id: found if isinstance(found, str) and found else job_id for job_id, found in answers}

    def forget_plan(self, job_id: str) -> None:
        """The job is over: its plan need not stay in this process."""
        self._plans.pop(job_id, None)

    def add_shards(self, job_id: str, stage: str, shards: Mapping[int, Mapping[str, Any]]) -> int:
        """Adds rows that do not exist yet, a thousand a step so that nobody waits long; how many were added."""
        added = 0
        for some in batches(shards.items(), BATCH):
            args = [part for shard, params in some for part in (shard, compact(params))]
            added += int(self.steps.run("add_shards", job_id, stage, *args))
        return added

    def close_stage(self, job_id: str, stage: str, *, skipped: bool = False) -> None:
        """No more shards will be added."""
        self.steps.run("close_stage", job_id, stage, int(skipped))

    def stage_states(self, job_id: str, plan: Plan, *, members: bool = True) -> dict[str, StageState]:
        """Every stage's state; `members` adds which shards exist and are done."""
        pipe = self.client.pipeline(transaction=True)
        for stage in plan.stages:
            pipe.hgetall(self.key("job", job_id, "stage", stage.id))
            if members:
                pipe.zrange(self.key("job", job_id, "shards", stage.id), 0, -1)
                pipe.smembers(self.key("job", job_id, "done", stage.id))
        with redis_errors():
            answers = iter(pipe.execute())
        states = {}
        for stage in plan.stages:
            fields = next(answers)
            existing = frozenset(map(int, next(answers))) if members else frozenset()
            finished = frozenset(map(int, next(answers))) if members else frozenset()
            states[stage.id] = read_stage(fields, existing, finished)
        return states

    def sums(self, job_id: str, stage: str) -> StageState:
        """One stage's counts and sums, without its members: the cost does not grow with the stage."""
        with redis_errors():
            return read_stage(self.client.hgetall(self.key("job", job_id, "stage", stage)), frozenset(), frozenset())

    def look(self, job_id: str, plan: Plan, news: Mapping[str, Set[int]]) -> tuple[JobStatus, dict[str, StageState]]:
        """The job's status and its stages at one moment, at a cost that does not grow with the job.

        Of members it reads only `news`, finished shards by stage: they are `finished` there, and those of them that a
        following stage has are `existing` in it. Raises `NotFoundError`.
        """
        known = {stage: sorted(shards) for stage, shards in news.items() if shards}
        asked = {stage.id: known.get(stage.source.stage, []) for stage in plan.stages if isinstance(stage.source, Each)}
        pipe = self.client.pipeline(transaction=True)
        pipe.hget(self.key("job", job_id), "status")
        for stage in plan.stages:
            pipe.hgetall(self.key("job", job_id, "stage", stage.id))
            if shards := asked.get(stage.id):
                pipe.zmscore(self.key("job", job_id, "shards", stage.id), shards)
            if isinstance(stage.source, TopUp):  # one shard a wave: all of them are read
                pipe.zrange(self.key("job", job_id, "shards", stage.id), 0, -1)
                pipe.smembers(self.key("job", job_id, "done", stage.id))
        with redis_errors():
            status, *rest = pipe.execute()
        if status is None:
            raise self._unknown(job_id)
        answers, states = iter(rest), {}
        for stage in plan.stages:
            fields, shards = next(answers), asked.get(stage.id)
            scores = zip(shards, next(answers), strict=True) if shards else ()
            existing = frozenset(shard for shard, score in scores if score is not None)
            finished = frozenset(known.get(stage.id, ()))
            if isinstance(stage.source, TopUp):
                existing, finished = frozenset(map(int, next(answers))), frozenset(map(int, next(answers)))
            states[stage.id] = read_stage(fields, existing, finished)
        return JobStatus(status), states

    def missing(self, job_id: str, upstream: str, stage: str, most: int = 5 * BATCH) -> set[int]:
        """Up to `most` shards that are done upstream and that `stage` does not have."""
        with redis_errors():
            names = [self.key("job", job_id, "done", upstream), self.key("job", job_id, "shards", stage)]
            return set(map(int, islice(self.client.zdiff(names), most)))

    # rows

    def row(self, job_id: str, stage: str, shard: int) -> ShardRow:
        """One row. Raises `NotFoundError`."""
        with redis_errors():
            fields = self.client.hgetall(self.key("job", job_id, "row", stage, str(shard)))
        if not fields:
            raise NotFoundError(f"job {job_id} has no shard {stage}/{shard}")
        return read_row(stage, shard, fields)

    def rows(self, job_id: str, stage: str) -> Iterator[ShardRow]:
        """A stage's rows in shard order."""
        with redis_errors():
            shards = self.client.zrange(self.key("job", job_id, "shards", stage), 0, -1)
        for some in batches(shards, BATCH):
            yield from filter(None, self.rows_at([(job_id, stage, int(shard)) for shard in some]))

    def readable_rows(self, job_id: str, stage: str) -> Iterator[ShardRow]:
        """As `rows`, without those that cannot be read: for lists and archives, never to compute with."""
        try:
            with redis_errors():
                shards = self.client.zrange(self.key("job", job_id, "shards", stage), 0, -1)
            places = [(job_id, stage, int(shard)) for shard in shards]
        except DAMAGE:
            return
        for some in batches(places, BATCH):
            yield from (row for row in self.readable_rows_at(some) if isinstance(row, ShardRow))

    def rows_at(self, places: Sequence[tuple[str, str, int]]) -> list[ShardRow | None]:
        """Rows by job, stage and shard, in this order and in one exchange; None for what does not exist."""
        found: list[ShardRow | None] = []
        for row in self.readable_rows_at(places):
            if isinstance(row, Exception):
                raise row
            found.append(row)
        return found

    def readable_rows_at(self, places: Sequence[tuple[str, str, int]]) -> list[ShardRow | Exception | None]:
        """As `rows_at`; for a row that cannot be read, why."""
        pipe = self.client.pipeline(transaction=False)
        for job_id, stage, shard in places:
            pipe.hgetall(self.key("job", job_id, "row", stage, str(shard)))
        with redis_errors():
            answers = pipe.execute(raise_on_error=False)
        found: list[ShardRow | Exception | None] = []
        for (_, stage, shard), fields in zip(places, answers, strict=True):
            try:
                with redis_errors():
                    found.append(read_row(stage, shard, checked(fields)) if fields else None)
            except DAMAGE as error:
                found.append(error)
        return found

    def take(self, queue: Queue, most: int) -> list[tuple[str, str, int]]:
        """Marks up to `most` queued rows of a queue as sent, job by job in turn."""
        flat = self.steps.run("take", queue.value, most)
        return [(flat[i], flat[i + 1], int(flat[i + 2])) for i in range(0, len(flat), 3)]

    def in_flight(self, queue: Queue) -> tuple[int, int]:
        """Rows of a queue that are sent and unclaimed, and that run."""
        with redis_errors():
            sent = self.client.zcard(self.key("queue", queue.value, "sent"))
            return int(sent), int(self.client.scard(self.key("queue", queue.value, "running")))

    def loads(self) -> dict[Queue, Load]:
        """What every queue has to do, in one exchange."""
        pipe = self.client.pipeline(transaction=False)
        for queue in Queue:
            pipe.zcard(self.key("queue", queue.value, "sent"))
            pipe.scard(self.key("queue", queue.value, "running"))
            pipe.llen(self.key("queue", queue.value, "turns"))
        with redis_errors():
            found = iter(pipe.execute())
        return {queue: Load(sent=next(found), running=next(found), jobs=next(found)) for queue in Queue}

    def claim(
        self, job_id: str, stage: str, shard: int, attempt: int, *, token: str, worker: str, lease_s: float
    ) -> str:
        """`ok`, `cancelled` or `gone` (another has it, or the attempt is old)."""
        return str(self.steps.run("claim", job_id, stage, shard, attempt, token, worker, lease_s))

    def renew(self, job_id: str, stage: str, shard: int, *, token: str, worker: str, lease_s: float) -> str:
        """`ok`, `cancelling`, `draining` (the worker was told to stop) or `lost`."""
        return str(self.steps.run("renew", job_id, stage, shard, token, lease_s, worker))

    def checkpointed(self, job_id: str, stage: str, shard: int, *, token: str) -> bool:
        """A part of the work is safe: the shard has all its attempts again; False where the lease is lost."""
        return bool(self.steps.run("checkpointed", job_id, stage, shard, token) == "ok")

    def finish(self, fact: Fact, counts: Counts, *, token: str) -> bool:
        """Records a shard as done with its outputs and counts, and appends the fact; False where the lease is lost."""
        outputs = compact({name: ref.model_dump() for name, ref in fact.outputs.items()})
        numbers = counts.model_dump_json()
        data = compact({**fact.model_dump(mode="json"), "counts": counts.model_dump()})
        where = (fact.job_id, fact.stage, fact.shard, token)
        return bool(self.steps.run("settle", *where, "done", outputs, numbers, "{}", fact.name, data, 0) == "ok")

    def fail(self, job_id: str, stage: str, shard: int, *, token: str, error: ErrorInfo, pause_s: float) -> bool:
        """Records why an attempt failed: for good, or, where `error.retryable`, until the reaper sends it again."""
        how = "retry" if error.retryable else "failed"
        return self._settle(job_id, stage, shard, token, how, error.model_dump_json(), pause_s)

    def hand_back(self, job_id: str, stage: str, shard: int, *, token: str, cancelled: bool = False) -> bool:
        """Returns a shard uncounted (its worker stops), or settles it as cancelled."""
        how = "cancelled" if cancelled else "back"
        return self._settle(job_id, stage, shard, token, how, "{}", 0)

    def _settle(self, job_id: str, stage: str, shard: int, token: str, how: str, error: str, pause_s: float) -> bool:
        answer = self.steps.run("settle", job_id, stage, shard, token, how, "", "{}", error, "", "", pause_s)
        return bool(answer == "ok")

    def reap(self, most: int = 1000) -> list[str]:
        """Moves rows whose lease ran out: queued at the next attempt, or failed."""
        error = ErrorInfo(
            code="lease_expired", message="the worker was lost in the middle of this shard", retryable=True
        )
        return list(self.steps.run("reap", most, error.model_dump_json()))

    def resend(self, queue: Queue, lease_s: float) -> int:
        """Rows whose message was not claimed within a lease are queued again at the same attempt."""
        return int(self.steps.run("resend", queue.value, lease_s))

    def outputs(self, job_id: str, stage: str, name: str) -> list[ObjectRef]:
        """One named output of every finished shard, in shard order."""
        return [row.outputs[name] for row in self.rows(job_id, stage) if row.state == "done" and name in row.outputs]
