"""Spider's hardness levels, by the official counts (Evaluator.eval_hardness of taoyds/test-suite-sql-eval)."""

from itertools import chain
from typing import TYPE_CHECKING, Literal

from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema
from shared.sql.spider.tree import NONE, ColumnUnit, Condition, Conditions, ParsedSql, UnreadableSqlError

if TYPE_CHECKING:
    from shared.catalog.databases import SchemaCard  # brings pydantic, which exact match does without

Hardness = Literal["easy", "medium", "hard", "extra"]
MeasuredHardness = Literal["easy", "medium", "hard", "extra", "beyond_spider"]


def hardness(sql: ParsedSql) -> Hardness:
    """The tests are in the official order."""
    clauses, nested, others = clause_count(sql), nested_count(sql), other_count(sql)
    if clauses <= 1 and others == 0 and nested == 0:
        return "easy"
    if nested == 0 and ((others <= 2 and clauses <= 1) or (clauses <= 2 and others < 2)):
        return "medium"
    if nested == 0 and ((others > 2 and clauses <= 2) or (2 < clauses <= 3 and others <= 2)):
        return "hard"
    return "hard" if clauses <= 1 and others == 0 and nested <= 1 else "extra"


def measured_hardness(sql: str, schema: SpiderSchema) -> MeasuredHardness:
    try:
        return hardness(parse_spider_sql(sql, schema))
    except UnreadableSqlError:
        return "beyond_spider"


def all_conditions(sql: ParsedSql) -> tuple[Conditions, Conditions, Conditions]:
    return sql.joins, sql.where, sql.having


def clause_count(sql: ParsedSql) -> int:
    """WHERE, GROUP BY, ORDER BY, LIMIT, joins, ORs and LIKEs; not HAVING, whatever the README says."""
    count = bool(sql.where) + bool(sql.group_by) + (sql.order_by is not None) + (sql.limit is not None)
    count += max(0, len(sql.tables) - 1)
    for conditions in all_conditions(sql):
        count += conditions[1::2].count("or") + sum(one[1] == "like" for one in conditions[::2])
    return count


def nested_count(sql: ParsedSql) -> int:
    """Subqueries in conditions, and operands of set operations; those in FROM do not count."""
    conditions = chain.from_iterable(conditions[::2] for conditions in all_conditions(sql))
    values = [value for one in conditions if isinstance(one, Condition) for value in (one.low, one.high)]
    return sum(isinstance(value, ParsedSql) for value in values) + sum(one is not None for one in sql.operands())


def other_count(sql: ParsedSql) -> int:
    """Counts what there is more than one of: aggregates, selected columns, elements of WHERE (connectors included),
    grouped columns.
    """
    plenty = (len(sql.select), len(sql.where), len(sql.group_by), aggregate_count(sql))
    return sum(count > 1 for count in plenty)


def aggregate_count(sql: ParsedSql) -> int:
    """The official code also counts a NOT in WHERE or HAVING, and a connector in HAVING."""
    ordered: list[ColumnUnit] = []
    if sql.order_by is not None:
        ordered = [unit for value in sql.order_by.values for unit in (value.left, value.right) if unit is not None]
    count = sum(item.aggregate != NONE for item in sql.select)
    count += sum(unit.aggregate != NONE for unit in chain(sql.group_by, ordered))
    return count + sum(bool(one[0]) for one in chain(sql.where[::2], sql.having))


# Requested levels end at hard, so anything above it counts as hard.
OUR_LEVEL = {"easy": "easy", "medium": "medium", "hard": "hard", "extra": "hard", "beyond_spider": "hard"}


def schema_of_card(card: "SchemaCard") -> SpiderSchema:
    return SpiderSchema.from_listing({table.name: [column.name for column in table.columns] for table in card.tables})


def card_hardness(sql: str, card: "SchemaCard") -> MeasuredHardness:
    return measured_hardness(sql, schema_of_card(card))


def matches_level(level: str, measured: str) -> bool:
    """Whether a measured level is the requested one; our levels end at hard."""
    return OUR_LEVEL.get(measured) == level
