"""Counts and aggregates over one table."""

from services.synthesis.grammar.draw import AGGREGATES, NUMBERS, Draw, noun_slots
from services.synthesis.grammar.english import listing
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.rows import name_pattern, scope
from services.synthesis.grammar.world import Filling, NoFit


@intent("easy", "aggregate", weight=0.2)
def count_all(draw: Draw) -> Filling:
    """How many rows there are."""
    table = draw.table()
    return Filling(f"SELECT COUNT(*) FROM {table.name}", noun_slots(table))


@intent("easy", "aggregate", weight=1.5)
def count(draw: Draw) -> Filling:
    """How many rows meet a condition."""
    table = draw.table()
    base, condition = f"SELECT COUNT(*) FROM {table.name}", draw.condition(table)
    slots = {**noun_slots(table), "where": condition.text}
    return Filling(f"{base} WHERE {condition.on()}", slots, contrasts=(base,))


@intent("medium", "aggregate", weight=0.8)
def count_and(draw: Draw) -> Filling:
    """How many rows meet two conditions."""
    table = draw.table()
    base = f"SELECT COUNT(*) FROM {table.name}"
    first, second = draw.two_conditions(table)
    slots = {**noun_slots(table), "where": f"{first.text} and {second.text}"}
    contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}")
    return Filling(f"{base} WHERE {first.on()} AND {second.on()}", slots, contrasts=contrasts, form="count")


@intent("medium", "aggregate", "like", weight=0.3)
def count_like(draw: Draw) -> Filling:
    """How many names have a pattern."""
    table = draw.named()
    test, text = name_pattern(draw, draw.column(table, ["title"]))
    base = f"SELECT COUNT(*) FROM {table.name}"
    return Filling(f"{base} WHERE {test}", {**noun_slots(table), "where": text}, contrasts=(base,), form="count")


@intent("easy", "aggregate", weight=0.3)
def count_known(draw: Draw) -> Filling:
    """How many rows have a value in a column that holds NULLs."""
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    slots = {**noun_slots(table), "label": column.label}
    return Filling(f"SELECT COUNT({column.name}) FROM {table.name}", slots)


@intent("easy", "aggregate", weight=3.0)
def aggregate(draw: Draw) -> Filling:
    """One aggregate over all rows or over some."""
    table = draw.table()
    measure = draw.measure(table)
    words, tests, condition = scope(draw, table, 0.8)
    if condition and condition.column == measure.column:
        raise NoFit
    base = f"SELECT {measure.on()} FROM {table.name}"
    contrasts = (base,) if tests else ()
    return Filling(base + tests, {**noun_slots(table), "agg": measure.text, "scope": words}, contrasts=contrasts)


@intent("medium", "aggregate", weight=0.9)
def aggregate_and(draw: Draw) -> Filling:
    """One aggregate over the rows that meet two conditions."""
    table = draw.table()
    measure = draw.measure(table)
    first, second = draw.two_conditions(table, skip=[measure.column])
    base = f"SELECT {measure.on()} FROM {table.name}"
    slots = {**noun_slots(table), "agg": measure.text, "scope": f"{table.many} {first.text} and {second.text}"}
    contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}")
    return Filling(f"{base} WHERE {first.on()} AND {second.on()}", slots, contrasts=contrasts, form="aggregate")


def several(draw: Draw, conditions: int) -> Filling:
    """Two or three aggregates of one column at once."""
    table = draw.table()
    column = draw.column(table, NUMBERS)
    functions = draw.rng.sample(["MIN", "AVG", "MAX"], draw.rng.choice([2, 2, 3]))
    base = f"SELECT {', '.join(f'{function}({column.name})' for function in functions)} FROM {table.name}"
    words, tests = f"all {table.many}", ""
    contrasts: tuple[str, ...] = ()
    if conditions == 1:
        condition = draw.condition(table, skip=[column])
        words, tests = f"{table.many} {condition.text}", f" WHERE {condition.on()}"
        contrasts = (base,)
    elif conditions == 2:
        first, second = draw.two_conditions(table, skip=[column])
        words = f"{table.many} {first.text} and {second.text}"
        tests = f" WHERE {first.on()} AND {second.on()}"
        contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}")
    style = draw.rng.choice([0, 1])
    text = f"{listing([AGGREGATES[function][style] for function in functions])} {column.label}"
    slots = {**noun_slots(table), "agg": text, "scope": words}
    return Filling(base + tests, slots, contrasts=contrasts, form="aggregates")


@intent("medium", "aggregate", weight=0.9)
def aggregates(draw: Draw) -> Filling:
    """Two or three aggregates, over all rows or some."""
    return several(draw, draw.rng.choice([0, 1, 1]))


@intent("hard", "aggregate", weight=0.8)
def aggregates_and(draw: Draw) -> Filling:
    """Two or three aggregates under two conditions."""
    return several(draw, 2)


@intent("easy", "distinct", weight=1.0)
def distinct(draw: Draw) -> Filling:
    """The different values of a column."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests, condition = scope(draw, table, 0.95)
    if condition and condition.column == column:
        raise NoFit
    base = f"FROM {table.name}{tests}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels, "scope": words}
    contrasts = [
        f"SELECT {column.name} {base}",
        *([f"SELECT DISTINCT {column.name} FROM {table.name}"] if tests else []),
    ]
    return Filling(f"SELECT DISTINCT {column.name} {base}", slots, contrasts=tuple(contrasts))


@intent("easy", "aggregate", "distinct", weight=0.9)
def count_distinct(draw: Draw) -> Filling:
    """How many different values there are under a condition."""
    table = draw.table()
    column = draw.column(table, ["category"])
    condition = draw.condition(table, skip=[column])
    whole = f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}"
    slots = {**noun_slots(table), "cats": column.labels, "where": condition.text}
    plain = f"SELECT COUNT({column.name}) FROM {table.name} WHERE {condition.on()}"
    return Filling(f"{whole} WHERE {condition.on()}", slots, contrasts=(plain, whole))


@intent("hard", "aggregate", "arithmetic", weight=0.3)
def range_of(draw: Draw) -> Filling:
    """The difference between the highest and the lowest value."""
    table = draw.table()
    column = draw.column(table, NUMBERS)
    words, tests, condition = scope(draw, table, 0.8)
    if condition and condition.column == column:
        raise NoFit
    base = f"SELECT MAX({column.name}) - MIN({column.name}) FROM {table.name}"
    slots = {**noun_slots(table), "label": column.label, "scope": words}
    return Filling(base + tests, slots, contrasts=(base,) if tests else ())
