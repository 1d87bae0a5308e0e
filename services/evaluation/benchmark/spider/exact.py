"""Exact set match of two SQL, as taoyds/test-suite-sql-eval scores it, and without what it gets wrong."""

from collections.abc import Set
from dataclasses import dataclass, field

from services.evaluation.benchmark.mode import Mode
from services.evaluation.benchmark.spider.canonical import canonical
from services.evaluation.benchmark.spider.fixes import Fix, fixes_of
from services.evaluation.benchmark.spider.joins import join_classes
from services.evaluation.benchmark.spider.partials import (
    COMPONENTS,
    Partial,
    connector_partial,
    group_partials,
    keyword_partial,
    order_partial,
    partial,
    select_partials,
    where_partials,
)
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema
from shared.sql.spider.tree import EMPTY_SQL, ParsedSql, Unreadable, UnreadableSqlError


@dataclass(frozen=True)
class ExactScore:
    """`em` is 0 or 1; `partials` by component, in the official order.

    `unreadable` says why the prediction counts as the empty SQL. `stops_official` marks a pair on which the official
    run ends with an exception; it counts as wrong here, and has no partials.
    """

    em: int
    partials: dict[str, Partial] = field(default_factory=dict)
    unreadable: Unreadable | None = None
    stops_official: bool = False


def exact_match(pred: str, gold: str | ParsedSql, schema: SpiderSchema, mode: Mode = "official") -> ExactScore:
    """The score of one pair; give a parsed gold where it is compared more than once.

    Raises UnreadableSqlError where the gold cannot be read: the official run ends there.
    """
    return score_with(pred, parse_spider_sql(gold, schema) if isinstance(gold, str) else gold, schema, fixes_of(mode))


def score_with(pred: str, gold: ParsedSql, schema: SpiderSchema, fixes: Set[Fix]) -> ExactScore:
    """The score with the named fixes."""
    tree, unreadable = EMPTY_SQL, None
    try:
        tree = parse_spider_sql(pred if Fix.VALUE_TEXT in fixes else pred.replace("value", "1"), schema)
    except UnreadableSqlError as error:
        unreadable = error.reason
    try:
        return match_trees(
            canonical(tree, schema, fixes), canonical(gold, schema, fixes), tree, gold, fixes, unreadable
        )
    except (TypeError, ValueError, IndexError, RecursionError):
        return ExactScore(0, unreadable=unreadable, stops_official=True)


def match_trees(
    pred: ParsedSql,
    gold: ParsedSql,
    pred_raw: ParsedSql,
    gold_raw: ParsedSql,
    fixes: Set[Fix],
    unreadable: Unreadable | None,
) -> ExactScore:
    """Compares canonical trees; the raw ones tell how tables are joined."""
    partials = partial_scores(pred, gold, pred_raw, gold_raw, fixes)
    same = all(one.f1 for one in partials.values()) and sorted(pred.tables) == sorted(gold.tables)
    if same and Fix.LIMIT_VALUE in fixes:
        same = pred.limit == gold.limit
    if same and Fix.JOIN_CONDITIONS in fixes:
        same = join_classes(pred_raw) == join_classes(gold_raw)
    return ExactScore(int(same), partials, unreadable)


def partial_scores(
    pred: ParsedSql, gold: ParsedSql, pred_raw: ParsedSql, gold_raw: ParsedSql, fixes: Set[Fix]
) -> dict[str, Partial]:
    """Component -> score, in the official order."""
    found = [
        *select_partials(pred, gold),
        *where_partials(pred, gold),
        *group_partials(pred, gold),
        order_partial(pred, gold),
        connector_partial(pred, gold),
        operand_partial(pred, gold, pred_raw, gold_raw, fixes),
        keyword_partial(pred, gold),
    ]
    return dict(zip(COMPONENTS, found, strict=True))


def operand_partial(
    pred: ParsedSql, gold: ParsedSql, pred_raw: ParsedSql, gold_raw: ParsedSql, fixes: Set[Fix]
) -> Partial:
    """INTERSECT, EXCEPT and UNION: the right sides are matched exactly in turn."""
    sides = [one.operands() for one in (pred, gold, pred_raw, gold_raw)]
    count = 0
    for one, other, one_raw, other_raw in zip(*sides, strict=True):
        if one and other and one_raw and other_raw:
            count += match_trees(one, other, one_raw, other_raw, fixes, None).em
    return partial(present(sides[1]), present(sides[0]), count)


def present(operands: tuple[ParsedSql | None, ...]) -> int:
    """How many of the operands there are."""
    return sum(one is not None for one in operands)


def fixes_that_change(pred: str, gold: str | ParsedSql, schema: SpiderSchema) -> tuple[Fix, ...]:
    """The fixes each of which alone turns the official verdict. Raises UnreadableSqlError for the gold."""
    tree = parse_spider_sql(gold, schema) if isinstance(gold, str) else gold
    official = score_with(pred, tree, schema, frozenset()).em
    return tuple(fix for fix in Fix if score_with(pred, tree, schema, {fix}).em != official)
