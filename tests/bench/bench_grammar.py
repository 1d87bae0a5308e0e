"""The offline writer: speed, variety, hardness, what it uses, and how much of it passes the gates.

    python -m tests.bench.bench_grammar [--examples 10000] [--shard 20] [--checked 820] [--rounds 3]

Speed is CPU time of one process. Writing is timed with the rows of all databases made before, and once more from
nothing, rows included. The baseline of the same run is the least that a checked example costs: its gold run once in
SQLite on its database in memory. Variety counts (domain, SQL with literals masked) over shards as a job writes them.
The gates are those of the product: the database built with its keys, the gold run in the sandbox, rows there, and its
result not the same on all of four test-suite databases.
"""

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from services.sandbox.building.databases import build_stored_database, local_database
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import ExecutionRequest
from services.sandbox.judging.comparison import ComparisonRule
from services.sandbox.test_suites.generate import prepare_suite
from services.synthesis.writers.grammar import writer
from services.synthesis.writers.grammar.database import database_script, generate_rows
from services.synthesis.writers.grammar.domain import load_domains
from services.synthesis.writers.grammar.writer import LITERAL
from shared.contracts.records import Outcome, Split, WrittenExample
from shared.errors import InvalidInputError
from shared.sql.features import FEATURES, sql_features
from shared.storage.directory import DirectoryStore
from tests.unit.synthesis.golds import MEANT, measured

LEVELS = {"easy": 0.3, "medium": 0.4, "hard": 0.3}
SUITE_DATABASES = 4
SPLITS: tuple[Split, ...] = ("train", "selection", "test")


def cpu(action: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


def write(seed: int, examples: int, shard: int, split: Split = "train") -> list[WrittenExample]:
    """What a job of so many examples writes."""
    return [
        row
        for place in range(examples // shard)
        for row in writer.write_examples(seed=seed, split=split, shard=place, count=shard, levels=LEVELS)
    ]


def forget() -> None:
    """As a fresh process."""
    for cache in (writer._stream, writer._database):
        cache.cache_clear()


def run_golds(rows: Sequence[WrittenExample]) -> None:
    """Every gold once, on its database in memory."""
    open_ones: dict[str, sqlite3.Connection] = {}
    for row in rows:
        if row.domain not in open_ones:
            assert row.database is not None
            open_ones[row.domain] = sqlite3.connect(":memory:")
            open_ones[row.domain].executescript(";".join([*row.database.ddl, *row.database.inserts]))
        open_ones[row.domain].execute(row.sql).fetchall()


def speed(examples: int, shard: int, rounds: int) -> None:
    """Examples a second, against running their golds."""
    names = [domain.name for domain in load_domains("train")]
    warm, cold, golds = [], [], []
    for seed in range(100, 100 + rounds):
        forget()
        for name in names:
            writer._database("train", seed, name)
        warm.append(cpu(lambda s=seed: write(s, examples, shard)))
        golds.append(
            cpu(lambda s=seed: run_golds(write(s, examples, shard))) - cpu(lambda s=seed: write(s, examples, shard))
        )
        forget()
        cold.append(cpu(lambda s=seed: write(s, examples, shard)))
    made = [
        cpu(lambda s=seed: [database_script(one, generate_rows(one, s)) for one in load_domains("train")])
        for seed in range(rounds)
    ]
    count = sum(table.rows for domain in load_domains("train") for table in domain.tables)
    own, all_of_it = statistics.median(warm), statistics.median(cold)
    print(f"written before row generation: {examples / own:,.0f} examples a CPU second (wanted 500)")
    print(f"  in {own / statistics.median(golds):.1f} times the CPU of running each gold once; {rounds} rounds")
    print(f"written with row generation: {examples / all_of_it:,.0f} examples a CPU second")
    print(f"rows made: {count / statistics.median(made):,.0f} rows a CPU second ({count} rows, {len(names)} databases)")


def variety(rows: Sequence[WrittenExample], shard: int) -> None:
    """Distinct shapes and questions, and the histograms."""
    shapes = {(row.domain, LITERAL.sub("?", row.sql)) for row in rows}
    questions = {(row.domain, row.question) for row in rows}
    print(f"\n{len(rows)} examples in shards of {shard}:")
    print(f"  {len(shapes) / len(rows):.2%} distinct pairs of SQL skeleton and schema (wanted 95 %)")
    print(f"  {len(questions) / len(rows):.2%} distinct questions a domain")
    intents = Counter(row.provenance.source.split("/")[0] for row in rows)
    rarest = ", ".join(f"{name} {count}" for name, count in intents.most_common()[:-6:-1])
    print(f"  {len(intents)} intents; rarest: {rarest}")
    print(f"  {len({row.provenance.source for row in rows})} templates used by them")


def hardness(rows: Sequence[WrittenExample]) -> None:
    """Requested against measured."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        table[row.level][measured(row)] += 1
    columns = ("easy", "medium", "hard", "extra", "beyond_spider")
    print(f"\n{'requested':<10}" + "".join(f"{name:>15}" for name in columns) + f"{'as meant':>10}")
    for level, counts in sorted(table.items()):
        share = sum(counts[name] for name in MEANT[level]) / sum(counts.values())  # type: ignore[index]
        print(f"{level:<10}" + "".join(f"{counts[name]:>15}" for name in columns) + f"{share:>10.1%}")


def histograms(rows: Sequence[WrittenExample]) -> None:
    """SQL features and domains."""
    used = Counter(feature for row in rows for feature in sql_features(row.sql).used)
    joins = Counter(sql_features(row.sql).joins for row in rows)
    print("\nSQL features: " + ", ".join(f"{name} {used[name] / len(rows):.1%}" for name in FEATURES))
    print("joins: " + ", ".join(f"{number}: {count / len(rows):.1%}" for number, count in sorted(joins.items())))
    domains = Counter(row.domain for row in rows)
    print(f"domains: {len(domains)}, each {min(domains.values())} to {max(domains.values())} examples")
    print("  " + ", ".join(f"{name} {count}" for name, count in domains.most_common()))


def gates(rows: Sequence[WrittenExample]) -> Counter[str]:
    """Why examples are refused, or `accepted`."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="grammar-bench-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSE_STATE", str(Path(folder) / "state"))
        objects = DirectoryStore(Path(folder) / "objects")
        with SandboxPool(1) as pool:
            by_database: dict[str, list[str]] = defaultdict(list)
            for row in rows:
                try:
                    assert row.database is not None
                    by_database[build_stored_database(objects, row.database, pool)].append(row.sql)
                except InvalidInputError:
                    found["schema does not build"] += 1
            for database, sqls in by_database.items():
                found += gold_faults(objects, pool, database, sqls)
    return found


def gold_faults(objects: DirectoryStore, pool: SandboxPool, database: str, sqls: Sequence[str]) -> Counter[str]:
    """The verdicts on the golds of one database."""
    around = prepare_suite(objects, database, sqls, SUITE_DATABASES).files
    files = [local_database(objects, database), *around]
    requests = [ExecutionRequest(file, sql, keep_rows=20, rule=ComparisonRule()) for sql in sqls for file in files]
    ran = pool.execute_many(requests)
    found: Counter[str] = Counter()
    for place in range(len(sqls)):
        own, *others = ran[place * len(files) : (place + 1) * len(files)]
        if own.outcome is not Outcome.OK:
            found[f"gold {own.outcome.value}"] += 1
        elif all(cell is None for cells in own.rows for cell in cells):
            found["gold null"] += 1
        elif others and all(other.fingerprint == own.fingerprint for other in others):
            found["constant over test-suite databases"] += 1
        else:
            found["accepted"] += 1
    return found


def acceptance(checked: int, shard: int) -> None:
    """The share that passes the gates, by split."""
    print(f"\ngates (built, gold runs, rows there, not constant over {SUITE_DATABASES} neighbours):")
    for split in SPLITS:
        rows = write(7, checked, shard, split)
        found = gates(rows)
        print(f"  {split}: {found['accepted'] / len(rows):.1%} of {len(rows)} accepted; {dict(found)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--shard", type=int, default=20)
    parser.add_argument("--checked", type=int, default=820)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    speed(given.examples, given.shard, given.rounds)
    rows = write(1, given.examples, given.shard)
    variety(rows, given.shard)
    hardness(rows)
    histograms(rows)
    acceptance(given.checked, given.shard)


if __name__ == "__main__":
    main()
