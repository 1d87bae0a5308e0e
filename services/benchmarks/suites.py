"""`sense suite build`: test-suite databases for a benchmark, where the distilled suites are not at hand."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.benchmarks.databases import SUITE_FILE, Databases
from services.benchmarks.prediction_files import Gold
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.test_suites.constants import extract_constants
from services.sandbox.test_suites.generate import generate_suite
from services.sandbox.test_suites.validity import PrimaryKeys
from shared.errors import InvalidInputError

LABEL = (
    "TS here is over {count} generated test-suite databases for each database (sense suite build, seed {seed}), "
    "compared with each gold only where they can count; it is not the official test suite accuracy"
)


@dataclass(frozen=True)
class BuiltSuite:
    databases: int
    skipped: dict[str, str]


def build_suite(
    golds: Sequence[Gold],
    predictions: Iterable[str],
    databases: Databases,
    out: Path,
    *,
    count: int,
    seed: int,
    progress: Callable[[int], None],
) -> BuiltSuite:
    """Copies each database in use to `out` with its generated databases; writes the label last.

    Constants come from the golds and `predictions` of all questions. Raises InvalidInputError where `out` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise InvalidInputError(f"{out} is not empty; give a new folder for the suite")
    by_database: dict[str, list[str]] = defaultdict(list)
    for gold in golds:
        by_database[gold.db_id].append(gold.sql)
    texts, skipped = list(predictions), {}
    for name, sqls in sorted(by_database.items()):
        try:
            add_database(databases.main(name), out / name, [*sqls, *texts], count, seed)
        except InvalidInputError as error:
            skipped[name] = error.message
        progress(1)
    label = LABEL.format(count=count, seed=seed)
    document = {"label": label, "count": count, "seed": seed, "skipped": skipped}
    # Last, so that only a complete folder counts as a generated suite.
    (out / SUITE_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return BuiltSuite(len(by_database) - len(skipped), skipped)


def add_database(database: Path, folder: Path, sqls: Sequence[str], count: int, seed: int) -> None:
    """Copies the database, with its generated ones beside it. Raises InvalidInputError where it cannot be varied."""
    folder.mkdir(parents=True)
    shutil.copyfile(database, folder / f"{folder.name}.sqlite")
    constants = extract_constants(sqls)
    for path in generate_suite(database, folder, count=count, seed=seed, constants=constants):
        path.rename(folder / f"variant-{path.name}")


def keys_of(database: Path, pool: SandboxPool) -> PrimaryKeys:
    """Table -> columns of its primary key, in lower case."""
    return {
        table["name"].lower(): frozenset(column["name"].lower() for column in table["columns"] if column["primary_key"])
        for table in pool.describe(database, 0)
    }
