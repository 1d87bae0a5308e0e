"""Sampling against a plain flood of the same calls, and judging against the sampling of the embedded model.

    python -m tests.bench.bench_sampling [--questions 480] [--latency 0.5] [--places 8,32] [--repeats 3] [--no-engine]

(a) An endpoint (the tests' server, a process of its own) answers 8 samples a call after a log-normal time that depends
on the prompt alone. A bare loop of the openai client asks all questions with a fixed number of calls in flight; then
`pairing.sample_candidates` asks the same in shards as the orchestrator cuts them, through job store, answer log and
object store. Both have the same work before them, so busy is that work over places and seconds, and the ratio is the
flood's seconds over ours: medians of runs that take turns.

(b) `sandbox.judge_candidates` as pairs ask for it (strict and Spider's policy, 4 neighbours, programs) over the four
published prediction files of Spider dev, or synthetic questions where that data is absent; and, in the same run, the
embedded engine's rate of `pairing.sample_candidates` with answers of at most `--tokens` tokens.
"""

import argparse
import asyncio
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from services.orchestrator.planning.stages import ENDPOINT_SAMPLED_PER_SHARD, SAMPLED_PER_SHARD
from services.pairing.tasks import TASKS as PAIRING
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.tasks import TASKS as SANDBOX
from shared.catalog.databases import CardCache
from shared.contracts.base import TaskContract
from shared.contracts.pairing import SAMPLE_CANDIDATES
from shared.contracts.records import Candidate, Example
from shared.contracts.sandbox import JUDGE_CANDIDATES
from shared.contracts.spec import SynthesisSpec
from shared.jobs.plan import FixedShards, JobPlan, StagePlan
from shared.sql.prompt import render_messages
from shared.storage.directory import DirectoryStore
from shared.storage.records import dump_records
from shared.tasks.task import run_shard
from tests.bench.bench_pairing import as_candidate, make_database, store_sealed
from tests.support.benchmarks import DATA, spider_database, spider_golds, spider_predictions
from tests.support.datasets import make_example
from tests.support.openai_server import Request
from tests.support.valkey import start_valkey
from tests.unit.jobs.helpers import open_jobs
from tests.unit.serving.engine_process import EngineProcess

SAMPLES = 8
SIGMA = 0.6
LATENCY = float(os.environ.get("BENCH_LATENCY_S", "0.5"))
SYSTEMS = ("c3_chatgpt", "dail_sql_gpt4", "din_sql_gpt4", "graphix_t5_3b")
MODEL = Path(__file__).parents[2] / ".sense/models/smollm2-135m"


def service_s(messages: Any) -> float:
    """Seconds that a prompt takes, the same for whoever asks: log-normal, mean LATENCY."""
    text = "\n".join(message["content"] for message in messages)
    rng = random.Random(hashlib.sha256(text.encode()).hexdigest())
    return LATENCY * rng.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)


def slow_answer(request: Request) -> list[str]:
    """The server's answers, each after its time (the server has a thread a call)."""
    time.sleep(service_s(request["messages"]))
    return ["SELECT name FROM person WHERE age > 30"] * SAMPLES


class Bench:
    """A job store, an object store and one job whose stages are made as they are needed."""

    def __init__(self, root: Path, url: str) -> None:
        self.objects = DirectoryStore(root / "objects")
        self.jobs = open_jobs(url)
        os.environ |= {
            "SENSE_REDIS_URL": url,
            "SENSE_REDIS_PREFIX": self.jobs.prefix,
            "SENSE_STORE_ROOT": str(root / "objects"),
            "SENSE_STATE": str(root / "state"),
        }

    def run(self, contract: TaskContract, shards: Sequence[dict[str, Any]]) -> tuple[float, list[dict[str, int]]]:
        """Shards one after the other through the real task, as a worker does: seconds, and the counts of each."""
        job = self.jobs.submit(SynthesisSpec(kind="synthesis"))[0]
        stage = StagePlan(id="stage", task=contract.name, source=FixedShards(shards=list(shards)))
        self.jobs.set_plan(job, JobPlan(stages=[stage]))
        self.jobs.add_shards(job, "stage", dict(enumerate(shards)))
        tasks: dict[TaskContract, Any] = {**PAIRING, **SANDBOX}
        began = time.perf_counter()
        for number, fields in enumerate(shards):
            ids = {"job_id": job, "stage": "stage", "shard": number, "attempt": 1, "correlation_id": "bench"}
            run_shard(contract, contract.command.model_validate({**ids, **fields}), tasks[contract])
        seconds = time.perf_counter() - began
        rows = list(self.jobs.shards(job, "stage"))
        assert all(row.state == "done" for row in rows), [row.error for row in rows]
        return seconds, [row.counts for row in rows]

    def put(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Rows as an object that a command can name."""
        return self.objects.put(f"bench/{uuid.uuid4().hex}", dump_records(rows)).model_dump()


def questions_of(bench: Bench, root: Path, count: int) -> list[Example]:
    """Questions on ten small databases, each with a prompt of its own."""
    with SandboxPool(1) as pool:
        files = [make_database(root / f"q{number}.sqlite", number) for number in range(10)]
        ids = [store_sealed(bench.objects, file, pool) for file in files]
    return [
        make_example(n, ids[n % 10], "train", question=f"Who is older than {n % 70} and not number {n}?")
        for n in range(count)
    ]


@contextmanager
def slow_server(latency: float) -> Iterator[str]:
    """The tests' server as a process; its base URL."""
    words = ["-m", "tests.support.openai_server", "--answer", "tests.bench.bench_sampling:slow_answer", "--model", "w"]
    environment = {**os.environ, "BENCH_LATENCY_S": str(latency)}
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def flood(url: str, prompts: Sequence[Any], places: int) -> float:
    """All prompts with `places` calls in flight; seconds."""
    waiting = iter(prompts)

    async def work(client: AsyncOpenAI) -> None:
        for messages in waiting:
            await client.chat.completions.create(model="w", messages=messages, n=SAMPLES, seed=1, max_tokens=64)

    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=120) as client:
        began = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(places)))
        return time.perf_counter() - began


def sampled(bench: Bench, examples: Sequence[Example], size: int, endpoint: str, model: str, **more: Any) -> float:
    """The same through the service; candidates are checked, seconds given."""
    fields = {"endpoint": endpoint, "model": model, "samples": SAMPLES, "seed": random.randrange(1 << 30), **more}
    cut = [examples[begin : begin + size] for begin in range(0, len(examples), size)]
    seconds, counts = bench.run(SAMPLE_CANDIDATES, [{"examples": bench.put(part), **fields} for part in cut])
    assert sum(one["candidates"] for one in counts) == SAMPLES * len(examples)
    return seconds


def compare_sampling(bench: Bench, root: Path, given: argparse.Namespace) -> None:
    """Prints busy and ratio at each number of places."""
    examples, catalog = questions_of(bench, root, given.questions), CardCache(bench.objects)
    prompts = [
        [message.model_dump() for message in render_messages(catalog.card(one.database_id), one.question, rows=3)]
        for one in examples
    ]
    with slow_server(given.latency) as url:
        work = sum(service_s(messages) for messages in prompts) * given.latency / LATENCY
        for places in map(int, given.places.split(",")):
            os.environ |= {
                "SENSE_ENDPOINT_WEAK_BASE_URL": url,
                "SENSE_ENDPOINT_WEAK_MAX_CONCURRENCY": str(places),
            }
            pairs = []
            for _ in range(given.repeats):
                plain = asyncio.run(flood(url, prompts, places))
                pairs.append((plain, sampled(bench, examples, given.shard, "weak", "w", max_tokens=64)))
            plain, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(
                f"  {places:3} places: flood {plain:6.2f} s (busy {100 * work / places / plain:5.1f} %), sampling "
                f"{ours:6.2f} s (busy {100 * work / places / ours:5.1f} %), ratio {100 * ratio:5.1f} %",
                flush=True,
            )


def spider_shards(bench: Bench, root: Path, most: int) -> tuple[list[dict[str, Any]], int]:
    """The four prediction files as candidates, 24 questions a shard; or synthetic ones where the data is absent."""
    rows: list[tuple[Example, list[Candidate]]] = []
    with SandboxPool(1) as pool:
        if (DATA / "spider" / "dev_gold.sql").exists():
            files = [spider_predictions(name) for name in SYSTEMS]
            golds, ids = spider_golds(), {}
            for number, (gold, name) in enumerate(golds):
                if name not in ids:
                    ids[name] = store_sealed(bench.objects, spider_database(name), pool)
                example = make_example(number, ids[name], "train", gold=gold)
                rows.append((example, [as_candidate(example, slot, one[number]) for slot, one in enumerate(files)]))
        else:
            from tests.bench.bench_pairing import answers_to

            ident, rng = store_sealed(bench.objects, make_database(root / "j.sqlite", 1), pool), random.Random(1)
            for number in range(1000):
                gold, texts = answers_to(number, 4, rng)
                example = make_example(number, ident, "train", gold=gold)
                rows.append((example, [as_candidate(example, slot, text) for slot, text in enumerate(texts)]))
    shards, rows = [], rows[:most]
    for begin in range(0, len(rows), 24):
        part = rows[begin : begin + 24]
        shards.append(
            {
                "examples": bench.put([example for example, _ in part]),
                "candidates": bench.put([one for _, found in part for one in found]),
                "also": ["spider"],
                "suite_databases": 4,
                "programs": True,
            }
        )
    return shards, sum(len(found) for _, found in rows)


def compare_judging(bench: Bench, root: Path, given: argparse.Namespace) -> None:
    """Prints both rates and their ratio."""
    shards, candidates = spider_shards(bench, root, given.judged)
    first, _ = bench.run(JUDGE_CANDIDATES, shards)
    again, _ = bench.run(JUDGE_CANDIDATES, shards)
    for name, seconds in (("for the first time", first), ("golds and neighbours remembered", again)):
        print(f"  judging {candidates} candidates, {name}: {candidates / seconds:7.1f} a second", flush=True)
    if not given.engine:
        return
    engine = EngineProcess(root / "engine", load_timeout_s="600")
    try:
        engine.engine.load("m", str(MODEL), None)
        os.environ["SENSE_ENDPOINT_ENGINE_BASE_URL"] = f"{engine.url}/v1"
        os.environ["SENSE_ENDPOINT_ENGINE_MAX_CONCURRENCY"] = "64"
        examples = questions_of(bench, root, given.engine_questions)
        words = {"max_tokens": given.tokens, "sample_rows": 0}
        sampled(bench, examples[:4], 4, "engine", "m", **words)
        seconds = sampled(bench, examples, SAMPLED_PER_SHARD, "engine", "m", **words)
    finally:
        engine.stop()
    rate = SAMPLES * len(examples) / seconds
    print(f"  embedded model, at most {given.tokens} tokens an answer: {rate:7.1f} candidates a second", flush=True)
    print(f"  judging is {candidates / first / rate:.0f} times as fast (remembered: {candidates / again / rate:.0f})")


def main() -> None:
    """Prints a few lines for each part, and the machine's load: others may share it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=480)
    parser.add_argument("--latency", type=float, default=0.5, help="mean seconds of a call")
    parser.add_argument("--places", default="8,32", help="calls in flight; empty: only judging")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shard", type=int, default=ENDPOINT_SAMPLED_PER_SHARD, help="questions a shard")
    parser.add_argument("--tokens", type=int, default=32, help="of the embedded model's answers, at most")
    parser.add_argument("--judged", type=int, default=1034, help="questions whose answers are judged")
    parser.add_argument("--engine-questions", type=int, default=2 * SAMPLED_PER_SHARD)
    parser.add_argument("--no-engine", dest="engine", action="store_false")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_valkey(Path(folder) / "valkey") as url:
        root = Path(folder)
        bench = Bench(root, url)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
        if given.places:
            print(
                f"sampling {given.questions} questions, {SAMPLES} answers a call, {given.latency:g} s a call",
                flush=True,
            )
            compare_sampling(bench, root, given)
        compare_judging(bench, root, given)
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
