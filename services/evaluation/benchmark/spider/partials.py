"""The ten partial scores of exact set match (eval_partial_match of the official evaluation.py)."""

from collections.abc import Sequence
from typing import NamedTuple

from shared.sql.spider.hardness import all_conditions
from shared.sql.spider.tree import Conditions, ParsedSql

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
    """One component: accuracy, recall and F1 are all 1 or all 0; the totals say on which sides it is present."""

    acc: int
    rec: int
    f1: int
    label_total: int
    pred_total: int


def partial(label_total: int, pred_total: int, count: int) -> Partial:
    """All 1 where every element of both sides met its equal."""
    score = int(pred_total == label_total == count)
    return Partial(score, score, score, label_total, pred_total)


def overlap(pred: Sequence[object], gold: Sequence[object]) -> int:
    """How many elements of `pred` find an equal one in `gold`, each used once."""
    if pred == gold:
        return len(gold)
    left = list(gold)
    for one in pred:
        if one in left:
            left.remove(one)
    return len(gold) - len(left)


def select_partials(pred: ParsedSql, gold: ParsedSql) -> tuple[Partial, Partial]:
    """Selected items, with and without the aggregate before the bracket."""
    sizes = len(gold.select), len(pred.select)
    bare = overlap([item.value for item in pred.select], [item.value for item in gold.select])
    return partial(*sizes, overlap(pred.select, gold.select)), partial(*sizes, bare)


def where_partials(pred: ParsedSql, gold: ParsedSql) -> tuple[Partial, Partial]:
    """Conditions of WHERE, whole and by their left side alone."""
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
    """The name after the table."""
    return column.split(".")[1] if "." in column else column


def order_partial(pred: ParsedSql, gold: ParsedSql) -> Partial:
    """ORDER BY with its direction, and a LIMIT on both sides or neither."""
    same = gold.order_by is not None and pred.order_by == gold.order_by
    count = int(same and (pred.limit is None) == (gold.limit is None))
    return partial(int(gold.order_by is not None), int(pred.order_by is not None), count)


def connector_partial(pred: ParsedSql, gold: ParsedSql) -> Partial:
    """The kinds of connectors in WHERE. The totals of a miss are swapped, as officially."""
    pred_words, gold_words = set(pred.where[1::2]), set(gold.where[1::2])
    return partial(1, 1, 1) if pred_words == gold_words else partial(len(pred_words), len(gold_words), 0)


def keywords(sql: ParsedSql) -> set[str]:
    """The words that the query uses."""
    found = {name for name, clause in clauses(sql) if clause}
    if sql.order_by is not None:
        found.add(sql.order_by.direction)
    for conditions in all_conditions(sql):
        found |= condition_keywords(conditions)
    return found


def clauses(sql: ParsedSql) -> list[tuple[str, bool]]:
    """Each clause's keyword, and whether the query has it."""
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
    """OR, NOT, IN and LIKE in one list of conditions."""
    found = {str(one[1]) for one in conditions[::2]} & {"in", "like"}
    if any(one[0] for one in conditions[::2]):
        found.add("not")
    if "or" in conditions[1::2]:
        found.add("or")
    return found


def keyword_partial(pred: ParsedSql, gold: ParsedSql) -> Partial:
    """Keywords of both sides."""
    pred_words, gold_words = keywords(pred), keywords(gold)
    return partial(len(gold_words), len(pred_words), len(pred_words & gold_words))
