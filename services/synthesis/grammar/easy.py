"""Easy intents: one table (SENSE section on strong data: three levels)."""

from collections.abc import Callable

from services.synthesis.grammar.draw import (
    AGGREGATES,
    NUMBERS,
    ORDERED,
    Condition,
    Draw,
    columns_slots,
    noun_slots,
    spoken_order,
)
from services.synthesis.grammar.english import COMPARISONS, listing, with_article
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.schema import Table
from services.synthesis.grammar.world import Filling, NoFit

Intent = Callable[[Draw], Filling]


def _select(table: Table, shown: list[tuple[str, str, str]]) -> str:
    return f"SELECT {', '.join(name for name, _, _ in shown)} FROM {table.name}"


def _rows(draw: Draw, table: Table, tests: str, where: str, **more: str) -> Filling:
    shown = draw.shown(table)
    base = _select(table, shown)
    slots = {**noun_slots(table), **columns_slots(shown), "where": where, **more}
    return Filling(f"{base} WHERE {tests}", slots, contrasts=(base,))


def _scope(draw: Draw, table: Table, chance: float) -> tuple[str, str, Condition | None]:
    """(words, WHERE clause, condition): all rows or those that meet a condition."""
    if not draw.chance(chance):
        return f"all {table.many}", "", None
    condition = draw.condition(table)
    return f"{table.many} {condition.text}", f" WHERE {condition.on()}", condition


def project(draw: Draw) -> Filling:
    """Two or three columns of all rows."""
    table = draw.table()
    shown = draw.shown(table, most=4)
    if len(shown) < 2:
        raise NoFit
    return Filling(_select(table, shown), {**noun_slots(table), **columns_slots(shown)})


def lookup(draw: Draw) -> Filling:
    """A column of the row with a given name."""
    table = draw.named()
    title = draw.column(table, ["title"])
    others = [column for column in table.columns if column.kind in ("category", *ORDERED)]
    wanted = draw.rng.sample(others, min(len(others), draw.rng.choice([1, 1, 2])))
    value = str(draw.pick(draw.world.values(title)))
    sql = f"SELECT {', '.join(c.name for c in wanted)} FROM {table.name} WHERE {title.name} = {literal(value)}"
    slots = {**noun_slots(table), "cols": listing([c.label for c in wanted]), "value": value}
    return Filling(sql, slots)


def where(draw: Draw) -> Filling:
    """Rows under one condition."""
    table = draw.table()
    condition = draw.condition(table)
    return _rows(draw, table, condition.on(), condition.text)


def where_and(draw: Draw) -> Filling:
    """Rows under two conditions."""
    table = draw.table()
    first = draw.condition(table)
    first, second = spoken_order(first, draw.condition(table, skip=[first.column]))
    filling = _rows(draw, table, f"{first.on()} AND {second.on()}", "", first=first.text, second=second.text)
    base = filling.contrasts[0]
    return Filling(filling.sql, filling.slots, contrasts=(f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}"))


def where_in(draw: Draw) -> Filling:
    """Rows with one of two values."""
    table = draw.table()
    column = draw.column(table, ["category"])
    values = sorted(set(map(str, draw.world.values(column))))
    if len(values) < 3:
        raise NoFit
    pair = draw.rng.sample(values, 2)
    text = draw.category_text(column, listing(pair, "or"))
    return _rows(draw, table, f"{column.name} IN ({', '.join(map(literal, pair))})", text)


def where_not(draw: Draw) -> Filling:
    """Rows without a given value."""
    table = draw.table()
    column = draw.column(table, ["category"])
    value = draw.pick(sorted(set(map(str, draw.world.values(column)))))
    text = draw.pick([f"whose {column.label} is not {value}", f"with {with_article(column.label)} other than {value}"])
    return _rows(draw, table, f"{column.name} != {literal(value)}", text)


def between(draw: Draw) -> Filling:
    """Rows within a range, both ends included."""
    table = draw.table()
    column = draw.column(table, ["amount", "year"])
    bounds = draw.bounds(column, draw.world.values(column))
    if len(bounds) < 3:
        raise NoFit
    low, high = (bounds[place] for place in sorted(draw.rng.sample(range(len(bounds)), 2)))
    phrase = draw.pick(COMPARISONS[column.kind]["between"])
    text = phrase.format(a=with_article(column.label), l=column.label, v=low, w=high)
    return _rows(draw, table, f"{column.name} BETWEEN {literal(low)} AND {literal(high)}", text)


def like(draw: Draw) -> Filling:
    """Rows whose name starts with a letter, ends with one, or contains a word."""
    table = draw.named()
    title = draw.column(table, ["title"])
    value = str(draw.pick(draw.world.values(title)))
    word = draw.pick(value.split())
    options = [(f"{value[0]}%", f"starts with {value[0]}"), (f"%{word}%", f"contains {word}")]
    pattern, text = draw.pick(options if len(word) > 2 and " " in value else options[:1])
    return _rows(draw, table, f"{title.name} LIKE {literal(pattern)}", f"whose {title.label} {text}")


def null(draw: Draw) -> Filling:
    """Rows where a value is missing, or is not."""
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    test, words = draw.pick([("IS NULL", ("unknown", "missing")), ("IS NOT NULL", ("known", "on record"))])
    return _rows(draw, table, f"{column.name} {test}", f"whose {column.label} is {draw.pick(words)}")


def count(draw: Draw) -> Filling:
    """How many rows meet one or two conditions."""
    table = draw.table()
    base = f"SELECT COUNT(*) FROM {table.name}"
    first = draw.condition(table)
    if not draw.chance(0.35):
        return Filling(f"{base} WHERE {first.on()}", {**noun_slots(table), "where": first.text}, contrasts=(base,))
    first, second = spoken_order(first, draw.condition(table, skip=[first.column]))
    slots = {**noun_slots(table), "where": f"{first.text} and {second.text}"}
    contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}")
    return Filling(f"{base} WHERE {first.on()} AND {second.on()}", slots, contrasts=contrasts)


def aggregate(draw: Draw) -> Filling:
    """One aggregate over all rows or over some."""
    table = draw.table()
    measure = draw.measure(table)
    words, tests, condition = _scope(draw, table, 0.6)
    if condition and condition.column == measure.column:
        raise NoFit
    base = f"SELECT {measure.on()} FROM {table.name}"
    contrasts = (base,) if tests else ()
    return Filling(base + tests, {**noun_slots(table), "agg": measure.text, "scope": words}, contrasts=contrasts)


def aggregates(draw: Draw) -> Filling:
    """Two or three aggregates at once."""
    table = draw.table()
    column = draw.column(table, NUMBERS)
    functions = draw.rng.sample(["MIN", "AVG", "MAX"], draw.rng.choice([2, 2, 3]))
    words, tests, condition = _scope(draw, table, 0.5)
    if condition and condition.column == column:
        raise NoFit
    base = f"SELECT {', '.join(f'{function}({column.name})' for function in functions)} FROM {table.name}"
    style = draw.rng.choice([0, 1])
    text = f"{listing([AGGREGATES[function][style] for function in functions])} {column.label}"
    slots = {**noun_slots(table), "agg": text, "scope": words}
    return Filling(base + tests, slots, contrasts=(base,) if tests else ())


def distinct(draw: Draw) -> Filling:
    """The different values of a column."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests, condition = _scope(draw, table, 0.6)
    if condition and condition.column == column:
        raise NoFit
    base = f"FROM {table.name}{tests}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels, "scope": words}
    return Filling(f"SELECT DISTINCT {column.name} {base}", slots, contrasts=(f"SELECT {column.name} {base}",))


def top(draw: Draw) -> Filling:
    """The row with the highest or lowest value."""
    table = draw.table()
    column = draw.column(table, ORDERED)
    descending = draw.chance(0.6)
    shown = draw.shown(table)
    tests, text, direction = "", draw.superlative(column, descending, table.one), "DESC" if descending else "ASC"
    if draw.chance(0.35):
        condition = draw.condition(table, skip=[column])
        tests, text = f" WHERE {condition.on()}", f"{text} among the {table.many} {condition.text}"
    tail = f"{tests} ORDER BY {column.name} {direction} LIMIT"
    keys = f"SELECT {column.name} FROM {table.name}{tail} 2"
    return Filling(f"{_select(table, shown)}{tail} 1", {**noun_slots(table), **columns_slots(shown), "sup": text}, keys)


def top_n(draw: Draw) -> Filling:
    """The first few rows of an order."""
    table = draw.table()
    column = draw.column(table, ORDERED)
    descending, wanted = draw.chance(0.6), draw.rng.choice([2, 3, 4, 5])
    shown = draw.shown(table)
    tail = f"ORDER BY {column.name} {'DESC' if descending else 'ASC'} LIMIT"
    text = f"{wanted} {draw.superlative(column, descending, table.many)}"
    slots = {**noun_slots(table), **columns_slots(shown), "supn": text}
    slots["order"] = f"starting with the {column.extremes[descending]} {column.label}"
    keys = f"SELECT {column.name} FROM {table.name} {tail} {wanted + 1}"
    return Filling(f"{_select(table, shown)} {tail} {wanted}", slots, keys)


def ordered(draw: Draw) -> Filling:
    """Rows in the order of a column."""
    table = draw.table()
    column = draw.column(table, ("title", *ORDERED))
    descending = column.kind != "title" and draw.chance(0.6)
    shown = draw.shown(table)
    words, tests, _ = _scope(draw, table, 0.5)
    low, high = column.extremes
    order = f"from {high} to {low}" if descending else f"from {low} to {high}"
    order = "alphabetically" if column.kind == "title" else order
    plain = "in descending order" if descending else "in ascending order"
    slots = {**noun_slots(table), **columns_slots(shown), "scope": words, "key": column.label}
    slots["order"] = draw.pick([order, plain]) if column.kind != "title" else order
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'}"
    keys = f"SELECT {column.name} FROM {table.name}{tail}"
    return Filling(_select(table, shown) + tail, slots, keys)


EASY: dict[str, Intent] = {
    "project": project,
    "lookup": lookup,
    "where": where,
    "where_and": where_and,
    "where_in": where_in,
    "where_not": where_not,
    "between": between,
    "like": like,
    "null": null,
    "count": count,
    "aggregate": aggregate,
    "aggregates": aggregates,
    "distinct": distinct,
    "top": top,
    "top_n": top_n,
    "ordered": ordered,
}
