"""The sandbox against a bare in-process loop of `sqlite3` over the same statements: Spider dev's golds and predictions.

    python -m tests.bench.bench_sandbox [--rounds 7]

Each figure is a median over rounds; loop and sandbox take turns within a round, so that both see the same machine.
The loop opens each database once, read-only, and fetches all rows. It needs the data that tests/support/benchmarks.py
names. "Equal requests run once" is how the sandbox works: the golds hold many SQL twice. "Every request run" gives each
a budget of its own, so that none is equal to another.
"""

import argparse
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import ExecutionRequest
from services.sandbox.judging.comparison import ComparisonRule
from services.sandbox.judging.judge import Judge, JudgeQuestion
from shared.contracts.records import Outcome, Policy
from tests.support.benchmarks import DATA, spider_database, spider_golds, spider_predictions

FILES = ("c3_chatgpt", "dail_sql_gpt4", "din_sql_gpt4", "graphix_t5_3b")
STALL = "SELECT instr(hex(zeroblob(490000)), hex(zeroblob(240000)) || '1')"
Statement = tuple[Path, str]


class BareLoop:
    """What one would write without a sandbox; errors are caught, nothing is compared."""

    def __init__(self) -> None:
        self.open: dict[Path, sqlite3.Connection] = {}

    def run(self, statement: Statement) -> None:
        path, sql = statement
        if path not in self.open:
            self.open[path] = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            self.open[path].text_factory = lambda data: data.decode(errors="ignore")
        try:
            self.open[path].execute(sql).fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            return


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def bare(statements: Sequence[Statement]) -> float:
    loop = BareLoop()
    start = time.perf_counter()
    for statement in statements:
        loop.run(statement)
    return time.perf_counter() - start


def compare(name: str, rounds: int, loop: Callable[[], float], ours: Callable[[], float], target: str) -> None:
    pairs = [(loop(), ours()) for _ in range(rounds)]
    ratio = statistics.median(first / second for first, second in pairs)
    spread = sorted(first / second for first, second in pairs)
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name:<58} loop {first * 1000:6.0f} ms  sandbox {second * 1000:6.0f} ms  "
        f"ratio {ratio:4.2f} [{spread[0]:.2f}, {spread[-1]:.2f}]  {target}"
    )


def throughput(golds: Sequence[Statement], rounds: int) -> None:
    for children, target in ((1, "wanted 0.90"), (2, "wanted 1.60")):
        with SandboxPool(children) as pool:
            pool.execute_many([ExecutionRequest(path, "SELECT 1", 2 + n) for n in range(4) for path, _ in golds])
            once = [ExecutionRequest(path, sql, keep_rows=0, rule=ComparisonRule()) for path, sql in golds]
            every = [
                ExecutionRequest(path, sql, 2 + n / 1e6, keep_rows=0, rule=ComparisonRule())
                for n, (path, sql) in enumerate(golds)
            ]
            for label, requests in (("equal requests run once", once), ("every request run", every)):
                name = f"1,034 golds, {children} child(ren), {label}"
                ours = partial(seconds, partial(pool.execute_many, requests))
                compare(name, rounds, lambda: bare(golds), ours, target)


def judging(golds: Sequence[Statement], rounds: int) -> None:
    files = [spider_predictions(name) for name in FILES]
    statements = [*golds, *[(path, sql) for file in files for (path, _), sql in zip(golds, file, strict=True)]]
    questions = [
        JudgeQuestion(path, gold, tuple(file[place] for file in files)) for place, (path, gold) in enumerate(golds)
    ]

    def judge() -> None:
        with SandboxPool(2) as pool:
            Judge(pool, Policy.SPIDER, keep_rows=0).judge_many(questions)

    name = "judging four prediction files, start of 2 children included"
    compare(name, rounds, lambda: bare(statements), lambda: seconds(judge), "wanted 1.00")


def isolation(golds: Sequence[Statement], rounds: int) -> None:
    loop, extra = BareLoop(), []
    with SandboxPool(1) as pool:
        for statement in golds:
            loop.run(statement)
            pool.execute(*statement, keep_rows=0)
        for _ in range(rounds):
            for path, sql in golds:
                own = seconds(partial(loop.run, (path, sql)))
                extra.append(seconds(partial(pool.execute, path, sql, keep_rows=0)) - own)
    print(f"isolation, one request a call: median {statistics.median(extra) * 1000:.3f} ms more (wanted 0.150)")
    requests = [ExecutionRequest(golds[0][0], "SELECT 1", 2 + n / 1e6, keep_rows=0) for n in range(5000)]
    with SandboxPool(1) as pool:
        pool.execute(golds[0][0], "SELECT 1")
        runs = [seconds(lambda: pool.execute_many(requests)) / 5000 for _ in range(rounds)]
    own = statistics.median(bare([(golds[0][0], "SELECT 1")] * 5000) / 5000 for _ in range(rounds))
    print(
        f"isolation, many requests a call: median {(statistics.median(runs) - own) * 1000:.3f} ms more (wanted 0.150)"
    )


def respawn(path: Path, rounds: int) -> None:
    took = []
    with SandboxPool(1) as pool:
        for _ in range(rounds):
            pool.execute(path, "SELECT 1")
            ran = pool.execute(path, STALL, deadline_s=0.05)
            assert ran.outcome is Outcome.TIMEOUT
            took.append(seconds(lambda: pool.execute(path, "SELECT 1")))
    print(f"after a kill, the next answer takes {statistics.median(took) * 1000:.0f} ms (wanted 100)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if not (DATA / "spider").exists():
        print(f"no benchmark data at {DATA}: nothing measured")
        return
    golds = [(spider_database(database), sql) for sql, database in spider_golds()]
    throughput(golds, rounds)
    judging(golds, rounds)
    isolation(golds, rounds)
    respawn(golds[0][0], rounds)


if __name__ == "__main__":
    main()
