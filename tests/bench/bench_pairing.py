"""100,000 candidates judged and paired: seconds, growth with the number, and memory a process.

    python -m tests.bench.bench_pairing [--candidates 100000] [--samples 8]

Real shards through the real tasks (`sandbox.judge_candidates`, `pairing.build_pairs`, `pairing.collect`) against a real
job store and a directory store, one process for each service, as workers are. The data is synthetic: 20 databases,
golds and answers made by seed, every question with constants of its own, so that the memory of golds and equal requests
help no more than in a real job. Two sizes, the first a quarter of the second, tell whether time is linear.
"""

import argparse
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from services.pairing.tasks import TASKS as PAIRING
from services.sandbox.building.databases import store_database
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.tasks import TASKS as SANDBOX
from shared.contracts.base import ObjectRef, ShardFinished, StageRef, TaskContract
from shared.contracts.pairing import BUILD_PAIRS, COLLECT_PAIRS
from shared.contracts.records import Candidate, Example
from shared.contracts.sandbox import JUDGE_CANDIDATES
from shared.contracts.spec import SynthesisSpec
from shared.contracts.synthesis import COLLECT, CollectedCounts
from shared.jobs.plan import FixedShards, JobPlan, StagePlan
from shared.jobs.store import JobStore
from shared.storage.directory import DirectoryStore
from shared.storage.records import dump_records
from shared.tasks.task import run_shard
from tests.support.datasets import make_example
from tests.support.valkey import start_valkey
from tests.unit.jobs.helpers import open_jobs

QUESTIONS_A_SHARD = 24
DATABASES = 20
ROWS = 300


def make_database(path: Path, seed: int) -> Path:
    """A table of people, of its own content by seed."""
    rng = random.Random(seed)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, city TEXT)")
    rows = [(n, f"P{rng.randrange(900)}", rng.randrange(18, 90), f"C{rng.randrange(12)}") for n in range(ROWS)]
    connection.executemany("INSERT INTO person VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def answers_to(number: int, samples: int, rng: random.Random) -> tuple[str, list[str]]:
    """A gold and its answers: right, nearly right, wrong, broken."""
    age = 20 + number % 60
    gold = f"SELECT name FROM person WHERE age > {age} AND id <> {number}"
    forms = [
        gold,
        f"select name from person where age > {age} and id <> {number};",
        f"SELECT name FROM person WHERE age >= {age} AND id <> {number}",
        f"SELECT city FROM person WHERE age > {age}",
        f"SELECT nam FROM person WHERE age > {number}",
        f"SELECT name FROM person WHERE age > {age} AND (id <> {number}",
        f"SELECT DISTINCT name FROM person WHERE age < {age} AND id <> {number}",
        f"SELECT count(*) FROM person WHERE age > {rng.randrange(90)} AND id <> {number}",
    ]
    return gold, [rng.choice(forms) for _ in range(samples)]


class Bench:
    """One size: a job of three stages over stored candidates."""

    def __init__(self, root: Path, url: str, candidates: int, samples: int) -> None:
        self.objects = DirectoryStore(root / "objects")
        self.jobs: JobStore = open_jobs(url)
        self.samples, self.questions = samples, candidates // samples
        self.environment = {
            "SENSE_REDIS_URL": url,
            "SENSE_REDIS_PREFIX": self.jobs.prefix,
            "SENSE_STORE_ROOT": str(root / "objects"),
            "SENSE_STATE": str(root / "state"),
        }
        self.databases = self._databases(root)
        self.job = self.jobs.submit(SynthesisSpec(kind="synthesis"))[0]

    def _databases(self, root: Path) -> list[str]:
        found = []
        with SandboxPool(1) as pool:
            for number in range(DATABASES):
                file = make_database(root / f"{number}.sqlite", number)
                found.append(store_sealed(self.objects, file, pool))
        return found

    def prepare(self) -> int:
        """Stores what sampling would have left; the number of shards."""
        rng = random.Random(7)
        every: list[Example] = []
        shards: list[dict[str, Any]] = []
        for begin in range(0, self.questions, QUESTIONS_A_SHARD):
            examples, candidates = [], []
            for number in range(begin, min(begin + QUESTIONS_A_SHARD, self.questions)):
                gold, answers = answers_to(number, self.samples, rng)
                example = make_example(number, self.databases[number % DATABASES], "train", gold=gold)
                examples.append(example)
                candidates += [as_candidate(example, slot, text) for slot, text in enumerate(answers)]
            place = f"bench/{uuid.uuid4().hex}"
            refs = {
                "examples": self.objects.put(f"{place}/examples", dump_records(examples)),
                "candidates": self.objects.put(f"{place}/candidates", dump_records(candidates)),
            }
            shards.append({name: ref.model_dump() for name, ref in refs.items()})
            every += examples
        self.plan(shards, self.objects.put(f"bench/{uuid.uuid4().hex}/all", dump_records(every)))
        return len(shards)

    def plan(self, shards: list[dict[str, Any]], examples: ObjectRef) -> None:
        """The plan, the rows of judging, and a collected dataset as if it had been made here."""
        source = FixedShards(shards=[{}])
        self.jobs.set_plan(
            self.job,
            JobPlan(
                stages=[
                    StagePlan(id="data", task=COLLECT.name, source=source),
                    StagePlan(id="judge", task=JUDGE_CANDIDATES.name, source=FixedShards(shards=shards)),
                    StagePlan(id="pair", task=BUILD_PAIRS.name, source=source),
                    StagePlan(id="collect", task=COLLECT_PAIRS.name, source=source),
                ]
            ),
        )
        self.jobs.add_shards(self.job, "judge", dict(enumerate(shards)))
        self.jobs.add_shards(self.job, "data", {0: {}})
        token = uuid.uuid4().hex
        self.jobs.claim(self.job, "data", 0, 1, token=token, worker="bench", lease_s=60)
        fact = ShardFinished(
            name=COLLECT.event,
            job_id=self.job,
            stage="data",
            shard=0,
            attempt=1,
            outputs={"examples": examples},
        )
        counts = dict.fromkeys(CollectedCounts.model_fields, 0) | {"examples": self.questions}
        self.jobs.finish(fact, CollectedCounts(**counts), token=token)

    def run(self, stage: str) -> dict[str, float]:
        """A stage's shards in a process of its own, as a worker is; seconds and MiB at the most."""
        arguments = [sys.executable, "-m", "tests.bench.bench_pairing", "--work", stage, "--job", self.job]
        done = subprocess.run(arguments, env={**os.environ, **self.environment}, check=True, stdout=subprocess.PIPE)
        found: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
        return found


def store_sealed(objects: DirectoryStore, file: Path, pool: SandboxPool) -> str:
    """Its id; the store names databases by their content."""
    import hashlib

    database_id = hashlib.sha256(file.read_bytes()).hexdigest()
    store_database(objects, file, database_id, pool)
    return database_id


def as_candidate(example: Example, slot: int, sql: str) -> Candidate:
    """An answer as sampling leaves it."""
    return Candidate(
        example_id=example.example_id, slot=slot, answer=sql, sql=sql, model="w", answer_key="answers/x.json"
    )


def peak_mib(pid: int) -> float:
    """The most memory that a living process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def params_of(jobs: JobStore, job: str, stage: str) -> list[dict[str, Any]]:
    """Each shard's own fields."""
    if stage == "judge":
        plan = jobs.plan(job)
        assert plan is not None and isinstance(plan.stage("judge").source, FixedShards)
        return [{**shard, "programs": True, "also": ["spider"]} for shard in plan.stage("judge").source.shards]
    if stage == "pair":
        return [{"judged": ref.model_dump()} for ref in jobs.outputs(job, "judge", "judged")]
    refs = {"pairs": StageRef(stage="pair").model_dump(), "dataset": StageRef(stage="data").model_dump()}
    return [{**refs, "max_length": 4096}]


def work(job: str, stage: str) -> None:
    """The worker: all shards of a stage, one after the other; prints its figures as its last line."""
    contracts: dict[str, TaskContract] = {"judge": JUDGE_CANDIDATES, "pair": BUILD_PAIRS, "collect": COLLECT_PAIRS}
    contract = contracts[stage]
    tasks = SANDBOX | PAIRING
    jobs = open_jobs(os.environ["SENSE_REDIS_URL"], os.environ["SENSE_REDIS_PREFIX"])
    shards = params_of(jobs, job, stage)
    if stage != "judge":
        jobs.add_shards(job, stage, {number: {} for number in range(len(shards))})
    began = time.perf_counter()
    for number, fields in enumerate(shards):
        ids = {"job_id": job, "stage": stage, "shard": number, "attempt": 1, "correlation_id": "bench"}
        run_shard(contract, contract.command.model_validate({**ids, **fields}), tasks[contract])
    seconds = time.perf_counter() - began
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    children = max((peak_mib(child.pid) for child in psutil.Process().children(recursive=True)), default=0.0)
    print(json.dumps({"seconds": seconds, "mib": own, "child_mib": children}), flush=True)
    os._exit(0)


def main() -> None:
    """Prints one line a stage and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--work", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--job", default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.job, given.work)
    for candidates in (given.candidates // 4, given.candidates):
        with tempfile.TemporaryDirectory() as folder, start_valkey(Path(folder) / "valkey") as url:
            bench = Bench(Path(folder), url, candidates, given.samples)
            shards = bench.prepare()
            print(f"{candidates} candidates, {bench.questions} questions, {shards} shards", flush=True)
            for stage in ("judge", "pair", "collect"):
                one = bench.run(stage)
                print(
                    f"  {stage:8} {one['seconds']:8.1f} s {candidates / one['seconds']:10.0f} candidates/s "
                    f"{one['mib']:6.0f} MiB (largest child {one['child_mib']:.0f} MiB)",
                    flush=True,
                )
            counts = {stage: bench.jobs.shards(bench.job, stage) for stage in ("pair", "collect")}
            pairs = {stage: sum(row.counts.get("pairs", 0) for row in rows) for stage, rows in counts.items()}
            print(f"  pairs built {pairs['pair']}, kept {pairs['collect']}", flush=True)


if __name__ == "__main__":
    main()
