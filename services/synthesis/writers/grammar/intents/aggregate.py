"""One table: counts and aggregates, over all rows or grouped by a category."""

from services.synthesis.writers.grammar.database import FilledIntent, NoFit
from services.synthesis.writers.grammar.domain import Column, Table, listing, with_article
from services.synthesis.writers.grammar.draw import AGGREGATES, NUMBERS, Draw, Measure, category_slots, noun_slots
from services.synthesis.writers.grammar.intents import intent
from services.synthesis.writers.grammar.intents.select import draw_scope, name_pattern, under_both


@intent("easy", "aggregate", weight=0.2)
def count_all(draw: Draw) -> FilledIntent:
    table = draw.table()
    return FilledIntent(f"SELECT COUNT(*) FROM {table.name}", noun_slots(table))


@intent("easy", "aggregate", weight=1.5)
def count(draw: Draw) -> FilledIntent:
    table = draw.table()
    base, condition = f"SELECT COUNT(*) FROM {table.name}", draw.condition(table)
    slots = {**noun_slots(table), "where": condition.text}
    return FilledIntent(f"{base} WHERE {condition.on()}", slots, contrasts=(base,))


@intent("medium", "aggregate", weight=0.8)
def count_and(draw: Draw) -> FilledIntent:
    table = draw.table()
    base = f"SELECT COUNT(*) FROM {table.name}"
    first, second = draw.two_conditions(table)
    slots = {**noun_slots(table), "where": f"{first.text} and {second.text}"}
    return under_both(base, first.on(), second.on(), slots, "count")


@intent("medium", "aggregate", "like", weight=0.3)
def count_like(draw: Draw) -> FilledIntent:
    table = draw.named()
    test, text = name_pattern(draw, draw.column(table, ["title"]))
    base = f"SELECT COUNT(*) FROM {table.name}"
    return FilledIntent(f"{base} WHERE {test}", {**noun_slots(table), "where": text}, contrasts=(base,), form="count")


@intent("easy", "aggregate", weight=0.3)
def count_known(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.pick([column for column in table.columns if column.missing])
    slots = {**noun_slots(table), "label": column.label}
    return FilledIntent(f"SELECT COUNT({column.name}) FROM {table.name}", slots)


@intent("easy", "aggregate", weight=3.0)
def aggregate(draw: Draw) -> FilledIntent:
    table = draw.table()
    measure = draw.measure(table)
    words, tests, condition = draw_scope(draw, table, 0.8)
    if condition and condition.column == measure.column:
        raise NoFit
    base = f"SELECT {measure.on()} FROM {table.name}"
    contrasts = (base,) if tests else ()
    return FilledIntent(base + tests, {**noun_slots(table), "agg": measure.text, "scope": words}, contrasts=contrasts)


@intent("medium", "aggregate", weight=0.9)
def aggregate_and(draw: Draw) -> FilledIntent:
    table = draw.table()
    measure = draw.measure(table)
    first, second = draw.two_conditions(table, skip=[measure.column])
    base = f"SELECT {measure.on()} FROM {table.name}"
    slots = {**noun_slots(table), "agg": measure.text, "scope": f"{table.many} {first.text} and {second.text}"}
    return under_both(base, first.on(), second.on(), slots, "aggregate")


def several(draw: Draw, conditions: int) -> FilledIntent:
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
        # Neither of the two conditions may be idle.
        contrasts = (f"{base} WHERE {first.on()}", f"{base} WHERE {second.on()}")
    style = draw.rng.choice([0, 1])
    text = f"{listing([AGGREGATES[function][style] for function in functions])} {column.label}"
    slots = {**noun_slots(table), "agg": text, "scope": words}
    return FilledIntent(base + tests, slots, contrasts=contrasts, form="aggregates")


@intent("medium", "aggregate", weight=0.9)
def aggregates(draw: Draw) -> FilledIntent:
    return several(draw, draw.rng.choice([0, 1, 1]))


@intent("hard", "aggregate", weight=0.8)
def aggregates_and(draw: Draw) -> FilledIntent:
    return several(draw, 2)


@intent("easy", "distinct", weight=1.0)
def distinct(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests, condition = draw_scope(draw, table, 0.95)
    if condition and condition.column == column:
        raise NoFit
    base = f"FROM {table.name}{tests}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels, "scope": words}
    # Both DISTINCT and the condition have to matter.
    contrasts = [
        f"SELECT {column.name} {base}",
        *([f"SELECT DISTINCT {column.name} FROM {table.name}"] if tests else []),
    ]
    return FilledIntent(f"SELECT DISTINCT {column.name} {base}", slots, contrasts=tuple(contrasts))


@intent("easy", "aggregate", "distinct", weight=0.9)
def count_distinct(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    condition = draw.condition(table, skip=[column])
    whole = f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}"
    slots = {**noun_slots(table), "cats": column.labels, "where": condition.text}
    # Without DISTINCT the count must differ, so some value has to repeat.
    plain = f"SELECT COUNT({column.name}) FROM {table.name} WHERE {condition.on()}"
    return FilledIntent(f"{whole} WHERE {condition.on()}", slots, contrasts=(plain, whole))


@intent("hard", "aggregate", "arithmetic", weight=0.3)
def range_of(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, NUMBERS)
    words, tests, condition = draw_scope(draw, table, 0.8)
    if condition and condition.column == column:
        raise NoFit
    base = f"SELECT MAX({column.name}) - MIN({column.name}) FROM {table.name}"
    slots = {**noun_slots(table), "label": column.label, "scope": words}
    return FilledIntent(base + tests, slots, contrasts=(base,) if tests else ())


COUNTS = {">": "more than {n}", ">=": "at least {n}"}


def threshold(draw: Draw, sizes: list[int]) -> tuple[str, str]:
    """A count test that keeps some groups and not all, as (SQL, words)."""
    operator = draw.pick(list(COUNTS))
    if not sizes:
        raise NoFit
    bound = draw.pick([n for n in range(2, max(sizes) + 1) if 0 < _kept(sizes, operator, n) < len(sizes)])
    return f"{operator} {bound}", COUNTS[operator].format(n=bound)


def sizes_by(draw: Draw, table: Table, column: str, tests: str = "") -> list[int]:
    found = draw.database.run(f"SELECT COUNT(*) FROM {table.name}{tests} GROUP BY {column}")
    return [int(row[0] or 0) for row in found]


def _kept(sizes: list[int], operator: str, bound: int) -> int:
    return sum(size > bound or (size == bound and operator == ">=") for size in sizes)


def filtered_noun(draw: Draw, table: Table, column: Column, chance: float, complete: bool = True) -> tuple[str, str]:
    """(noun with or without a condition, WHERE clause).

    With `complete`, a condition leaves some rows in every category: whether to list an empty one would be a guess.
    """
    if not draw.chance(chance):
        return table.many, ""
    condition = draw.condition(table, skip=[column])
    tests = f" WHERE {condition.on()}"
    values = f"SELECT DISTINCT {column.name} FROM {table.name}"
    if complete and len(draw.database.run(values + tests)) < len(draw.database.run(values)):
        raise NoFit
    return f"{table.many} {condition.text}", tests


def numbers_by(draw: Draw, table: Table, column: Column, value: str) -> list[float]:
    found = draw.database.run(f"SELECT {value} FROM {table.name} GROUP BY {column.name}")
    return [float(row[0] or 0) for row in found]


@intent("medium", "aggregate", "group", weight=1.1)
def group_count(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = filtered_noun(draw, table, column, 0.5)
    base, tail = f"SELECT {column.name}, COUNT(*) FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "scope": words}
    return FilledIntent(base + tests + tail, slots, contrasts=(base + tail,) if tests else ())


@intent("medium", "aggregate", "group", weight=1.0)
def group_measure(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, measure = draw.column(table, ["category"]), draw.measure(table)
    words, tests = filtered_noun(draw, table, column, 0.4)
    base, tail = f"SELECT {column.name}, {measure.on()} FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "agg": measure.text, "scope": words}
    return FilledIntent(base + tests + tail, slots, contrasts=(base + tail,) if tests else ())


@intent("medium", "aggregate", "group", weight=0.5)
def group_measures(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    pairs = [("MIN lowest", "MAX highest"), ("AVG average", "MAX maximum"), ("MIN minimum", "AVG mean")]
    (first, low), (second, high) = (one.split() for one in draw.pick(pairs))
    sql = f"SELECT {column.name}, {first}({number.name}), {second}({number.name}) FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(column), "agg": f"{listing([low, high])} {number.label}"}
    return FilledIntent(f"{sql} GROUP BY {column.name}", slots | {"scope": table.many}, form="group_measure")


@intent("medium", "aggregate", "group", weight=0.5)
def group_two(draw: Draw) -> FilledIntent:
    table = draw.table()
    first = draw.column(table, ["category"])
    second = draw.column(table, ["category"], skip=[first])
    columns = f"{first.name}, {second.name}"
    slots = {**noun_slots(table), "first": first.label, "second": second.label}
    return FilledIntent(f"SELECT {columns}, COUNT(*) FROM {table.name} GROUP BY {columns}", slots)


@intent("medium", "aggregate", "group", "distinct", weight=0.4)
def group_count_distinct(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    other = draw.column(table, ["category"], skip=[column])
    base, tail = f"FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "others": other.labels}
    contrast = f"SELECT {column.name}, COUNT({other.name}) {base}{tail}"
    return FilledIntent(
        f"SELECT {column.name}, COUNT(DISTINCT {other.name}) {base}{tail}", slots, contrasts=(contrast,)
    )


@intent("easy", "aggregate", "group", "having", weight=0.6)
def group_having(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    test, text = threshold(draw, sizes_by(draw, table, column.name))
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING COUNT(*) {test}"
    return FilledIntent(sql, {**noun_slots(table), **category_slots(column), "number": text, "scope": table.many})


@intent("medium", "aggregate", "group", "having", weight=0.6)
def group_having_where(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    # Categories without rows fail every count test, so the condition may empty some.
    words, tests = filtered_noun(draw, table, column, 1.0, complete=False)
    test, text = threshold(draw, sizes_by(draw, table, column.name, tests))
    tail = f"GROUP BY {column.name} HAVING COUNT(*) {test}"
    base = f"SELECT {column.name} FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(column), "number": text, "scope": words}
    return FilledIntent(f"{base}{tests} {tail}", slots, contrasts=(f"{base} {tail}",), form="group_having")


@intent("easy", "aggregate", "group", "having", weight=0.6)
def group_having_measure(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    function, word = draw.pick([("AVG", "average"), ("AVG", "mean"), *([("SUM", "total")] if number.total else [])])
    measure = Measure(function, number, f"{word} {number.label}")
    bound = draw.bound_between(numbers_by(draw, table, column, measure.on()))
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING {measure.on()} {sign} {bound}"
    slots = {**noun_slots(table), **category_slots(column)}
    return FilledIntent(
        sql, slots | {"agg": measure.text, "agg_a": with_article(measure.text), "bound": f"{word} {bound}"}
    )


@intent("hard", "aggregate", "group", "order", "limit", weight=1.0)
def group_top(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = filtered_noun(draw, table, column, 0.5, complete=False)
    # A category that the condition leaves without rows would have the fewest of all.
    most = bool(tests) or draw.chance(0.5)
    tail = f"FROM {table.name}{tests} GROUP BY {column.name} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT"
    slots = {**noun_slots(table), **category_slots(column), "scope": words}
    slots |= {"most": "most" if most else "fewest", "common": "most common" if most else "least common"}
    return FilledIntent(f"SELECT {column.name} {tail} 1", slots, f"SELECT COUNT(*) {tail} 2")


@intent("hard", "aggregate", "group", "order", "limit", weight=0.8)
def group_top_measure(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    function, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    most = draw.chance(0.6)
    value = f"{function}({number.name})"
    tail = f"FROM {table.name} GROUP BY {column.name} ORDER BY {value} {'DESC' if most else 'ASC'} LIMIT"
    slots = {**noun_slots(table), **category_slots(column), "agg": f"{word} {number.label}"}
    slots["most"] = "highest" if most else "lowest"
    return FilledIntent(f"SELECT {column.name} {tail} 1", slots, f"SELECT {value} {tail} 2")


@intent("hard", "aggregate", "group", "order", weight=0.7)
def group_sorted(draw: Draw) -> FilledIntent:
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
    return FilledIntent(f"SELECT {column.name}, {value} {tail}", slots, f"SELECT {value} {tail}")
