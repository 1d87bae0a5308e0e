"""Queries in queries (IN, EXISTS, a single value, FROM), and set operations."""

from services.synthesis.writers.grammar.database import FilledIntent, NoFit, literal, title_of
from services.synthesis.writers.grammar.domain import with_article
from services.synthesis.writers.grammar.draw import (
    AGGREGATES,
    NUMBERS,
    ORDERED,
    Draw,
    Relation,
    category_slots,
    noun_slots,
    relation_slots,
)
from services.synthesis.writers.grammar.intents import intent
from services.synthesis.writers.grammar.intents.aggregate import sizes_by, threshold
from services.synthesis.writers.grammar.intents.select import one_of_two, under_both

ABOVE = [(">", "above"), ("<", "below")]


@intent("hard", "nested", "in", weight=1.0)
def without_child(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    inner = f"{relation.parent.key} NOT IN (SELECT {relation.column.name} FROM {relation.child.name})"
    base = f"SELECT {shown.sql()} FROM {relation.parent.name}"
    words, tests, contrasts = relation.parent.many, "", [base]
    if draw.chance(0.5):
        condition = draw.condition(relation.parent, foreign=relation.child)
        words, tests = f"{words} {condition.text}", f"{condition.on()} AND "
        # Neither the condition nor the subquery may be idle.
        contrasts = [f"{base} WHERE {condition.on()}", f"{base} WHERE {inner}"]
    slots = {**relation_slots(relation), **shown.slots, "scope": words}
    return FilledIntent(f"{base} WHERE {tests}{inner}", slots, contrasts=tuple(contrasts))


@intent("hard", "nested", "in", weight=1.0)
def with_child(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    condition = draw.condition(relation.child, foreign=relation.parent)
    base = f"SELECT {shown.sql()} FROM {relation.parent.name}"
    inner = f"SELECT {relation.column.name} FROM {relation.child.name}"
    sql = f"{base} WHERE {relation.parent.key} IN ({inner} WHERE {condition.on()})"
    contrast = f"{base} WHERE {relation.parent.key} IN ({inner})"
    slots = {**relation_slots(relation), **shown.slots, "where": condition.text}
    return FilledIntent(sql, slots, contrasts=(base, contrast))


@intent("hard", "nested", "in", weight=0.5)
def of_listed(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column, pair, text = one_of_two(draw, relation.parent)
    # If children have a column of that label too, the question is unclear.
    if column.label in {other.label for other in relation.child.columns}:
        raise NoFit
    shown = draw.shown(relation.child, 1, 2, named=True)
    base = f"SELECT {shown.sql()} FROM {relation.child.name}"
    inner = f"SELECT {relation.parent.key} FROM {relation.parent.name} WHERE {column.name} IN ({pair})"
    slots = {**relation_slots(relation), **shown.slots, "where": text}
    return FilledIntent(f"{base} WHERE {relation.column.name} IN ({inner})", slots, contrasts=(base,), form="of_some")


def exists_body(draw: Draw, relation: Relation) -> tuple[str, str, str, str]:
    """(FROM of the parents, correlated subquery, its condition, words)."""
    condition = draw.condition(relation.child, foreign=relation.parent)
    inner = f"SELECT 1 FROM {relation.child.name} AS T2 WHERE T2.{relation.column.name} = T1.{relation.parent.key}"
    return f"FROM {relation.parent.name} AS T1", inner, condition.on("T2."), condition.text


@intent("hard", "nested", "exists", weight=0.9)
def not_exists(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    source, inner, test, text = exists_body(draw, relation)
    base = f"SELECT {shown.sql('T1.')} {source}"
    slots = {**relation_slots(relation), **shown.slots, "where": text}
    contrasts = (base, f"{base} WHERE NOT EXISTS ({inner})")
    return FilledIntent(f"{base} WHERE NOT EXISTS ({inner} AND {test})", slots, contrasts=contrasts)


@intent("hard", "nested", "exists", weight=0.9)
def exists(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    own = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.parent, 1, 2, named=True, skip=[own.column])
    source, inner, test, text = exists_body(draw, relation)
    base = f"SELECT {shown.sql('T1.')} {source}"
    slots = {**relation_slots(relation), **shown.slots, "own": own.text, "where": text}
    return under_both(base, own.on("T1."), f"EXISTS ({inner} AND {test})", slots)


@intent("hard", "nested", "aggregate", weight=1.0)
def versus_average(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, NUMBERS)
    shown = draw.shown(table, 1, 2, named=True)
    sign, word = draw.pick(ABOVE)
    inner = f"(SELECT AVG({column.name}) FROM {table.name})"
    base = f"SELECT {shown.sql()} FROM {table.name} WHERE {column.name} {sign} {inner}"
    slots = {**noun_slots(table), **shown.slots, "label": column.label, "label_a": with_article(column.label)}
    slots |= {"above": word, "scope": table.many}
    # The condition narrows the rows shown, not the average.
    if not draw.chance(0.6):
        return FilledIntent(base, slots)
    condition = draw.condition(table, skip=[column])
    slots["scope"] = f"{table.many} {condition.text}"
    return FilledIntent(f"{base} AND {condition.on()}", slots, contrasts=(base,))


@intent("hard", "nested", "join", "aggregate", weight=0.8)
def of_some_versus_average(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column = draw.column(relation.child, NUMBERS)
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2, named=True)
    sign, word = draw.pick(ABOVE)
    base = f"SELECT {shown.sql('T1.')} {relation.joined} WHERE {condition.on('T2.')}"
    test = f"T1.{column.name} {sign} (SELECT AVG({column.name}) FROM {relation.child.name})"
    slots = {**relation_slots(relation), **shown.slots, "where": condition.text, "above": word}
    slots |= {"label": column.label, "label_a": with_article(column.label)}
    return FilledIntent(f"{base} AND {test}", slots, contrasts=(base,))


@intent("hard", "nested", weight=0.8)
def versus_named(draw: Draw) -> FilledIntent:
    table = draw.named()
    column, title = draw.column(table, ORDERED), draw.column(table, ["title"])
    value = str(draw.pick(draw.database.values(title)))
    sign, word = draw.pick(
        [(">", "higher"), ("<", "lower")] if column.kind == "amount" else [(">", "later"), ("<", "earlier")]
    )
    shown = draw.shown(table, 1, 2, named=True)
    base = f"SELECT {shown.sql()} FROM {table.name}"
    inner = f"SELECT {column.name} FROM {table.name} WHERE {title.name} = {literal(value)}"
    slots = {**noun_slots(table), **shown.slots, "label_a": with_article(f"{word} {column.label}"), "value": value}
    return FilledIntent(f"{base} WHERE {column.name} {sign} ({inner})", slots, contrasts=(base,))


@intent("hard", "nested", "aggregate", weight=0.6)
def extreme_within(draw: Draw) -> FilledIntent:
    table = draw.table()
    column = draw.column(table, NUMBERS)
    condition = draw.condition(table, skip=[column])
    function, sign, word = draw.pick([("MAX", ">", "higher"), ("MIN", "<", "lower")])
    shown = draw.shown(table, 1, 2, named=True)
    base = f"SELECT {shown.sql()} FROM {table.name}"
    inner = f"SELECT {function}({column.name}) FROM {table.name} WHERE {condition.on()}"
    slots = {**noun_slots(table), **shown.slots, "where": condition.text}
    slots["label_a"] = with_article(f"{word} {column.label}")
    return FilledIntent(f"{base} WHERE {column.name} {sign} ({inner})", slots, contrasts=(base,))


@intent("hard", "nested", "in", "aggregate", "group", "having", weight=0.7)
def of_large(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    key = relation.column.name
    test, text = threshold(draw, sizes_by(draw, relation.child, key))
    shown = draw.shown(relation.child, 1, 2, named=True)
    inner = f"SELECT {key} FROM {relation.child.name} GROUP BY {key} HAVING COUNT(*) {test}"
    sql = f"SELECT {shown.sql()} FROM {relation.child.name} WHERE {key} IN ({inner})"
    return FilledIntent(sql, {**relation_slots(relation), **shown.slots, "number": text})


@intent("hard", "nested", "join", "aggregate", "group", "having", weight=0.8)
def parents_versus_average(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column = draw.column(relation.child, NUMBERS)
    shown = draw.shown(relation.parent, 1, 2, named=True)
    sign, word = draw.pick(ABOVE)
    overall = f"(SELECT AVG({column.name}) FROM {relation.child.name})"
    group = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    sql = f"SELECT {shown.sql('T2.')} {group} HAVING AVG(T1.{column.name}) {sign} {overall}"
    slots = {**relation_slots(relation), **shown.slots, "above": word}
    slots |= {"label": column.label, "label_a": with_article(column.label)}
    return FilledIntent(sql, slots)


@intent("hard", "nested", "aggregate", "group", weight=0.5)
def average_count(draw: Draw) -> FilledIntent:
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
    return FilledIntent(f"SELECT {function}(n) FROM ({inner})", slots)


@intent("hard", "nested", "aggregate", "group", weight=0.5)
def extreme_of_groups(draw: Draw) -> FilledIntent:
    table = draw.table()
    column, number = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    inner, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    outer, most = draw.pick([("MAX", "highest"), ("MIN", "lowest")])
    grouped = f"SELECT {inner}({number.name}) AS value FROM {table.name} GROUP BY {column.name}"
    slots = {**noun_slots(table), **category_slots(column), "agg": f"{word} {number.label}", "most": most}
    return FilledIntent(f"SELECT {outer}(value) FROM ({grouped})", slots)


@intent("hard", "nested", "join", "aggregate", "group", weight=0.5)
def joined_counts(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    condition = draw.condition(relation.parent, foreign=relation.child)
    key = relation.column.name
    counts = f"(SELECT {key}, COUNT(*) AS n FROM {relation.child.name} GROUP BY {key})"
    base = f"SELECT T1.{title}, T2.n FROM {relation.parent.name} AS T1 JOIN {counts} AS T2"
    base += f" ON T1.{relation.parent.key} = T2.{key}"
    slots = {**relation_slots(relation), "any": f" {condition.text}"}
    # The join drops parents without children, so the question has to say so.
    if draw.database.childless(relation.column):
        slots["any"] = f" {condition.text} and with at least one {relation.child.one}"
        # A clause with "whose" comes last.
        if condition.text.startswith("whose"):
            slots["any"] = f" with at least one {relation.child.one} and {condition.text}"
    return FilledIntent(f"{base} WHERE {condition.on('T1.')}", slots, contrasts=(base,), form="per_parent_count")


@intent("hard", "set_operation", weight=1.0)
def both(draw: Draw) -> FilledIntent:
    """Categories that occur under each of two conditions."""
    table = draw.table()
    column = draw.column(table, ["category"])
    first, second = draw.condition(table, skip=[column]), draw.condition(table, skip=[column])
    base = f"SELECT {column.name} FROM {table.name}"
    sql = f"{base} WHERE {first.on()} INTERSECT {base} WHERE {second.on()}"
    slots = {**noun_slots(table), **category_slots(column), "first": first.text, "second": second.text}
    # INTERSECT gives distinct values, so the contrasts do too.
    every = f"SELECT DISTINCT {column.name} FROM {table.name}"
    return FilledIntent(sql, slots, contrasts=(every, f"{every} WHERE {first.on()}", f"{every} WHERE {second.on()}"))


@intent("hard", "set_operation", weight=1.0)
def never(draw: Draw) -> FilledIntent:
    """Categories that never occur under a condition."""
    table = draw.table()
    column = draw.column(table, ["category"])
    condition = draw.condition(table, skip=[column])
    base = f"SELECT {column.name} FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(column), "where": condition.text}
    whole = f"SELECT DISTINCT {column.name} FROM {table.name}"
    return FilledIntent(f"{base} EXCEPT {base} WHERE {condition.on()}", slots, contrasts=(whole,))


@intent("hard", "set_operation", "join", weight=1.1)
def either(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    own = draw.condition(relation.parent, foreign=relation.child)
    theirs = draw.condition(relation.child, foreign=relation.parent)
    first = f"SELECT {title} FROM {relation.parent.name} WHERE {own.on()}"
    second = f"SELECT T2.{title} {relation.joined} WHERE {theirs.on('T1.')}"
    slots = {**relation_slots(relation), "own": own.text, "where": theirs.text}
    # UNION removes duplicates, so the contrast does too.
    alone = second.replace("SELECT ", "SELECT DISTINCT ", 1)
    return FilledIntent(f"{first} UNION {second}", slots, contrasts=(first, alone))


@intent("hard", "set_operation", "join", "many_joins", weight=1.0)
def both_children(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    first = draw.condition(relation.child, foreign=relation.parent)
    second = draw.condition(relation.child, foreign=relation.parent)
    base = f"SELECT T2.{title} {relation.joined}"
    sql = f"{base} WHERE {first.on('T1.')} INTERSECT {base} WHERE {second.on('T1.')}"
    slots = {**relation_slots(relation), "first": first.text, "second": second.text}
    every = f"SELECT DISTINCT T2.{title} {relation.joined} WHERE"
    # One child that meets both conditions, in place of one child for each.
    both_in_one = f"{every} {first.on('T1.')} AND {second.on('T1.')}"
    contrasts = (f"{every} {first.on('T1.')}", f"{every} {second.on('T1.')}", both_in_one)
    return FilledIntent(sql, slots, contrasts=contrasts)


@intent("hard", "set_operation", "join", weight=1.0)
def parents_except(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    own = draw.condition(relation.parent, foreign=relation.child)
    theirs = draw.condition(relation.child, foreign=relation.parent)
    first = f"SELECT {title} FROM {relation.parent.name}"
    second = f"SELECT T2.{title} {relation.joined} WHERE {theirs.on('T1.')}"
    slots = {**relation_slots(relation), "own": own.text, "where": theirs.text}
    contrasts = (f"{first} WHERE {own.on()}", f"{first} EXCEPT {second}")
    return FilledIntent(f"{first} WHERE {own.on()} EXCEPT {second}", slots, contrasts=contrasts)


@intent("hard", "set_operation", weight=0.5)
def two_lists(draw: Draw) -> FilledIntent:
    first_table = draw.named()
    second_table = draw.pick([one for one in draw.domain.tables if one.title and one != first_table])
    parts, texts = [], []
    for table in (first_table, second_table):
        condition = draw.condition(table)
        parts.append(f"SELECT {title_of(table)[0]} FROM {table.name} WHERE {condition.on()}")
        texts.append(f"the {title_of(table)[1]} of each {table.one} {condition.text}")
    slots = {"first": texts[0], "second": texts[1]}
    # UNION removes duplicates, so the contrasts do too.
    return FilledIntent(
        " UNION ".join(parts), slots, contrasts=tuple(part.replace("SELECT", "SELECT DISTINCT", 1) for part in parts)
    )
