"""Exact match and hardness of Spider's questions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.benchmarks.databases import Databases
from services.benchmarks.prediction_files import Pair
from services.benchmarks.run import BEYOND
from services.benchmarks.text_files import unknown_database
from services.evaluation.metrics.exact_match import ExactScore, exact_match, fixes_that_change
from services.evaluation.metrics.quirks import Mode
from services.sandbox.execution.pool import SandboxPool
from shared.errors import InvalidInputError
from shared.sql.spider.hardness import MeasuredHardness, hardness
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema, schemas_by_name
from shared.sql.spider.tree import ParsedSql, Unreadable, UnreadableSqlError


@dataclass(frozen=True)
class ExactResult:
    """One question: hardness of the gold (`beyond_spider` where the official parser cannot read it), EM by mode.

    `fixes` names what turns the official verdict, where the modes differ.
    """

    hardness: str
    em: dict[Mode, int]
    unreadable: str | None = None
    fixes: tuple[str, ...] = ()


class ExactMatcher:
    """Parses each gold once a run."""

    def __init__(self, schemas: dict[str, SpiderSchema], modes: Sequence[Mode]) -> None:
        self.schemas, self.modes = schemas, modes
        self._golds: dict[tuple[str, str], ParsedSql | None] = {}

    def score(self, pair: Pair) -> ExactResult:
        """Hardness and scores of one question; a gold that cannot be read stops the official run, and counts 0 here."""
        gold = self._gold(pair)
        if gold is None:
            return ExactResult(BEYOND, dict.fromkeys(self.modes, 0))
        schema = self.schemas[pair.db_id]
        found = {mode: exact_match(pair.prediction, gold, schema, mode) for mode in self.modes}
        em = {mode: one.em for mode, one in found.items()}
        fixes = fixes_that_change(pair.prediction, gold, schema) if len(set(em.values())) > 1 else ()
        unreadable = found[self.modes[0]].unreadable
        return ExactResult(hardness(gold), em, unreadable and unreadable.value, tuple(fix.value for fix in fixes))

    def _gold(self, pair: Pair) -> ParsedSql | None:
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
    """Schemas of the databases in use: of tables.json, or of the files themselves (then no foreign keys are united).
    Where lenient, a file that cannot be described has an empty one.

    Raises InvalidInputError for a tables.json that cannot be read, or that lacks a database.
    """
    if tables is None:
        return {name: described(databases.main(name), pool, lenient) for name in sorted(names)}
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


def described(path: Path, pool: SandboxPool, lenient: bool) -> SpiderSchema:
    """The schema that a file holds."""
    try:
        return listed(pool.describe(path, 0))
    except InvalidInputError:
        if not lenient:
            raise
        return SpiderSchema.from_listing({})


def listed(tables: list[dict[str, Any]]) -> SpiderSchema:
    """A schema from the sandbox's description of a file."""
    return SpiderSchema.from_listing({one["name"]: [column["name"] for column in one["columns"]] for one in tables})


@dataclass(frozen=True)
class ScoredPair:
    """One question. Where `gold_unreadable` says why, the official run stops; there is no score then."""

    pair: Pair
    hardness: MeasuredHardness
    exact: ExactScore | None
    gold_unreadable: Unreadable | None = None


def score_pair(pair: Pair, schema: SpiderSchema, mode: Mode = "official") -> ScoredPair:
    """Hardness of the gold and exact match of the prediction."""
    try:
        gold = parse_spider_sql(pair.gold, schema)
    except UnreadableSqlError as error:
        return ScoredPair(pair, "beyond_spider", None, error.reason)
    return ScoredPair(pair, hardness(gold), exact_match(pair.prediction, gold, schema, mode))


def score_pairs(
    pairs: Iterable[Pair], schemas: Mapping[str, SpiderSchema], mode: Mode = "official"
) -> list[ScoredPair]:
    """All questions in order. Raises InvalidInputError for a db_id without a schema."""
    found = []
    for pair in pairs:
        if pair.db_id not in schemas:
            raise InvalidInputError(f"question {pair.index}: {unknown_database(pair.db_id, schemas.keys())}")
        found.append(score_pair(pair, schemas[pair.db_id], mode))
    return found
