"""Jobs laid into a gateway's stores by hand: hostile words everywhere, lost shards, a training half way."""

import json
from functools import cache
from typing import Any
from uuid import uuid4

from services.gateway.backend import Backend
from shared.contracts.base import ObjectRef, OutputRef, ShardFinished, StageRef
from shared.contracts.records import Example, Outcome, Pair, Provenance, RejectedExample, Verdict, WrittenExample
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import parse_spec
from shared.contracts.synthesis import CollectSource
from shared.jobs.events import JobEvents
from shared.jobs.plan import EachShard, FixedShards, JobPlan, Slices, StagePlan
from shared.jobs.state import ErrorInfo
from shared.storage.records import dump_records

HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
HOSTILE_SQL = f"SELECT '{HOSTILE}' AS \"</pre><b>x\" -- <svg onload=window.harmed=1>"
DATABASE = "a" * 64
SOURCE = CollectSource(
    accepted=StageRef(stage="verify.train"),
    written=StageRef(stage="write.train"),
    rejected=[
        OutputRef(stage=StageRef(stage="write.train"), output="unparsed"),
        OutputRef(stage=StageRef(stage="verify.train"), output="rejected"),
    ],
)
PLAN = JobPlan(
    stages=[
        StagePlan(id="write.train", task="synthesis.write_examples", source=FixedShards(shards=[{}, {}])),
        StagePlan(
            id="verify.train",
            task="sandbox.verify_examples",
            source=EachShard(stage="write.train", fields={"written": "written"}),
        ),
        StagePlan(
            id="collect.train",
            task="synthesis.collect",
            source=FixedShards(shards=[{}]),
            after=["verify.train"],
            params={"name": "train", "sources": [SOURCE.model_dump()]},
        ),
        StagePlan(id="sft", task="training.train_model", source=FixedShards(shards=[{}]), after=["collect.train"]),
        StagePlan(
            id="sample",
            task="pairing.sample_candidates",
            source=Slices(stage="collect.train", output="examples", count="examples", size=24),
            after=["sft"],
        ),
        StagePlan(
            id="judge",
            task="sandbox.judge_candidates",
            source=EachShard(stage="sample", fields={"candidates": "candidates", "examples": "examples"}),
        ),
        StagePlan(id="pair", task="pairing.build_pairs", source=EachShard(stage="judge", fields={"judged": "judged"})),
    ]
)


def provenance() -> Provenance:
    """Of a writer that wrote markup."""
    return Provenance(writer="llm", writer_version="1", seed=1, source=HOSTILE, model=HOSTILE)


@cache
def hostile_example() -> Example:
    """Markup in every text that a model writes."""
    return Example(
        example_id="e" * 16,
        database_id=DATABASE,
        domain=HOSTILE,
        split="train",
        level="hard",
        question=f"How many? {HOSTILE}",
        evidence=HOSTILE,
        gold=HOSTILE_SQL,
        provenance=provenance(),
    )


def hostile_rejected() -> RejectedExample:
    """Refused, with a reason and a detail of markup."""
    written = WrittenExample(domain=HOSTILE, level="easy", question=HOSTILE, sql=HOSTILE_SQL, provenance=provenance())
    return RejectedExample(reason="gold_failed", detail=HOSTILE, written=written)


def hostile_pair() -> Pair:
    """Both sides of markup."""
    return Pair(
        example_id="e" * 16,
        sample_rows=3,
        chosen=HOSTILE_SQL,
        rejected=HOSTILE_SQL.replace("SELECT", "SELECT 1,"),
        chosen_slot=0,
        rejected_slot=1,
        rejected_verdict=Verdict.ERROR,
        rejected_outcome=Outcome.SYNTAX_ERROR,
        rejected_message=HOSTILE,
        model=HOSTILE,
        policy="one_per_question",
    )


class PreparedJob:
    """A job that a test moves itself."""

    def __init__(self, backend: Backend, name: str = "prepared", plan: JobPlan = PLAN) -> None:
        self.backend, self.jobs, self.plan = backend, backend.jobs, plan
        self.id = backend.jobs.submit(parse_spec({"kind": "pairing", "name": "prepared"}))[0]
        backend.jobs.client.hset(backend.jobs.key("job", self.id), "name", name)
        backend.jobs.set_plan(self.id, plan)

    def start(self, stage: str, shard: int = 0) -> str:
        """Adds a shard, closes its stage and claims it; the token."""
        token = uuid4().hex
        self.jobs.add_shards(self.id, stage, {shard: {}})
        assert self.jobs.claim(self.id, stage, shard, 1, token=token, worker="w", lease_s=60.0) == "ok"
        return token

    def finish(self, stage: str, shard: int = 0, counts: dict[str, int] | None = None, **outputs: bytes) -> None:
        """A shard from its start to its end."""
        token, contract = self.start(stage, shard), CONTRACTS[self.plan.stage(stage).task]
        refs: dict[str, ObjectRef] = {
            name: self.backend.objects.put(f"jobs/{self.id}/{stage}/{shard}.1.{name}.jsonl", data)
            for name, data in outputs.items()
        }
        fact = ShardFinished(name=contract.event, job_id=self.id, stage=stage, shard=shard, attempt=1, outputs=refs)
        zeros = {name: 0 for name, one in contract.counts.model_fields.items() if one.is_required()}
        assert self.jobs.finish(fact, contract.counts.model_validate({**zeros, **(counts or {})}), token=token)

    def lose(self, stage: str, shard: int, message: str) -> None:
        """A shard that fails for good."""
        error = ErrorInfo(code="boom", message=message)
        assert self.jobs.fail(self.id, stage, shard, token=self.start(stage, shard), error=error, pause_s=0)

    def tell(self, stage: str, **data: Any) -> None:
        """A progress record."""
        JobEvents(self.jobs.client, self.jobs.prefix, self.id).progress(stage, 0, data)

    def write_hostile_data(self) -> None:
        """Examples, refusals and pairs of markup, and a shard that was lost with markup."""
        rows, refused = dump_records([hostile_example()]), dump_records([hostile_rejected()])
        self.finish("write.train", 0, {"written": 1}, written=b"")
        self.lose("write.train", 1, HOSTILE)
        self.finish("verify.train", 0, {"accepted": 1}, examples=rows, rejected=refused)
        self.finish("collect.train", 0, {"examples": 1}, examples=rows, rejected=refused)
        self.finish("sample", 0, {"questions": 1}, candidates=b"", examples=rows)
        self.finish("pair", 0, {"pairs": 1}, pairs=dump_records([hostile_pair()]))

    def train(self, steps: int, total: int = 40) -> None:
        """A training that has told so many steps."""
        self.start("sft")
        for step in range(1, steps + 1):
            self.tell_step(step, total)

    def tell_step(self, step: int, total: int = 40) -> None:
        """One step of it."""
        line = {"step": step, "total_steps": total, "loss": 2.0 / step, "lr": 1e-4, "tokens": 100 * step}
        self.tell("sft", **json.loads(json.dumps(line)), seconds=float(step))
