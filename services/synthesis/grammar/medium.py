"""Medium intents: joins, or grouping (SENSE: joins or aggregates over several tables)."""

from services.synthesis.grammar.draw import Draw, Measure, Relation, columns_slots, noun_slots, plain, relation_slots
from services.synthesis.grammar.easy import Intent
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import Filling, NoFit, title_of

COUNTS = {">": "more than {n}", ">=": "at least {n}"}


def listed(shown: list[tuple[str, str, str]], alias: str = "T1.") -> str:
    """Shown columns as a SELECT list."""
    return ", ".join(alias + name for name, _, _ in shown)


def with_any(draw: Draw, relation: Relation) -> str:
    """The words that leave out parents without children, where there are such parents."""
    return f" with at least one {relation.child.one}" if draw.world.childless(relation.column) else ""


def threshold(draw: Draw, sizes: list[int]) -> tuple[str, str]:
    """A count test that keeps some groups and not all, as (SQL, words)."""
    operator = draw.pick(list(COUNTS))
    bound = draw.pick([n for n in range(2, max(sizes) + 1) if 0 < _kept(sizes, operator, n) < len(sizes)])
    return f"{operator} {bound}", COUNTS[operator].format(n=bound)


def sizes_by(draw: Draw, table: Table, column: str) -> list[int]:
    """How many rows each value of a column has."""
    found = draw.world.run(f"SELECT COUNT(*) FROM {table.name} GROUP BY {column}")
    return [int(row[0] or 0) for row in found]


def _kept(sizes: list[int], operator: str, bound: int) -> int:
    return sum(size > bound or (size == bound and operator == ">=") for size in sizes)


def _filtered(draw: Draw, table: Table, chance: float, alias: str = "") -> tuple[str, str]:
    """(noun with or without a condition, WHERE clause)."""
    if not draw.chance(chance):
        return table.many, ""
    condition = draw.condition(table)
    return f"{table.many} {condition.text}", f" WHERE {condition.on(alias)}"


def of_one(draw: Draw) -> Filling:
    """Children of the parent with a given name."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    owners = draw.world.run(f"SELECT T2.{title} {relation.joined} GROUP BY T2.{relation.parent.key}")
    value = str(draw.pick(owners)[0])
    shown = draw.shown(relation.child)
    sql = f"SELECT {listed(shown)} {relation.joined} WHERE T2.{title} = {literal(value)}"
    return Filling(sql, {**relation_slots(relation), **columns_slots(shown), "value": value})


def of_some(draw: Draw) -> Filling:
    """Children of the parents that meet a condition."""
    relation = draw.relation()
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child)
    base = f"SELECT {listed(shown)} {relation.joined}"
    slots = {**relation_slots(relation), **columns_slots(shown), "where": condition.text}
    return Filling(f"{base} WHERE {condition.on('T2.')}", slots, contrasts=(base,))


def together(draw: Draw) -> Filling:
    """Each child with the name of its parent."""
    relation = draw.relation()
    label, tests = "", ""
    if draw.chance(0.6):
        condition = draw.condition(relation.child)
        label, tests = f" {condition.text}", f" WHERE {condition.on('T1.')}"
    names = f"T1.{title_of(relation.child)[0]}, T2.{title_of(relation.parent)[0]}"
    base = f"SELECT {names} {relation.joined}"
    return Filling(base + tests, {**relation_slots(relation), "where": label}, contrasts=(base,) if tests else ())


def count_of(draw: Draw) -> Filling:
    """How many children belong to the parents that meet a condition, or to one parent."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    base = f"SELECT COUNT(*) {relation.joined}"
    if draw.chance(0.5):
        value = str(draw.pick(draw.world.run(f"SELECT {title} FROM {relation.parent.name}"))[0])
        test, text = f"T2.{title} = {literal(value)}", f"the {relation.parent.one} {value}"
    else:
        condition = draw.condition(relation.parent, foreign=relation.child)
        test, text = condition.on("T2."), f"{relation.parent.many} {condition.text}"
    return Filling(f"{base} WHERE {test}", {**relation_slots(relation), "owner": text}, contrasts=(base,))


def measure_of(draw: Draw) -> Filling:
    """An aggregate over the children of some parents."""
    relation = draw.relation()
    measure = draw.measure(relation.child)
    condition = draw.condition(relation.parent, foreign=relation.child)
    base = f"SELECT {measure.on('T1.')} {relation.joined}"
    slots = {**relation_slots(relation), "agg": measure.text, "where": condition.text}
    return Filling(f"{base} WHERE {condition.on('T2.')}", slots, contrasts=(base,))


def group_count(draw: Draw) -> Filling:
    """Rows counted by a category."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = _filtered(draw, table, 0.5)
    if f"WHERE {column.name} " in tests:
        raise NoFit
    _demand_all(draw, table, column, tests)
    base, tail = f"SELECT {column.name}, COUNT(*) FROM {table.name}", f" GROUP BY {column.name}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels, "scope": words}
    return Filling(base + tests + tail, slots, contrasts=(base + tail,) if tests else ())


def group_measure(draw: Draw) -> Filling:
    """A number aggregated by a category."""
    table = draw.table()
    column, measure = draw.column(table, ["category"]), draw.measure(table)
    sql = f"SELECT {column.name}, {measure.on()} FROM {table.name} GROUP BY {column.name}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels, "agg": measure.text}
    return Filling(sql, slots)


def group_having(draw: Draw) -> Filling:
    """Categories with enough rows."""
    table = draw.table()
    column = draw.column(table, ["category"])
    test, text = threshold(draw, sizes_by(draw, table, column.name))
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING COUNT(*) {test}"
    return Filling(sql, {**noun_slots(table), "cat": column.label, "cats": column.labels, "number": text})


def group_having_measure(draw: Draw) -> Filling:
    """Categories whose average lies above or below a bound."""
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, ["amount"])
    measure = Measure("AVG", number, f"average {number.label}")
    averages = sorted(float(row[0] or 0) for row in draw.world.run(_averages(table, column.name, measure)))
    place = draw.pick(range(len(averages) - 1))
    bound = plain(round((averages[place] + averages[place + 1]) / 2, 1 if averages[-1] < 20 else None))
    if not averages[place] < float(bound or 0) < averages[place + 1]:
        raise NoFit
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    sql = f"SELECT {column.name} FROM {table.name} GROUP BY {column.name} HAVING {measure.on()} {sign} {bound}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels}
    return Filling(sql, slots | {"agg": measure.text, "bound": f"{word} {bound}"})


def _demand_all(draw: Draw, table: Table, column: Column, tests: str) -> None:
    """A condition must leave every category some rows: whether to list one with none would be a guess."""
    values = f"SELECT DISTINCT {column.name} FROM {table.name}"
    if len(draw.world.run(values + tests)) < len(draw.world.run(values)):
        raise NoFit


def _averages(table: Table, column: str, measure: Measure) -> str:
    return f"SELECT {measure.on()} FROM {table.name} GROUP BY {column}"


def group_top(draw: Draw) -> Filling:
    """The most or least frequent category."""
    table = draw.table()
    column = draw.column(table, ["category"])
    words, tests = _filtered(draw, table, 0.5)
    if f"WHERE {column.name} " in tests:
        raise NoFit
    # A category that the condition leaves without rows would have the fewest of all.
    most = bool(tests) or draw.chance(0.5)
    tail = f"FROM {table.name}{tests} GROUP BY {column.name} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT"
    slots = {**noun_slots(table), "cat": column.label, "scope": words}
    slots |= {"most": "most" if most else "fewest", "common": "most common" if most else "least common"}
    return Filling(f"SELECT {column.name} {tail} 1", slots, f"SELECT COUNT(*) {tail} 2")


def count_distinct(draw: Draw) -> Filling:
    """How many different values there are, in one table or over a join."""
    table = draw.table()
    column = draw.column(table, ["category"])
    condition = draw.condition(table, skip=[column])
    base = f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}"
    slots = {**noun_slots(table), "cats": column.labels, "where": condition.text}
    plain = f"SELECT COUNT({column.name}) FROM {table.name} WHERE {condition.on()}"
    return Filling(f"{base} WHERE {condition.on()}", slots, contrasts=(plain,))


def per_parent_count(draw: Draw) -> Filling:
    """Children counted for each parent that has any."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    sql = f"SELECT T2.{title}, COUNT(*) {relation.joined} GROUP BY T2.{relation.parent.key}"
    return Filling(sql, {**relation_slots(relation), "any": with_any(draw, relation)})


def per_parent_measure(draw: Draw) -> Filling:
    """A number of the children aggregated for each parent that has any."""
    relation = draw.relation()
    measure = draw.measure(relation.child)
    title = title_of(relation.parent)[0]
    sql = f"SELECT T2.{title}, {measure.on('T1.')} {relation.joined} GROUP BY T2.{relation.parent.key}"
    return Filling(sql, {**relation_slots(relation), "any": with_any(draw, relation), "agg": measure.text})


def parent_top(draw: Draw) -> Filling:
    """The parent with the most children; the fewest only where every parent has some."""
    relation = draw.relation()
    most = draw.world.childless(relation.column) or draw.chance(0.6)
    shown = draw.shown(relation.parent)
    order = f"GROUP BY T2.{relation.parent.key} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **columns_slots(shown), "most": "most" if most else "fewest"}
    sql = f"SELECT {listed(shown, 'T2.')} {relation.joined} {order} 1"
    return Filling(sql, slots, f"SELECT COUNT(*) {relation.joined} {order} 2")


MEDIUM: dict[str, Intent] = {
    "of_one": of_one,
    "of_some": of_some,
    "together": together,
    "count_of": count_of,
    "measure_of": measure_of,
    "group_count": group_count,
    "group_measure": group_measure,
    "group_having": group_having,
    "group_having_measure": group_having_measure,
    "group_top": group_top,
    "count_distinct": count_distinct,
    "per_parent_count": per_parent_count,
    "per_parent_measure": per_parent_measure,
    "parent_top": parent_top,
}
