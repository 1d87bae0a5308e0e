"""Missing values: IS NULL, COALESCE, and outer joins."""

from services.synthesis.grammar.draw import Draw, category_slots, noun_slots, relation_slots
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.rows import rows_where
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import Filling, NoFit, title_of


def null_test(draw: Draw, table: Table) -> tuple[Column, str, str]:
    """(column, SQL test, words): a value is missing, or is not."""
    column = draw.pick([column for column in table.columns if column.missing])
    test, words = draw.pick(
        [("IS NULL", ("unknown", "missing", "not recorded")), ("IS NOT NULL", ("known", "on record", "recorded"))]
    )
    return column, f"{column.name} {test}", f"whose {column.label} is {draw.pick(words)}"


@intent("easy", "null", weight=0.22)
def null(draw: Draw) -> Filling:
    """Rows where a value is missing, or is not."""
    table = draw.table()
    column, test, text = null_test(draw, table)
    return rows_where(table, draw.shown(table, skip=[column]), test, text)


@intent("easy", "null", "aggregate", weight=0.12)
def null_count(draw: Draw) -> Filling:
    """How many rows lack a value."""
    table = draw.table()
    _, test, text = null_test(draw, table)
    base = f"SELECT COUNT(*) FROM {table.name}"
    return Filling(f"{base} WHERE {test}", {**noun_slots(table), "where": text}, contrasts=(base,), form="count")


@intent("medium", "null", weight=0.5)
def null_and(draw: Draw) -> Filling:
    """Rows that lack a value, or have it, under a further condition."""
    table = draw.table()
    column, test, text = null_test(draw, table)
    condition = draw.condition(table, skip=[column])
    shown = draw.shown(table, 1, 2, skip=[column, condition.column])
    filling = rows_where(table, shown, f"{condition.on()} AND {test}", f"{condition.text} and {text}")
    base = filling.contrasts[0]
    contrasts = (f"{base} WHERE {condition.on()}", f"{base} WHERE {test}")
    return Filling(filling.sql, filling.slots, contrasts=contrasts, form=filling.form)


@intent("hard", "null", weight=0.5)
def coalesce(draw: Draw) -> Filling:
    """A column with a stated value in place of what is missing."""
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    title, label = title_of(table)
    instead, said = ("'unknown'", "'unknown'") if column.sql_type == "TEXT" else ("0", "0")
    base = f"FROM {table.name}"
    words, tests = f"all {table.many}", ""
    if draw.chance(0.6):
        condition = draw.condition(table, skip=[column])
        words, tests = f"{table.many} {condition.text}", f" WHERE {condition.on()}"
    sql = f"SELECT {title}, COALESCE({column.name}, {instead}) {base}{tests}"
    slots = {**noun_slots(table), "title": label, "label": column.label, "scope": words, "instead": said}
    return Filling(sql, slots, contrasts=(f"SELECT {title}, {column.name} {base}{tests}",))


@intent("hard", "null", "aggregate", "group", weight=0.9)
def null_by_group(draw: Draw) -> Filling:
    """Missing values counted by a category."""
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    category = draw.column(table, ["category"], skip=[column])
    sql = f"SELECT {category.name}, COUNT(*) FROM {table.name} WHERE {column.name} IS NULL GROUP BY {category.name}"
    return Filling(sql, {**noun_slots(table), **category_slots(category), "label": column.label})


@intent("hard", "null", "join", weight=0.5)
def of_unknown(draw: Draw) -> Filling:
    """Children of parents that meet a condition, where the child lacks a value or has it."""
    relation = draw.relation()
    column, test, text = null_test(draw, relation.child)
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2, named=True, skip=[column])
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    where = f"{relation.column.of} {relation.parent.many} {condition.text}"
    slots = {**noun_slots(relation.child), **shown.slots, "first": where, "second": text}
    contrasts = (f"{base} WHERE {condition.on('T2.')}", f"{base} WHERE T1.{test}")
    return Filling(f"{base} WHERE {condition.on('T2.')} AND T1.{test}", slots, contrasts=contrasts)


@intent("hard", "null", "join", weight=0.5)
def outer_without(draw: Draw) -> Filling:
    """Parents without children, by an outer join."""
    relation = draw.relation()
    if not draw.world.childless(relation.column):
        raise NoFit
    shown = draw.shown(relation.parent, 1, 2, named=True)
    child, parent = relation.child, relation.parent
    base = f"SELECT {shown.sql('T1.')} FROM {parent.name} AS T1"
    join = f"LEFT JOIN {child.name} AS T2 ON T1.{parent.key} = T2.{relation.column.name}"
    sql = f"{base} {join} WHERE T2.{child.key} IS NULL"
    return Filling(sql, {**relation_slots(relation), **shown.slots}, contrasts=(base,))


@intent("hard", "join", "aggregate", "group", weight=0.7)
def outer_count(draw: Draw) -> Filling:
    """Children counted for every parent, those without children too."""
    relation = draw.relation()
    if not draw.world.childless(relation.column):
        raise NoFit
    child, parent = relation.child, relation.parent
    title = title_of(parent)[0]
    tests, words = "", ""
    if draw.chance(0.5):
        condition = draw.condition(parent, foreign=child)
        tests, words = f" WHERE {condition.on('T1.')}", f" {condition.text}"
    join = f"JOIN {child.name} AS T2 ON T1.{parent.key} = T2.{relation.column.name}"
    base = f"SELECT T1.{title}, COUNT(T2.{child.key}) FROM {parent.name} AS T1"
    tail = f"{join}{tests} GROUP BY T1.{parent.key}"
    slots = {**relation_slots(relation), "where": words}
    return Filling(f"{base} LEFT {tail}", slots, contrasts=(f"{base} {tail}",))
