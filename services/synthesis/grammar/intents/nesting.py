"""Queries in queries: IN, NOT IN, EXISTS, NOT EXISTS, a single value, and queries in FROM."""

from services.synthesis.grammar.draw import (
    AGGREGATES,
    NUMBERS,
    ORDERED,
    Draw,
    Relation,
    category_slots,
    noun_slots,
    relation_slots,
)
from services.synthesis.grammar.english import with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.groups import sizes_by, threshold
from services.synthesis.grammar.intents.rows import one_of_two
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.world import Filling, NoFit, title_of

ABOVE = [(">", "above"), ("<", "below")]


@intent("hard", "nested", "in", weight=1.0)
def without_child(draw: Draw) -> Filling:
    """Parents that no child points at, sometimes under a further condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    inner = f"{relation.parent.key} NOT IN (SELECT {relation.column.name} FROM {relation.child.name})"
    base = f"SELECT {shown.sql()} FROM {relation.parent.name}"
    words, tests, contrasts = relation.parent.many, "", [base]
    if draw.chance(0.5):
        condition = draw.condition(relation.parent, foreign=relation.child)
        words, tests = f"{words} {condition.text}", f"{condition.on()} AND "
        contrasts = [f"{base} WHERE {condition.on()}", f"{base} WHERE {inner}"]
    slots = {**relation_slots(relation), **shown.slots, "scope": words}
    return Filling(f"{base} WHERE {tests}{inner}", slots, contrasts=tuple(contrasts))


@intent("hard", "nested", "in", weight=1.0)
def with_child(draw: Draw) -> Filling:
    """Parents with at least one child that meets a condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    condition = draw.condition(relation.child, foreign=relation.parent)
    base = f"SELECT {shown.sql()} FROM {relation.parent.name}"
    inner = f"SELECT {relation.column.name} FROM {relation.child.name}"
    sql = f"{base} WHERE {relation.parent.key} IN ({inner} WHERE {condition.on()})"
    contrast = f"{base} WHERE {relation.parent.key} IN ({inner})"
    slots = {**relation_slots(relation), **shown.slots, "where": condition.text}
    return Filling(sql, slots, contrasts=(base, contrast))


@intent("hard", "nested", "in", weight=0.5)
def of_listed(draw: Draw) -> Filling:
    """Children of parents with one of two values."""
    relation = draw.relation()
    column, pair, text = one_of_two(draw, relation.parent)
    if column.label in {other.label for other in relation.child.columns}:
        raise NoFit
    shown = draw.shown(relation.child, 1, 2, named=True)
    base = f"SELECT {shown.sql()} FROM {relation.child.name}"
    inner = f"SELECT {relation.parent.key} FROM {relation.parent.name} WHERE {column.name} IN ({pair})"
    slots = {**relation_slots(relation), **shown.slots, "where": text}
    return Filling(f"{base} WHERE {relation.column.name} IN ({inner})", slots, contrasts=(base,), form="of_some")


def exists_body(draw: Draw, relation: Relation) -> tuple[str, str, str, str]:
    """(FROM of the parents, correlated subquery, its condition, words)."""
    condition = draw.condition(relation.child, foreign=relation.parent)
    inner = f"SELECT 1 FROM {relation.child.name} AS T2 WHERE T2.{relation.column.name} = T1.{relation.parent.key}"
    return f"FROM {relation.parent.name} AS T1", inner, condition.on("T2."), condition.text


@intent("hard", "nested", "exists", weight=0.9)
def not_exists(draw: Draw) -> Filling:
    """Parents without any child that meets a condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    source, inner, test, text = exists_body(draw, relation)
    base = f"SELECT {shown.sql('T1.')} {source}"
    slots = {**relation_slots(relation), **shown.slots, "where": text}
    contrasts = (base, f"{base} WHERE NOT EXISTS ({inner})")
    return Filling(f"{base} WHERE NOT EXISTS ({inner} AND {test})", slots, contrasts=contrasts)


@intent("hard", "nested", "exists", weight=0.9)
def exists(draw: Draw) -> Filling:
    """Parents that meet a condition and have a child that meets one."""
    relation = draw.relation()
    own = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.parent, 1, 2, named=True, skip=[own.column])
    source, inner, test, text = exists_body(draw, relation)
    base = f"SELECT {shown.sql('T1.')} {source}"
    slots = {**relation_slots(relation), **shown.slots, "own": own.text, "where": text}
    nested = f"EXISTS ({inner} AND {test})"
    contrasts = (f"{base} WHERE {own.on('T1.')}", f"{base} WHERE {nested}")
    return Filling(f"{base} WHERE {own.on('T1.')} AND {nested}", slots, contrasts=contrasts)


@intent("hard", "nested", "aggregate", weight=1.0)
def versus_average(draw: Draw) -> Filling:
    """Rows above or below the average of their table."""
    table = draw.table()
    column = draw.column(table, NUMBERS)
    shown = draw.shown(table, 1, 2, named=True)
    sign, word = draw.pick(ABOVE)
    inner = f"(SELECT AVG({column.name}) FROM {table.name})"
    base = f"SELECT {shown.sql()} FROM {table.name} WHERE {column.name} {sign} {inner}"
    slots = {**noun_slots(table), **shown.slots, "label": column.label, "label_a": with_article(column.label)}
    slots |= {"above": word, "scope": table.many}
    if not draw.chance(0.6):
        return Filling(base, slots)
    condition = draw.condition(table, skip=[column])
    slots["scope"] = f"{table.many} {condition.text}"
    return Filling(f"{base} AND {condition.on()}", slots, contrasts=(base,))


@intent("hard", "nested", "join", "aggregate", weight=0.8)
def of_some_versus_average(draw: Draw) -> Filling:
    """Children of some parents that lie above or below the average of all children."""
    relation = draw.relation()
    column = draw.column(relation.child, NUMBERS)
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2, named=True)
    sign, word = draw.pick(ABOVE)
    base = f"SELECT {shown.sql('T1.')} {relation.joined} WHERE {condition.on('T2.')}"
    test = f"T1.{column.name} {sign} (SELECT AVG({column.name}) FROM {relation.child.name})"
    slots = {**relation_slots(relation), **shown.slots, "where": condition.text, "above": word}
    slots |= {"label": column.label, "label_a": with_article(column.label)}
    return Filling(f"{base} AND {test}", slots, contrasts=(base,))


@intent("hard", "nested", weight=0.8)
def versus_named(draw: Draw) -> Filling:
    """Rows with a higher or lower value than the row of a given name."""
    table = draw.named()
    column, title = draw.column(table, ORDERED), draw.column(table, ["title"])
    value = str(draw.pick(draw.world.values(title)))
    sign, word = draw.pick(
        [(">", "higher"), ("<", "lower")] if column.kind == "amount" else [(">", "later"), ("<", "earlier")]
    )
    shown = draw.shown(table, 1, 2, named=True)
    base = f"SELECT {shown.sql()} FROM {table.name}"
    inner = f"SELECT {column.name} FROM {table.name} WHERE {title.name} = {literal(value)}"
    slots = {**noun_slots(table), **shown.slots, "label_a": with_article(f"{word} {column.label}"), "value": value}
    return Filling(f"{base} WHERE {column.name} {sign} ({inner})", slots, contrasts=(base,))


@intent("hard", "nested", "aggregate", weight=0.6)
def extreme_within(draw: Draw) -> Filling:
    """All rows that reach the highest or lowest value found under a condition."""
    table = draw.table()
    column = draw.column(table, NUMBERS)
    condition = draw.condition(table, skip=[column])
    function, sign, word = draw.pick([("MAX", ">", "higher"), ("MIN", "<", "lower")])
    shown = draw.shown(table, 1, 2, named=True)
    base = f"SELECT {shown.sql()} FROM {table.name}"
    inner = f"SELECT {function}({column.name}) FROM {table.name} WHERE {condition.on()}"
    slots = {**noun_slots(table), **shown.slots, "where": condition.text}
    slots["label_a"] = with_article(f"{word} {column.label}")
    return Filling(f"{base} WHERE {column.name} {sign} ({inner})", slots, contrasts=(base,))


@intent("hard", "nested", "in", "aggregate", "group", "having", weight=0.7)
def of_large(draw: Draw) -> Filling:
    """Children of parents that have enough children."""
    relation = draw.relation()
    key = relation.column.name
    test, text = threshold(draw, sizes_by(draw, relation.child, key))
    shown = draw.shown(relation.child, 1, 2, named=True)
    inner = f"SELECT {key} FROM {relation.child.name} GROUP BY {key} HAVING COUNT(*) {test}"
    sql = f"SELECT {shown.sql()} FROM {relation.child.name} WHERE {key} IN ({inner})"
    return Filling(sql, {**relation_slots(relation), **shown.slots, "number": text})


@intent("hard", "nested", "join", "aggregate", "group", "having", weight=0.8)
def parents_versus_average(draw: Draw) -> Filling:
    """Parents whose children's average lies above or below the average of all children."""
    relation = draw.relation()
    column = draw.column(relation.child, NUMBERS)
    shown = draw.shown(relation.parent, 1, 2, named=True)
    sign, word = draw.pick(ABOVE)
    overall = f"(SELECT AVG({column.name}) FROM {relation.child.name})"
    group = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    sql = f"SELECT {shown.sql('T2.')} {group} HAVING AVG(T1.{column.name}) {sign} {overall}"
    slots = {**relation_slots(relation), **shown.slots, "above": word}
    slots |= {"label": column.label, "label_a": with_article(column.label)}
    return Filling(sql, slots)


@intent("hard", "nested", "aggregate", "group", weight=0.5)
def average_count(draw: Draw) -> Filling:
    """The average, highest or lowest number of children of a parent that has any."""
    relation = draw.relation()
    function = draw.pick(["AVG", "MAX", "MIN"])
    key = relation.column.name
    inner = f"SELECT COUNT(*) AS n FROM {relation.child.name} GROUP BY {key}"
    words, tests = relation.child.many, ""
    if draw.chance(0.5):
        condition = draw.condition(relation.child, foreign=relation.parent)
        words, tests = f"{words} {condition.text}", f" WHERE {condition.on()}"
    inner = f"SELECT COUNT(*) AS n FROM {relation.child.name}{tests} GROUP BY {key}"
    slots = {**relation_slots(relation), "agg": draw.pick(AGGREGATES[function]), "scope": words}
    return Filling(f"SELECT {function}(n) FROM ({inner})", slots)


@intent("hard", "nested", "aggregate", "group", weight=0.5)
def extreme_of_groups(draw: Draw) -> Filling:
    """The highest or lowest of the averages or totals of all categories."""
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    inner, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    outer, most = draw.pick([("MAX", "highest"), ("MIN", "lowest")])
    grouped = f"SELECT {inner}({number.name}) AS value FROM {table.name} GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "agg": f"{word} {number.label}", "most": most}
    return Filling(f"SELECT {outer}(value) FROM ({grouped})", slots)


@intent("hard", "nested", "join", "aggregate", "group", weight=0.5)
def joined_counts(draw: Draw) -> Filling:
    """Parents that meet a condition, each with the number of its children, counted in FROM."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    condition = draw.condition(relation.parent, foreign=relation.child)
    key = relation.column.name
    counts = f"(SELECT {key}, COUNT(*) AS n FROM {relation.child.name} GROUP BY {key})"
    base = f"SELECT T1.{title}, T2.n FROM {relation.parent.name} AS T1 JOIN {counts} AS T2"
    base += f" ON T1.{relation.parent.key} = T2.{key}"
    slots = {**relation_slots(relation), "any": f" {condition.text}"}
    if draw.world.childless(relation.column):
        slots["any"] = f" {condition.text} and with at least one {relation.child.one}"
        if condition.text.startswith("whose"):
            slots["any"] = f" with at least one {relation.child.one} and {condition.text}"
    return Filling(f"{base} WHERE {condition.on('T1.')}", slots, contrasts=(base,), form="per_parent_count")
