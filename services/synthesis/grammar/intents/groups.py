"""Rows of one table grouped by a category."""

from services.synthesis.grammar.draw import NUMBERS, Draw, Measure, category_slots, noun_slots
from services.synthesis.grammar.english import listing, with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import Filling, NoFit

COUNTS = {">": "more than {n}", ">=": "at least {n}"}


def threshold(draw: Draw, sizes: list[int]) -> tuple[str, str]:
    """A count test that keeps some groups and not all, as (SQL, words)."""
    operator = draw.pick(list(COUNTS))
    if not sizes:
        raise NoFit
    bound = draw.pick([n for n in range(2, max(sizes) + 1) if 0 < _kept(sizes, operator, n) < len(sizes)])
    return f"{operator} {bound}", COUNTS[operator].format(n=bound)


def sizes_by(draw: Draw, table: Table, column: str, tests: str = "") -> list[int]:
    """How many rows each value of a column has."""
    found = draw.world.run(f"SELECT COUNT(*) FROM {table.name}{tests} GROUP BY {column}")
    return [int(row[0] or 0) for row in found]


def _kept(sizes: list[int], operator: str, bound: int) -> int:
    return sum(size > bound or (size == bound and operator == ">=") for size in sizes)


def filtered(draw: Draw, table: Table, column: Column, chance: float, complete: bool = True) -> tuple[str, str]:
    """(noun with or without a condition, WHERE clause).

    With `complete` a condition leaves every category some rows: whether to list one with none would be a guess.
    """
    if not draw.chance(chance):
        return table.many, ""
    condition = draw.condition(table, skip=[column])
    tests = f" WHERE {condition.on()}"
    values = f"SELECT DISTINCT {column.name} FROM {table.name}"
    if complete and len(draw.world.run(values + tests)) < len(draw.world.run(values)):
        raise NoFit
    return f"{table.many} {condition.text}", tests


def numbers_by(draw: Draw, table: Table, column: Column, value: str) -> list[float]:
    """An aggregate's value for each category."""
    found = draw.world.run(f"SELECT {value} FROM {table.name} GROUP BY {column.name}")
    return [float(row[0] or 0) for row in found]


@intent("medium", "aggregate", "group", weight=1.1)
def group_count(draw: Draw) -> Filling:
    """Rows counted by a category."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = filtered(draw, table, column, 0.5)
    base, tail = f"SELECT {column.name}, COUNT(*) FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "scope": words}
    return Filling(base + tests + tail, slots, contrasts=(base + tail,) if tests else ())


@intent("medium", "aggregate", "group", weight=1.0)
def group_measure(draw: Draw) -> Filling:
    """A number aggregated by a category."""
    table = draw.table()
    column, measure = draw.column(table, ["category"]), draw.measure(table)
    words, tests = filtered(draw, table, column, 0.4)
    base, tail = f"SELECT {column.name}, {measure.on()} FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "agg": measure.text, "scope": words}
    return Filling(base + tests + tail, slots, contrasts=(base + tail,) if tests else ())


@intent("medium", "aggregate", "group", weight=0.5)
def group_measures(draw: Draw) -> Filling:
    """Two aggregates of a number by a category."""
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    (first, low), (second, high) = draw.pick(
        [
            (("MIN", "lowest"), ("MAX", "highest")),
            (("AVG", "average"), ("MAX", "maximum")),
            (("MIN", "minimum"), ("AVG", "mean")),
        ]
    )
    sql = f"SELECT {column.name}, {first}({number.name}), {second}({number.name}) FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(column), "agg": f"{listing([low, high])} {number.label}"}
    return Filling(f"{sql} GROUP BY {column.name}", slots | {"scope": table.many}, form="group_measure")


@intent("medium", "aggregate", "group", weight=0.5)
def group_two(draw: Draw) -> Filling:
    """Rows counted by two categories."""
    table = draw.table()
    first = draw.column(table, ["category"])
    second = draw.column(table, ["category"], skip=[first])
    columns = f"{first.name}, {second.name}"
    slots = {**noun_slots(table), "first": first.label, "second": second.label}
    return Filling(f"SELECT {columns}, COUNT(*) FROM {table.name} GROUP BY {columns}", slots)


@intent("medium", "aggregate", "group", "distinct", weight=0.4)
def group_count_distinct(draw: Draw) -> Filling:
    """Different values of one category counted by another."""
    table = draw.table()
    column = draw.column(table, ["category"])
    other = draw.column(table, ["category"], skip=[column])
    base, tail = f"FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "others": other.labels}
    contrast = f"SELECT {column.name}, COUNT({other.name}) {base}{tail}"
    return Filling(f"SELECT {column.name}, COUNT(DISTINCT {other.name}) {base}{tail}", slots, contrasts=(contrast,))


@intent("easy", "aggregate", "group", "having", weight=0.6)
def group_having(draw: Draw) -> Filling:
    """Categories with enough rows."""
    table = draw.table()
    column = draw.column(table, ["category"])
    test, text = threshold(draw, sizes_by(draw, table, column.name))
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING COUNT(*) {test}"
    return Filling(sql, {**noun_slots(table), **category_slots(column), "number": text, "scope": table.many})


@intent("medium", "aggregate", "group", "having", weight=0.6)
def group_having_where(draw: Draw) -> Filling:
    """Categories with enough rows that meet a condition."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = filtered(draw, table, column, 1.0, complete=False)
    test, text = threshold(draw, sizes_by(draw, table, column.name, tests))
    tail = f"GROUP BY {column.name} HAVING COUNT(*) {test}"
    base = f"SELECT {column.name} FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(column), "number": text, "scope": words}
    return Filling(f"{base}{tests} {tail}", slots, contrasts=(f"{base} {tail}",), form="group_having")


@intent("easy", "aggregate", "group", "having", weight=0.6)
def group_having_measure(draw: Draw) -> Filling:
    """Categories whose average or total lies above or below a bound."""
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    function, word = draw.pick([("AVG", "average"), ("AVG", "mean"), *([("SUM", "total")] if number.total else [])])
    measure = Measure(function, number, f"{word} {number.label}")
    bound = draw.bound_between(numbers_by(draw, table, column, measure.on()))
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING {measure.on()} {sign} {bound}"
    slots = {**noun_slots(table), **category_slots(column)}
    return Filling(sql, slots | {"agg": measure.text, "agg_a": with_article(measure.text), "bound": f"{word} {bound}"})


@intent("hard", "aggregate", "group", "order", "limit", weight=1.0)
def group_top(draw: Draw) -> Filling:
    """The most or least frequent category."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = filtered(draw, table, column, 0.5, complete=False)
    # A category that the condition leaves without rows would have the fewest of all.
    most = bool(tests) or draw.chance(0.5)
    tail = f"FROM {table.name}{tests} GROUP BY {column.name} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT"
    slots = {**noun_slots(table), **category_slots(column), "scope": words}
    slots |= {"most": "most" if most else "fewest", "common": "most common" if most else "least common"}
    return Filling(f"SELECT {column.name} {tail} 1", slots, f"SELECT COUNT(*) {tail} 2")


@intent("hard", "aggregate", "group", "order", "limit", weight=0.8)
def group_top_measure(draw: Draw) -> Filling:
    """The category with the highest or lowest average or total."""
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    function, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    most = draw.chance(0.6)
    value = f"{function}({number.name})"
    tail = f"FROM {table.name} GROUP BY {column.name} ORDER BY {value} {'DESC' if most else 'ASC'} LIMIT"
    slots = {**noun_slots(table), **category_slots(column), "agg": f"{word} {number.label}"}
    slots["most"] = "highest" if most else "lowest"
    return Filling(f"SELECT {column.name} {tail} 1", slots, f"SELECT {value} {tail} 2")


@intent("hard", "aggregate", "group", "order", weight=0.7)
def group_sorted(draw: Draw) -> Filling:
    """Categories with a count or an aggregate, in the order of that value."""
    table = draw.table()
    column = draw.column(table, ["category"])
    value, words = "COUNT(*)", f"number of {table.many}"
    if draw.chance(0.6):
        measure = draw.measure(table)
        value, words = measure.on(), f"{measure.text} of the {table.many}"
    down = draw.chance(0.6)
    tail = f"FROM {table.name} GROUP BY {column.name} ORDER BY {value} {'DESC' if down else 'ASC'}"
    slots = {**noun_slots(table), **category_slots(column), "value": words}
    slots["order"] = f"by that value, {'highest' if down else 'lowest'} first"
    return Filling(f"SELECT {column.name}, {value} {tail}", slots, f"SELECT {value} {tail}")
