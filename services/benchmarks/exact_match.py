"""Exact match and hardness of Spider's questions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.benchmarks.databases import Databases
from services.benchmarks.prediction_files import PredictionPair
from services.evaluation.metrics.aggregate import BEYOND_SPIDER
from services.evaluation.metrics.exact_match import exact_match, fixes_that_change
from services.evaluation.metrics.quirks import Mode
from services.sandbox.execution.pool import SandboxPool
from shared.errors import InvalidInputError
from shared.sql.spider.hardness import hardness
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema, schemas_by_name
from shared.sql.spider.tree import ParsedSql, UnreadableSqlError


@dataclass(frozen=True)
class ExactResult:
    """Hardness of the gold (`beyond_spider` where the official parser cannot read it), and EM by mode.

    `fixes` names the quirks that turn the official verdict, where the modes differ.
    """

    hardness: str
    em: dict[Mode, int]
    unreadable: str | None = None
    fixes: tuple[str, ...] = ()


class ExactMatcher:
    """Scores questions one by one; parses each gold once."""

    def __init__(self, schemas: dict[str, SpiderSchema], modes: Sequence[Mode]) -> None:
        self.schemas, self.modes = schemas, modes
        self._golds: dict[tuple[str, str], ParsedSql | None] = {}

    def score(self, pair: PredictionPair) -> ExactResult:
        """A gold that cannot be read stops the official evaluator; here it counts as 0."""
        gold = self._gold(pair)
        if gold is None:
            return ExactResult(BEYOND_SPIDER, dict.fromkeys(self.modes, 0))
        schema = self.schemas[pair.db_id]
        found = {mode: exact_match(pair.prediction, gold, schema, mode) for mode in self.modes}
        em = {mode: one.em for mode, one in found.items()}
        # Scores once for each fix, so only where the modes differ.
        fixes = fixes_that_change(pair.prediction, gold, schema) if len(set(em.values())) > 1 else ()
        unreadable = found[self.modes[0]].unreadable
        return ExactResult(hardness(gold), em, unreadable and unreadable.value, tuple(fix.value for fix in fixes))

    def _gold(self, pair: PredictionPair) -> ParsedSql | None:
        key = (pair.db_id, pair.gold)
        if key not in self._golds:
            try:
                self._golds[key] = parse_spider_sql(pair.gold, self.schemas[pair.db_id])
            except UnreadableSqlError:
                self._golds[key] = None
        return self._golds[key]


def load_schemas(
    tables: Path | None, names: set[str], databases: Databases, pool: SandboxPool, *, lenient: bool = False
) -> dict[str, SpiderSchema]:
    """Schemas of the databases in use, from tables.json or else from the files.

    Raises InvalidInputError for a tables.json that cannot be read or lacks a database.
    """
    if tables is None:
        return {name: read_schema(pool, databases.main(name), lenient=lenient) for name in sorted(names)}
    try:
        entries = json.loads(tables.read_text(encoding="utf-8-sig"))
        schemas = schemas_by_name([entry for entry in entries if entry["db_id"] in names])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{tables} cannot be read as Spider's tables.json: {error}") from error
    if missing := sorted(names - schemas.keys()):
        raise InvalidInputError(
            f"{tables} has no entry for {', '.join(missing[:3])}; give the benchmark's own tables.json"
        )
    return schemas


def read_schema(pool: SandboxPool, path: Path, *, lenient: bool = False) -> SpiderSchema:
    """The schema of a database file, without united foreign keys. Empty where lenient and the file is damaged."""
    try:
        tables = pool.describe(path, 0)
    except InvalidInputError:
        if not lenient:
            raise
        # The questions on a damaged file are left out later.
        tables = []
    return SpiderSchema.from_listing({one["name"]: [column["name"] for column in one["columns"]] for one in tables})
