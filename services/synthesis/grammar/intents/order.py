"""Rows of one table in an order: the first, the first few, or all."""

from services.synthesis.grammar.draw import ORDERED, Draw, noun_slots
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.rows import scope, select
from services.synthesis.grammar.schema import Column
from services.synthesis.grammar.world import Filling, NoFit


def topmost(draw: Draw, filtered: bool) -> Filling:
    """The row with the highest or lowest value, of all rows or of some."""
    table = draw.table()
    column = draw.column(table, ORDERED)
    descending = draw.chance(0.6)
    tests, text, known = "", draw.superlative(column, descending, table.one), []
    if filtered:
        condition = draw.condition(table, skip=[column])
        known = [condition.column]
        tests, text = f" WHERE {condition.on()}", f"{text} among the {table.many} {condition.text}"
    shown = draw.shown(table, 1, 2, named=draw.chance(0.5), skip=known)
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'} LIMIT"
    keys = f"SELECT {column.name} FROM {table.name}{tail} 2"
    slots = {**noun_slots(table), **shown.slots, "sup": text}
    return Filling(f"{select(table, shown)}{tail} 1", slots, keys, form="top")


@intent("medium", "order", "limit", weight=1.0)
def top(draw: Draw) -> Filling:
    """The row with the highest or lowest value."""
    return topmost(draw, filtered=False)


@intent("hard", "order", "limit", weight=1.2)
def top_where(draw: Draw) -> Filling:
    """The row with the highest or lowest value under a condition."""
    return topmost(draw, filtered=True)


def first_few(draw: Draw, filtered: bool) -> Filling:
    """The first few rows of an order."""
    table = draw.table()
    column = draw.column(table, ORDERED)
    descending, wanted = draw.chance(0.6), draw.rng.choice([2, 3, 4, 5])
    among, tests, known = "", "", []
    if filtered:
        condition = draw.condition(table, skip=[column])
        known = [condition.column]
        among, tests = f" among those {condition.text}", f" WHERE {condition.on()}"
    shown = draw.shown(table, 1, 2, named=True, skip=known)
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'} LIMIT"
    text = f"{wanted} {draw.superlative(column, descending, table.many)}{among}"
    slots = {**noun_slots(table), **shown.slots, "supn": text}
    slots["order"] = f"starting with the {column.extremes[descending]} {column.label}"
    keys = f"SELECT {column.name} FROM {table.name}{tail} {wanted + 1}"
    if len(draw.world.run(keys)) < wanted:
        raise NoFit
    return Filling(f"{select(table, shown)}{tail} {wanted}", slots, keys, form="top_n")


@intent("medium", "order", "limit", weight=0.9)
def top_n(draw: Draw) -> Filling:
    """The first few rows of an order."""
    return first_few(draw, filtered=False)


@intent("hard", "order", "limit", weight=0.8)
def top_n_where(draw: Draw) -> Filling:
    """The first few rows of an order under a condition."""
    return first_few(draw, filtered=True)


def spoken_direction(draw: Draw, column: Column, descending: bool) -> str:
    """The direction of an order in words."""
    if column.kind == "title":
        return "in reverse alphabetical order" if descending else "alphabetically"
    low, high = column.extremes
    order = f"from {high} to {low}" if descending else f"from {low} to {high}"
    return draw.pick([order, "in descending order" if descending else "in ascending order"])


def in_order(draw: Draw, least: int, most: int, chance: float) -> Filling:
    """Rows in the order of a column."""
    table = draw.table()
    column = draw.column(table, ("title", *ORDERED))
    descending = draw.chance(0.2 if column.kind == "title" else 0.6)
    words, tests, condition = scope(draw, table, chance)
    shown = draw.shown(table, least, most, skip=[condition.column] if condition else [])
    slots = {**noun_slots(table), **shown.slots, "scope": words, "key": column.label}
    slots["each"] = f"each {table.one} {condition.text if condition else ''}".strip()
    slots["order"] = spoken_direction(draw, column, descending)
    tail = f"{tests} ORDER BY {column.name} {'DESC' if descending else 'ASC'}"
    keys = f"SELECT {column.name} FROM {table.name}{tail}"
    return Filling(select(table, shown) + tail, slots, keys, form=shown.form("ordered"))


@intent("easy", "order", weight=1.1)
def ordered(draw: Draw) -> Filling:
    """One column of all rows in the order of a column."""
    return in_order(draw, 1, 1, 0.0)


@intent("medium", "order", weight=1.0)
def ordered_columns(draw: Draw) -> Filling:
    """Two columns of some rows in the order of a column."""
    return in_order(draw, 2, 2, 0.6)


@intent("medium", "order", weight=0.5)
def ordered_twice(draw: Draw) -> Filling:
    """Rows in the order of a category and, within it, of a number."""
    table = draw.table()
    first, second = draw.column(table, ["category"]), draw.column(table, ORDERED)
    descending = draw.chance(0.6)
    shown = draw.shown(table, 2, 3)
    tail = f" ORDER BY {first.name} ASC, {second.name} {'DESC' if descending else 'ASC'}"
    slots = {**noun_slots(table), **shown.slots, "cat": first.label, "key": second.label}
    slots["order"] = spoken_direction(draw, second, descending)
    keys = f"SELECT {first.name}, {second.name} FROM {table.name}{tail}"
    return Filling(select(table, shown) + tail, slots, keys, form=shown.form("ordered_twice"))
