"""Exact set match as taoyds/test-suite-sql-eval scores it, with its quirks or without."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from services.evaluation.metrics.canonical import canonical, join_classes
from services.evaluation.metrics.quirks import Fix, Mode, fixes_of
from shared.sql.spider.hardness import all_conditions
from shared.sql.spider.parser import parse_spider_sql
from shared.sql.spider.schema import SpiderSchema
from shared.sql.spider.tree import EMPTY_SQL, Conditions, ParsedSql, Unreadable, UnreadableSqlError

# In the order and spelling of the official report.
COMPONENTS = (
    "select",
    "select(no AGG)",
    "where",
    "where(no OP)",
    "group(no Having)",
    "group",
    "order",
    "and/or",
    "IUEN",
    "keywords",
)


class Partial(NamedTuple):
    """One component: accuracy, recall and F1 are all 1 or all 0. The totals tell which sides have it."""

    acc: int
    rec: int
    f1: int
    label_total: int
    pred_total: int


@dataclass(frozen=True)
class ExactScore:
    """`em` is 0 or 1; `partials` by component, in the official order.

    `unreadable`: why the prediction counts as empty SQL. `stops_official`: the official evaluator ends with an
    exception here; the pair counts as wrong and has no partials.
    """

    em: int
    partials: dict[str, Partial] = field(default_factory=dict)
    unreadable: Unreadable | None = None
    stops_official: bool = False


def exact_match(pred: str, gold: str | ParsedSql, schema: SpiderSchema, mode: Mode = "official") -> ExactScore:
    """Pass a parsed gold where you compare it more than once.

    Raises UnreadableSqlError where the gold cannot be read: the official evaluator stops there.
    """
    return score_with(pred, parse_spider_sql(gold, schema) if isinstance(gold, str) else gold, schema, fixes_of(mode))


def score_with(pred: str, gold: ParsedSql, schema: SpiderSchema, fixes: Set[Fix]) -> ExactScore:
    tree, unreadable = EMPTY_SQL, None
    try:
        # The official code replaces the text `value` in predictions, wherever it stands.
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
    """INTERSECT, EXCEPT and UNION: an exact match of each right side."""
    sides = [one.operands() for one in (pred, gold, pred_raw, gold_raw)]
    count = 0
    for one, other, one_raw, other_raw in zip(*sides, strict=True):
        if one and other and one_raw and other_raw:
            count += match_trees(one, other, one_raw, other_raw, fixes, None).em
    return partial(present(sides[1]), present(sides[0]), count)


def present(operands: tuple[ParsedSql | None, ...]) -> int:
    return sum(one is not None for one in operands)


def fixes_that_change(pred: str, gold: str | ParsedSql, schema: SpiderSchema) -> tuple[Fix, ...]:
    """The fixes each of which alone turns the official verdict. Raises UnreadableSqlError for the gold."""
    tree = parse_spider_sql(gold, schema) if isinstance(gold, str) else gold
    official = score_with(pred, tree, schema, frozenset()).em
    return tuple(fix for fix in Fix if score_with(pred, tree, schema, {fix}).em != official)


def partial(label_total: int, pred_total: int, count: int) -> Partial:
    """All 1 where every element of both sides has its equal."""
    score = int(pred_total == label_total == count)
    return Partial(score, score, score, label_total, pred_total)


def overlap(pred: Sequence[object], gold: Sequence[object]) -> int:
    """How many elements of `pred` have an equal in `gold`, each used once."""
    if pred == gold:
        return len(gold)
    left = list(gold)
    for one in pred:
        if one in left:
            left.remove(one)
    return len(gold) - len(left)


def select_partials(pred: ParsedSql, gold: ParsedSql) -> tuple[Partial, Partial]:
    sizes = len(gold.select), len(pred.select)
    bare = overlap([item.value for item in pred.select], [item.value for item in gold.select])
    return partial(*sizes, overlap(pred.select, gold.select)), partial(*sizes, bare)


def where_partials(pred: ParsedSql, gold: ParsedSql) -> tuple[Partial, Partial]:
    """WHERE conditions, whole and by their left side alone."""
    # Conditions stand at even places, connectors between them.
    pred_units, gold_units = pred.where[::2], gold.where[::2]
    sizes = len(gold_units), len(pred_units)
    bare = overlap([unit[2] for unit in pred_units], [unit[2] for unit in gold_units])
    return partial(*sizes, overlap(pred_units, gold_units)), partial(*sizes, bare)


def group_partials(pred: ParsedSql, gold: ParsedSql) -> tuple[Partial, Partial]:
    """GROUP BY without HAVING, by column names without tables; and with HAVING, by full names in order."""
    pred_columns, gold_columns = ([unit.column for unit in one.group_by] for one in (pred, gold))
    bare = overlap(list(map(column_name, pred_columns)), list(map(column_name, gold_columns)))
    same = bool(gold_columns) and pred_columns == gold_columns and pred.having == gold.having
    whole = partial(int(bool(gold_columns)), int(bool(pred_columns)), int(same))
    return partial(len(gold_columns), len(pred_columns), bare), whole


def column_name(column: str) -> str:
    return column.split(".")[1] if "." in column else column


def order_partial(pred: ParsedSql, gold: ParsedSql) -> Partial:
    """ORDER BY with its direction, and LIMIT on both sides or neither."""
    same = gold.order_by is not None and pred.order_by == gold.order_by
    count = int(same and (pred.limit is None) == (gold.limit is None))
    return partial(int(gold.order_by is not None), int(pred.order_by is not None), count)


def connector_partial(pred: ParsedSql, gold: ParsedSql) -> Partial:
    """The connectors in WHERE. The totals of a miss are swapped, as officially."""
    pred_words, gold_words = set(pred.where[1::2]), set(gold.where[1::2])
    return partial(1, 1, 1) if pred_words == gold_words else partial(len(pred_words), len(gold_words), 0)


def keywords(sql: ParsedSql) -> set[str]:
    found = {name for name, clause in clauses(sql) if clause}
    if sql.order_by is not None:
        found.add(sql.order_by.direction)
    for conditions in all_conditions(sql):
        found |= condition_keywords(conditions)
    return found


def clauses(sql: ParsedSql) -> list[tuple[str, bool]]:
    return [
        ("where", bool(sql.where)),
        ("group", bool(sql.group_by)),
        ("having", bool(sql.having)),
        ("order", sql.order_by is not None),
        ("limit", sql.limit is not None),
        ("except", sql.except_ is not None),
        ("union", sql.union is not None),
        ("intersect", sql.intersect is not None),
    ]


def condition_keywords(conditions: Conditions) -> set[str]:
    found = {str(one[1]) for one in conditions[::2]} & {"in", "like"}
    if any(one[0] for one in conditions[::2]):
        found.add("not")
    if "or" in conditions[1::2]:
        found.add("or")
    return found


def keyword_partial(pred: ParsedSql, gold: ParsedSql) -> Partial:
    pred_words, gold_words = keywords(pred), keywords(gold)
    return partial(len(gold_words), len(pred_words), len(pred_words & gold_words))
