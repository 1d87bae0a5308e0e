"""Hardness and exact set match of whole files, each gold read once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.evaluation.benchmark.lines import unknown_database
from services.evaluation.benchmark.mode import Mode
from services.evaluation.benchmark.pairs import Pair
from services.evaluation.benchmark.spider.exact import ExactScore, exact_match
from shared.errors import InvalidInputError
from shared.sql.spider.hardness import MeasuredHardness, hardness
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema
from shared.sql.spider.tree import Unreadable, UnreadableSqlError


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
