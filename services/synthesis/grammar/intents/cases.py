"""CASE: bands of a number, and several counts side by side."""

from services.synthesis.grammar.draw import NUMBERS, Draw, noun_slots, relation_slots
from services.synthesis.grammar.english import with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.parents import with_any
from services.synthesis.grammar.intents.rows import scope
from services.synthesis.grammar.rows import Cell, literal
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import Filling, NoFit, title_of

BANDS = [("high", "low"), ("upper", "lower"), ("big", "small"), ("A", "B")]


def band(draw: Draw, table: Table) -> tuple[Column, str, Cell, tuple[str, str]]:
    """(number, CASE expression, bound, names of the two bands)."""
    column = draw.column(table, NUMBERS)
    bound = draw.pick(draw.bounds(column, draw.world.values(column)))
    upper, lower = draw.pick(BANDS)
    sql = f"CASE WHEN {column.name} >= {literal(bound)} THEN '{upper}' ELSE '{lower}' END"
    if len(draw.world.run(f"SELECT DISTINCT {sql} FROM {table.name}")) < 2:
        raise NoFit
    return column, sql, bound, (upper, lower)


@intent("hard", "case", weight=0.5)
def banded(draw: Draw) -> Filling:
    """Each row with the band of a number."""
    table = draw.table()
    column, case, bound, (upper, lower) = band(draw, table)
    title, label = title_of(table)
    words, tests, _ = scope(draw, table, 0.5)
    sql = f"SELECT {title}, {case} FROM {table.name}{tests}"
    slots = {**noun_slots(table), "title": label, "label": column.label, "bound": str(bound), "scope": words}
    slots["label_a"] = with_article(column.label)
    plain = f"SELECT {title}, '{upper}' FROM {table.name}{tests}", f"SELECT {title}, '{lower}' FROM {table.name}{tests}"
    return Filling(sql, slots | {"upper": upper, "lower": lower}, contrasts=plain)


@intent("hard", "case", "aggregate", "group", weight=0.5)
def band_counts(draw: Draw) -> Filling:
    """Rows counted, or a number averaged, by the band of a number."""
    table = draw.table()
    column, case, bound, (upper, lower) = band(draw, table)
    value, said = "COUNT(*)", f"number of {table.many}"
    if draw.chance(0.5):
        other = draw.column(table, NUMBERS, skip=[column])
        value, said = f"AVG({other.name})", f"average {other.label}"
    sql = f"SELECT {case} AS band, {value} FROM {table.name} GROUP BY band"
    slots = {**noun_slots(table), "label": column.label, "bound": str(bound), "value": said}
    slots["label_a"] = with_article(column.label)
    return Filling(sql, slots | {"upper": upper, "lower": lower})


@intent("hard", "case", "aggregate", weight=0.5)
def side_by_side(draw: Draw) -> Filling:
    """Rows that meet one condition and rows that meet another, counted in one row."""
    table = draw.table()
    first, second = draw.two_conditions(table)
    counts = [f"SUM(CASE WHEN {test.on()} THEN 1 ELSE 0 END)" for test in (first, second)]
    slots = {**noun_slots(table), "first": first.text, "second": second.text}
    sql = f"SELECT {', '.join(counts)} FROM {table.name}"
    row = draw.world.run(sql)[0]
    if row[0] == row[1] or 0 in row:
        raise NoFit
    return Filling(sql, slots)


@intent("hard", "case", "aggregate", "arithmetic", weight=0.5)
def percentage(draw: Draw) -> Filling:
    """The share of rows that meet a condition, in percent."""
    table = draw.table()
    words, tests, other = scope(draw, table, 0.4)
    condition = draw.condition(table, skip=[other.column] if other else [])
    share = f"100.0 * SUM(CASE WHEN {condition.on()} THEN 1 ELSE 0 END) / COUNT(*)"
    base = f"SELECT {share} FROM {table.name}"
    slots = {**noun_slots(table), "scope": words, "where": condition.text}
    if draw.world.run(base + tests)[0][0] in (0, 100, None):
        raise NoFit
    return Filling(base + tests, slots, contrasts=(base,) if tests else ())


@intent("hard", "case", "join", "aggregate", "group", weight=0.6)
def per_parent_case(draw: Draw) -> Filling:
    """For each parent that has children, how many of them meet a condition."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    condition = draw.condition(relation.child, foreign=relation.parent)
    value = f"SUM(CASE WHEN {condition.on('T1.')} THEN 1 ELSE 0 END)"
    tail = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    slots = {**relation_slots(relation), "any": with_any(draw, relation), "where": condition.text}
    return Filling(f"SELECT T2.{title}, {value} {tail}", slots, contrasts=(f"SELECT T2.{title}, COUNT(*) {tail}",))
