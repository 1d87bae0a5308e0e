"""The job store: jobs, stages and shards in Redis. Every change is made by an atomic script.

Large changes are made in slices, one script each (docs/decisions/0027-counters-first.md).
"""

import hashlib
import json
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import redis
from pydantic import ValidationError

from shared.contracts.base import Counts, ObjectRef, Owner, Queue, ShardFinished
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import AnySpec
from shared.errors import ConflictError, LimitError, NotFoundError, SenseError, UnavailableError
from shared.jobs.plan import EachShard, JobPlan, TopUp
from shared.jobs.state import (
    DAMAGE_ERRORS,
    ErrorInfo,
    JobRecord,
    JobStatus,
    ShardRecord,
    StageState,
    raise_if_error,
    read_job,
    read_or_default,
    read_shard,
    read_stage,
    salvage_job,
    summarize_error,
)
from shared.jobs.steps import Steps
from shared.logging import get_logger
from shared.redis import RedisClient, redis_errors

IDEMPOTENCY_TTL_S = 24 * 3600
PLANS_KEPT = 128  # plans never change, so a process may cache them
BATCH = 1000
SLICE = 100  # shards that one script may move: Redis does nothing else for that millisecond or two
LOOKS = 500  # jobs that one `take` may look at
AT_ONCE_S = 0.2  # how long a caller of `cancel` or `retry` settles shards; the orchestrator does the rest
HEALED_PAGES = 50  # pages that one call of `missing` compares; the next call continues behind them
RESENDS = 5  # vanished messages in a row before they count as an attempt: see `resend`
ASIDE_DAYS = 30
COMMON_KEYS = {
    "jobs": "zset",
    "active": "set",
    "stale": "hash",
    "leases": "zset",
    "damaged": "hash",
    "events": "stream",
}
T = TypeVar("T")
log = get_logger()


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class UnreadablePlanError(SenseError, ValueError):
    """A plan of another version, or a damaged one. As a `ValueError` it is one of `DAMAGE_ERRORS`."""

    code = "other_version"


def owned_key(idempotency_key: str, owner: Owner | None) -> str:
    return f"{owner.id}:{idempotency_key}" if owner and idempotency_key else idempotency_key


class TooManyJobsError(LimitError):
    """The API key has as many active jobs as it may have."""

    code = "too_many_jobs"

    def __init__(self, owner: str, most: int) -> None:
        super().__init__(
            f"the key {owner} has {most} jobs that are not over, and may have no more; wait for one or cancel one, or "
            "have the limit raised (sense keys change --jobs, SENSE_GATEWAY_KEY_JOBS)"
        )


class Load(NamedTuple):
    """A queue: shards that are sent and unclaimed, shards that run, and jobs with waiting shards."""

    sent: int
    running: int
    jobs: int


class JobStore:
    """All methods raise `UnavailableError` if Redis does not answer."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.steps = Steps(client, prefix)
        self._plans: OrderedDict[str, JobPlan] = OrderedDict()
        self._compared: OrderedDict[tuple[str, str], int] = OrderedDict()

    def key(self, *parts: str) -> str:
        return self.prefix + ":".join(parts)

    # jobs

    def submit(
        self,
        spec: AnySpec,
        *,
        request_id: str = "",
        idempotency_key: str = "",
        owner: Owner | None = None,
        most: int | None = None,
    ) -> tuple[str, bool]:
        """Returns a new job's id and True, or the id of the owner's job with this idempotency key and False.

        The latter may have left Redis for its archive. Raises `ConflictError` (code idempotency_mismatch) if the key
        was used with another body, `TooManyJobsError` if the owner has `most` active jobs.
        """
        body = compact(spec.model_dump(mode="json"))
        digest = hashlib.sha256(body.encode()).hexdigest()
        job_id = f"{uuid.uuid4().hex[:12]}"
        own = (owner.id, owner.name) if owner else ("", "")
        idempotency_key = owned_key(idempotency_key, owner)
        fields = (spec.kind, spec.name, body, request_id, *own, -1 if most is None else most)
        answer = self.steps.run("submit", job_id, idempotency_key, IDEMPOTENCY_TTL_S, digest, *fields)
        if answer[0] == "full":
            raise TooManyJobsError(own[1], most or 0)
        if answer[0] == "other":
            message = f"the Idempotency-Key was used for job {answer[1]} with another body; choose a new key"
            raise ConflictError(message, code="idempotency_mismatch")
        return str(answer[1]), answer[0] == "new"

    def submitted(self, spec: AnySpec, idempotency_key: str, owner: Owner | None) -> str | None:
        digest = hashlib.sha256(compact(spec.model_dump(mode="json")).encode()).hexdigest()
        with redis_errors():
            found = self.client.hmget(self.key("idempotency", owned_key(idempotency_key, owner)), "job", "body")
        return str(found[0]) if found[1] == digest else None

    def job(self, job_id: str) -> JobRecord:
        with redis_errors():
            fields = self.client.hgetall(self.key("job", job_id))
        if not fields:
            raise self._unknown(job_id)
        return read_job(fields)

    def knows(self, job_id: str) -> bool:
        """Returns False for a job that has left for the archive, even while its shards are still being removed."""
        with redis_errors():
            return bool(self.client.exists(self.key("job", job_id)))

    def shown_job(self, job_id: str) -> JobRecord:
        try:
            return self.job(job_id)
        except DAMAGE_ERRORS as error:
            with redis_errors():
                # HGETALL fails on a key of another type, so the type is checked first
                is_hash = self.client.type(self.key("job", job_id)) == "hash"
                return salvage_job(job_id, self.client.hgetall(self.key("job", job_id)) if is_hash else {}, error)

    def owner(self, job_id: str) -> Owner | None:
        with redis_errors():
            key_id, name = self.client.hmget(self.key("job", job_id), "owner_id", "owner")
        return Owner(id=key_id, name=name or "") if key_id else None

    def job_ids(self) -> list[str]:
        with redis_errors():
            return list(self.client.zrevrange(self.key("jobs"), 0, -1))

    def active(self) -> list[str]:
        with redis_errors():
            return sorted(self.client.smembers(self.key("active")))

    def submissions(self, job_ids: Sequence[str]) -> list[tuple[str, bool, float]]:
        """Returns for each job whether it has a plan and when it was submitted.

        A job that cannot be read counts as planned, so that the orchestrator looks at it and ends it.
        """
        pipe = self.client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hexists(self.key("job", job_id), "plan")
            pipe.zscore(self.key("jobs"), job_id)
        with redis_errors():
            answers = iter(pipe.execute(raise_on_error=False))
        return [(job_id, bool(next(answers)), read_or_default(0.0, float, next(answers))) for job_id in job_ids]

    def statuses(self, job_ids: Sequence[str]) -> list[str | None]:
        pipe = self.client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(self.key("job", job_id), "status")
        with redis_errors():
            return [read_or_default(None, str, answer) for answer in pipe.execute(raise_on_error=False)]

    def ping(self) -> None:
        """Raises `UnavailableError` if Redis does not answer, so that no job is blamed for it."""
        with redis_errors():
            self.client.ping()

    def check_common(self) -> None:
        """Raises `UnavailableError` if a key of all jobs has the wrong type, so that no job is blamed for it."""
        pipe = self.client.pipeline(transaction=False)
        for name in COMMON_KEYS:
            pipe.type(self.key(name))
        with redis_errors():
            found = zip(COMMON_KEYS.items(), pipe.execute(), strict=True)
        if wrong := [name for (name, kind), held in found if held not in (kind, "none")]:
            raise UnavailableError(
                f"Redis holds something else under {', '.join(map(self.key, wrong))}; rename it away"
            )

    def cancel(self, job_id: str) -> str:
        """Returns the status of the job; its waiting shards are settled in slices. Raises `NotFoundError`.

        A job whose keys cannot be read is quarantined at once, so that every job can be cancelled.
        """
        try:
            status = self.steps.run("cancel", job_id)
            with redis_errors():
                if status == "unknown" and not self.client.exists(self.key("job", job_id)):
                    raise self._unknown(job_id)
            found = JobStatus(status).value
            self.settle_shards(job_id, AT_ONCE_S)
            return found
        except DAMAGE_ERRORS as error:
            reason = (
                f"it was cancelled, and its record could not be read ({summarize_error(error)}); submit its spec again"
            )
            self.quarantine(job_id, ErrorInfo(code="damaged_record", message=reason))
            return self.shown_job(job_id).status.value

    def retry(self, job_id: str, *, most: int | None = None) -> str:
        """Runs the failed and cancelled shards of a job again.

        Raises `ConflictError`, `NotFoundError`, `TooManyJobsError`.
        """
        status = self._known(job_id, self.steps.run("retry", job_id, -1 if most is None else most))
        if status == "full":
            owner = self.job(job_id).owner
            raise TooManyJobsError(owner.name if owner else "", most or 0)
        if status != "retried":
            raise ConflictError(f"job {job_id} is {status}; only a failed or cancelled job can be retried")
        self.settle_shards(job_id, AT_ONCE_S)
        return "running"

    def settle_shards(self, job_id: str, within_s: float) -> bool:
        ends = time.monotonic() + within_s
        try:
            while self.steps.run("settle_shards", job_id, SLICE):
                if time.monotonic() >= ends:
                    return False
        except redis.ResponseError as error:
            # a key of this job has the wrong type: its shards stay as they are, and the job can end
            log.error("job.rows_not_settled", job=job_id, error=str(error))
            with redis_errors():
                self.client.hdel(self.key("job", job_id), "settle", "settle_stage", "settle_from")
                self.client.srem(self.key("settling"), job_id)
        return True

    def work_off(self, within_s: float = AT_ONCE_S) -> None:
        ends = time.monotonic() + within_s
        pipe = self.client.pipeline(transaction=False)
        pipe.smembers(self.key("settling"))
        pipe.smembers(self.key("leaving"))
        with redis_errors():
            settling, leaving = map(sorted, pipe.execute())
        random.shuffle(settling)  # so that no job is always the last to get its share of the time
        for number, job_id in enumerate(settling):
            left = ends - time.monotonic()
            if left <= 0 and number:
                break
            self.settle_shards(job_id, max(0.0, left) / (len(settling) - number))
        for job_id in leaving:
            if not self.remove_readable_shards(job_id, max(0.0, ends - time.monotonic())):
                break

    def remove_readable_shards(self, job_id: str, within_s: float) -> bool:
        """As `remove_shards`, but data that cannot be read stays for an operator to look at."""
        try:
            return self.remove_shards(job_id, within_s)
        except DAMAGE_ERRORS as error:
            log.warning("retention.unreadable", job=job_id, error=summarize_error(error))
            return True

    def remove_shards(self, job_id: str, within_s: float) -> bool:
        """Continues to remove a job that has left, by at least one slice; True if nothing of it remains."""
        ends = time.monotonic() + within_s
        with redis_errors():
            for stage in self.client.lrange(self.key("job", job_id, "stages"), 0, -1):
                members = self.key("job", job_id, "shards", stage)
                while shards := self.client.zrange(members, 0, BATCH - 1):
                    self.client.unlink(*[self.key("job", job_id, "row", stage, shard) for shard in shards])
                    self.client.zremrangebyrank(members, 0, len(shards) - 1)
                    if time.monotonic() >= ends:
                        return False
                queue = self.client.hget(self.key("job", job_id, "stage", stage), "queue")
                self.client.unlink(*[self.key("job", job_id, part, stage) for part in ("shards", "done", "stage")])
                self.client.unlink(self.key("queue", queue or "none", "pending", job_id))
            scopes = self.client.smembers(self.key("job", job_id, "budgets"))
            self.client.unlink(
                *[self.key("job", job_id, part) for part in ("events", "budgets")],
                *[self.key("job", job_id, "budget", scope) for scope in scopes],
            )
            # the list of stages goes last: an interrupted removal needs it to continue
            self.client.unlink(self.key("job", job_id, "stages"))
            self.client.srem(self.key("leaving"), job_id)
        return True

    def end(self, job_id: str, status: str, error: ErrorInfo | None = None) -> bool:
        """Returns False if the job was already terminal."""
        return bool(self.steps.run("end_job", job_id, status, error.model_dump_json() if error else ""))

    def quarantine(self, job_id: str, error: ErrorInfo) -> bool:
        """Fails a job that `end` cannot end. What cannot be read is kept under `aside:` for a month."""
        queues = [queue.value for queue in Queue]
        return bool(self.steps.run("quarantine", job_id, error.model_dump_json(), ASIDE_DAYS, *queues))

    def mark_damaged(self, job_id: str, reason: str) -> None:
        with redis_errors():
            self.client.hset(self.key("damaged"), job_id, reason)

    def damaged(self) -> dict[str, str]:
        with redis_errors():
            return dict(self.client.hgetall(self.key("damaged")))

    def stale(self) -> dict[str, int]:
        """Finished jobs whose archive is incomplete, each with the number to pass to `archived`.

        A job with unsettled shards is settled first; a large one is returned by a later call.
        """
        ends = time.monotonic() + AT_ONCE_S
        with redis_errors():
            settling = self.client.smembers(self.key("settling"))
            later = settling & set(self.client.hkeys(self.key("stale"))) if settling else set()
            for number, job_id in enumerate(sorted(later)):
                if number and time.monotonic() >= ends:
                    break
                if self.settle_shards(job_id, max(0.0, ends - time.monotonic()) / len(later)):
                    later.discard(job_id)
            stale = self.client.hgetall(self.key("stale"))
        return {job_id: int(seen) for job_id, seen in sorted(stale.items()) if job_id not in later}

    def mark_stale(self, job_id: str) -> None:
        with redis_errors():
            self.client.hincrby(self.key("stale"), job_id, 1)

    def archived(self, job_id: str, seen: int) -> bool:
        """Records that the archive holds everything up to `seen`; returns False if more has happened since."""
        return bool(self.steps.run("archived", job_id, seen))

    def _known(self, job_id: str, status: str) -> str:
        if status == "unknown":
            raise self._unknown(job_id)
        return status

    @staticmethod
    def _unknown(job_id: str) -> NotFoundError:
        return NotFoundError(f"there is no job {job_id}; list them with: sense jobs", code="job_not_found")

    # plan and stages

    def set_plan(self, job_id: str, plan: JobPlan) -> bool:
        args: list[str | int] = []
        for stage in plan.stages:
            contract, device = CONTRACTS[stage.task], stage.device
            args += [stage.id, stage.task, contract.queue.value, contract.max_attempts]
            args += [device.name if device else "", device.hold if device else ""]
            args += [stage.frees or "", int(isinstance(stage.source, EachShard))]
        return bool(self.steps.run("set_plan", job_id, plan.model_dump_json(), *args))

    def plan(self, job_id: str) -> JobPlan | None:
        """Returns None before the orchestrator has compiled the job. Plans never change, so they are cached.

        Raises `UnreadablePlanError` if this version cannot read it.
        """
        if (known := self._plans.get(job_id)) is not None:
            self._plans.move_to_end(job_id)
            return known
        with redis_errors():
            text = self.client.hget(self.key("job", job_id), "plan")
        if not text:
            return None
        try:
            plan = self._plans[job_id] = JobPlan.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UnreadablePlanError(
                f"the plan of job {job_id} is of another version of Sense ({place}: {first['msg']}); "
                "submit its spec again"
            ) from error
        while len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return plan

    def request_ids(self, job_ids: Iterable[str]) -> dict[str, str]:
        wanted = sorted(set(job_ids))
        pipe = self.client.pipeline(transaction=False)
        for job_id in wanted:
            pipe.hget(self.key("job", job_id), "request_id")
        with redis_errors():
            answers = zip(wanted, pipe.execute(raise_on_error=False), strict=True)
        return {job_id: found if isinstance(found, str) and found else job_id for job_id, found in answers}

    def forget_plan(self, job_id: str) -> None:
        self._plans.pop(job_id, None)

    def add_shards(self, job_id: str, stage: str, shards: Mapping[int, Mapping[str, Any]]) -> int:
        added = 0
        for some in batches(shards.items(), SLICE):
            args = [part for shard, params in some for part in (shard, compact(params))]
            added += int(self.steps.run("add_shards", job_id, stage, *args))
        return added

    def close_stage(self, job_id: str, stage: str, *, skipped: bool = False) -> None:
        self.steps.run("close_stage", job_id, stage, int(skipped))

    def stage_states(self, job_id: str, plan: JobPlan, *, members: bool = True) -> dict[str, StageState]:
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
        with redis_errors():
            return read_stage(self.client.hgetall(self.key("job", job_id, "stage", stage)), frozenset(), frozenset())

    def look(self, job_id: str, plan: JobPlan, news: Mapping[str, Set[int]]) -> tuple[JobStatus, dict[str, StageState]]:
        """Reads the status of a job and its stages at one moment, at a cost that does not grow with the job.

        It looks up no shards except `news`, the finished ones by stage. They become `finished` in their stage, and
        those that a following stage already has become `existing` there. Raises `NotFoundError`.
        """
        known = {stage: sorted(shards) for stage, shards in news.items() if shards}
        asked = {
            stage.id: known.get(stage.source.stage, []) for stage in plan.stages if isinstance(stage.source, EachShard)
        }
        pipe = self.client.pipeline(transaction=True)
        pipe.hget(self.key("job", job_id), "status")
        for stage in plan.stages:
            pipe.hgetall(self.key("job", job_id, "stage", stage.id))
            if shards := asked.get(stage.id):
                pipe.zmscore(self.key("job", job_id, "shards", stage.id), shards)
            if isinstance(stage.source, TopUp):  # one shard a wave, so all of them are read
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
        """Returns up to `most` shards that are done upstream and that `stage` does not have.

        Each call compares a limited number of pages, and the next call continues behind them. A few calls see all
        shards, and no command walks a whole set.
        """
        place = (job_id, stage)
        first, found = self._compared.pop(place, 0), set[int]()
        wraps = first > 0
        for _ in range(HEALED_PAGES):
            shards = self._page(job_id, upstream, first)
            if shards:
                pipe = self.client.pipeline(transaction=False)
                pipe.smismember(self.key("job", job_id, "done", upstream), shards)
                pipe.zmscore(self.key("job", job_id, "shards", stage), shards)
                with redis_errors():
                    done, scores = pipe.execute()
                answers = zip(shards, done, scores, strict=True)
                lacking = [int(shard) for shard, is_done, score in answers if is_done and score is None]
                found.update(lacking[: most - len(found)])
            if len(shards) < BATCH:
                if found or not wraps:
                    return found
                first, wraps = 0, False  # nothing is missing behind the last place: continue at the start
                continue
            first = int(shards[-1]) + 1
            if len(found) >= most:
                break
        self._compared[place] = 0 if len(found) >= most else first
        while len(self._compared) > PLANS_KEPT:
            self._compared.popitem(last=False)
        return found

    def _page(self, job_id: str, stage: str, first: int) -> list[str]:
        name = self.key("job", job_id, "shards", stage)
        with redis_errors():
            return list(self.client.zrangebyscore(name, first, "+inf", start=0, num=BATCH))

    # shards

    def shard(self, job_id: str, stage: str, shard: int) -> ShardRecord:
        with redis_errors():
            fields = self.client.hgetall(self.key("job", job_id, "row", stage, str(shard)))
        if not fields:
            raise NotFoundError(f"job {job_id} has no shard {stage}/{shard}")
        return read_shard(stage, shard, fields)

    def shards(self, job_id: str, stage: str) -> Iterator[ShardRecord]:
        first = 0
        while shards := self._page(job_id, stage, first):
            yield from filter(None, self.shards_at([(job_id, stage, int(shard)) for shard in shards]))
            if len(shards) < BATCH:
                return
            first = int(shards[-1]) + 1

    def first_failed_shard(self, job_id: str, stage: str) -> ShardRecord | None:
        with redis_errors():
            shard = self.client.hget(self.key("job", job_id, "stage", stage), "first_failed")
        # the recorded shard may be unreadable or may have been retried: then all shards are read
        row = next(iter(self.readable_shards_at([(job_id, stage, int(shard))])), None) if shard is not None else None
        if isinstance(row, ShardRecord) and row.state == "failed":
            return row
        return next((row for row in self.readable_shards(job_id, stage) if row.state == "failed"), None)

    def readable_shards(self, job_id: str, stage: str) -> Iterator[ShardRecord]:
        """As `shards`, without those that cannot be read. Use it for lists and archives, never to compute with."""
        first = 0
        while True:
            try:
                shards = [int(shard) for shard in self._page(job_id, stage, first)]
            except DAMAGE_ERRORS:
                return
            found = self.readable_shards_at([(job_id, stage, shard) for shard in shards])
            yield from (row for row in found if isinstance(row, ShardRecord))
            if len(shards) < BATCH:
                return
            first = shards[-1] + 1

    def shards_at(self, places: Sequence[tuple[str, str, int]]) -> list[ShardRecord | None]:
        """Reads shards by job, stage and number in one exchange, in this order; None for one that does not exist."""
        found: list[ShardRecord | None] = []
        for row in self.readable_shards_at(places):
            if isinstance(row, Exception):
                raise row
            found.append(row)
        return found

    def readable_shards_at(self, places: Sequence[tuple[str, str, int]]) -> list[ShardRecord | Exception | None]:
        """As `shards_at`, but returns the error in place of a shard that cannot be read."""
        pipe = self.client.pipeline(transaction=False)
        for job_id, stage, shard in places:
            pipe.hgetall(self.key("job", job_id, "row", stage, str(shard)))
        with redis_errors():
            answers = pipe.execute(raise_on_error=False)
        found: list[ShardRecord | Exception | None] = []
        for (_, stage, shard), fields in zip(places, answers, strict=True):
            try:
                with redis_errors():
                    found.append(read_shard(stage, shard, raise_if_error(fields)) if fields else None)
            except DAMAGE_ERRORS as error:
                found.append(error)
        return found

    def take(self, queue: Queue, most: int) -> list[tuple[str, str, int]]:
        taken: list[tuple[str, str, int]] = []
        # several short scripts: Redis does nothing else while one runs
        while (room := min(SLICE, most - len(taken))) > 0:
            flat = self.steps.run("take", queue.value, room, LOOKS)
            taken += [(flat[i], flat[i + 1], int(flat[i + 2])) for i in range(0, len(flat), 3)]
            if len(flat) < 3 * room:
                break
        return taken

    def in_flight(self, queue: Queue) -> tuple[int, int]:
        with redis_errors():
            sent = self.client.zcard(self.key("queue", queue.value, "sent"))
            return int(sent), int(self.client.scard(self.key("queue", queue.value, "running")))

    def loads(self) -> dict[Queue, Load]:
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
        """Returns `ok`, `cancelled` or `gone` (another worker has it, or the attempt is old)."""
        return str(self.steps.run("claim", job_id, stage, shard, attempt, token, worker, lease_s))

    def renew(self, job_id: str, stage: str, shard: int, *, token: str, worker: str, lease_s: float) -> str:
        """Returns `ok`, `cancelling`, `draining` (the worker stops) or `lost`."""
        return str(self.steps.run("renew", job_id, stage, shard, token, lease_s, worker))

    def checkpointed(self, job_id: str, stage: str, shard: int, *, token: str) -> bool:
        """Gives the shard all its attempts back, because part of its work is safe; False if the lease is lost."""
        return bool(self.steps.run("checkpointed", job_id, stage, shard, token) == "ok")

    def finish(self, fact: ShardFinished, counts: Counts, *, token: str) -> bool:
        """Records a shard as done with its outputs and counts and appends the event; False if the lease is lost."""
        outputs = compact({name: ref.model_dump() for name, ref in fact.outputs.items()})
        numbers = counts.model_dump_json()
        data = compact({**fact.model_dump(mode="json"), "counts": counts.model_dump()})
        where = (fact.job_id, fact.stage, fact.shard, token)
        return bool(self.steps.run("settle", *where, "done", outputs, numbers, "{}", fact.name, data, 0) == "ok")

    def fail(self, job_id: str, stage: str, shard: int, *, token: str, error: ErrorInfo, pause_s: float) -> bool:
        how = "retry" if error.retryable else "failed"
        return self._settle(job_id, stage, shard, token, how, error.model_dump_json(), pause_s)

    def hand_back(self, job_id: str, stage: str, shard: int, *, token: str, cancelled: bool = False) -> bool:
        how = "cancelled" if cancelled else "back"
        return self._settle(job_id, stage, shard, token, how, "{}", 0)

    def _settle(self, job_id: str, stage: str, shard: int, token: str, how: str, error: str, pause_s: float) -> bool:
        answer = self.steps.run("settle", job_id, stage, shard, token, how, "", "{}", error, "", "", pause_s)
        return bool(answer == "ok")

    def reap(self, most: int = 1000) -> list[str]:
        """Queues shards whose lease ran out at their next attempt, or fails them after the last one."""
        error = ErrorInfo(
            code="lease_expired", message="the worker was lost in the middle of this shard", retryable=True
        )
        moved: list[str] = []
        while (room := min(SLICE, most - len(moved))) > 0:
            some = list(self.steps.run("reap", room, error.model_dump_json()))
            moved += some
            if len(some) < room:
                break
        return moved

    def resend(self, queue: Queue, lease_s: float, *, vanished: bool = False) -> int:
        """Queues shards again, at the same attempt, whose message was not claimed within a lease.

        `vanished` means that no message waits in the queue, so a worker took it. After `RESENDS` times in a row that
        counts as an attempt: otherwise a worker that takes messages and never starts would do so for ever.
        """
        message = f"workers took this shard's message {RESENDS} times and never began it; their logs say why"
        error = ErrorInfo(code="not_claimed", message=message, retryable=True).model_dump_json()
        count, looked = 0, SLICE
        while looked == SLICE:
            answer = self.steps.run("resend", queue.value, lease_s, SLICE, RESENDS if vanished else 0, error)
            looked, back = map(int, answer)
            count += back
        return count

    def outputs(self, job_id: str, stage: str, name: str) -> list[ObjectRef]:
        return [row.outputs[name] for row in self.shards(job_id, stage) if row.state == "done" and name in row.outputs]
