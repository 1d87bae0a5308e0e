"""UNION, INTERSECT and EXCEPT."""

from services.synthesis.grammar.draw import Draw, category_slots, noun_slots, relation_slots
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.world import Filling, title_of


@intent("hard", "set_operation", weight=1.0)
def both(draw: Draw) -> Filling:
    """Categories that occur under each of two conditions."""
    table = draw.table()
    column = draw.column(table, ["category"])
    first, second = draw.condition(table, skip=[column]), draw.condition(table, skip=[column])
    base = f"SELECT {column.name} FROM {table.name}"
    sql = f"{base} WHERE {first.on()} INTERSECT {base} WHERE {second.on()}"
    slots = {**noun_slots(table), **category_slots(column), "first": first.text, "second": second.text}
    every = f"SELECT DISTINCT {column.name} FROM {table.name}"
    return Filling(sql, slots, contrasts=(every, f"{every} WHERE {first.on()}", f"{every} WHERE {second.on()}"))


@intent("hard", "set_operation", weight=1.0)
def never(draw: Draw) -> Filling:
    """Categories that never occur under a condition."""
    table = draw.table()
    column = draw.column(table, ["category"])
    condition = draw.condition(table, skip=[column])
    base = f"SELECT {column.name} FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(column), "where": condition.text}
    whole = f"SELECT DISTINCT {column.name} FROM {table.name}"
    return Filling(f"{base} EXCEPT {base} WHERE {condition.on()}", slots, contrasts=(whole,))


@intent("hard", "set_operation", "join", weight=1.1)
def either(draw: Draw) -> Filling:
    """Parents that meet a condition themselves, or have a child that meets one."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    own = draw.condition(relation.parent, foreign=relation.child)
    theirs = draw.condition(relation.child, foreign=relation.parent)
    first = f"SELECT {title} FROM {relation.parent.name} WHERE {own.on()}"
    second = f"SELECT T2.{title} {relation.joined} WHERE {theirs.on('T1.')}"
    slots = {**relation_slots(relation), "own": own.text, "where": theirs.text}
    alone = second.replace("SELECT ", "SELECT DISTINCT ", 1)
    return Filling(f"{first} UNION {second}", slots, contrasts=(first, alone))


@intent("hard", "set_operation", "join", "many_joins", weight=1.0)
def both_children(draw: Draw) -> Filling:
    """Parents with a child that meets one condition and a child that meets another."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    first = draw.condition(relation.child, foreign=relation.parent)
    second = draw.condition(relation.child, foreign=relation.parent)
    base = f"SELECT T2.{title} {relation.joined}"
    sql = f"{base} WHERE {first.on('T1.')} INTERSECT {base} WHERE {second.on('T1.')}"
    slots = {**relation_slots(relation), "first": first.text, "second": second.text}
    every = f"SELECT DISTINCT T2.{title} {relation.joined} WHERE"
    both_in_one = f"{every} {first.on('T1.')} AND {second.on('T1.')}"
    contrasts = (f"{every} {first.on('T1.')}", f"{every} {second.on('T1.')}", both_in_one)
    return Filling(sql, slots, contrasts=contrasts)


@intent("hard", "set_operation", "join", weight=1.0)
def parents_except(draw: Draw) -> Filling:
    """Parents that meet a condition, less those with a child that meets one."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    own = draw.condition(relation.parent, foreign=relation.child)
    theirs = draw.condition(relation.child, foreign=relation.parent)
    first = f"SELECT {title} FROM {relation.parent.name}"
    second = f"SELECT T2.{title} {relation.joined} WHERE {theirs.on('T1.')}"
    slots = {**relation_slots(relation), "own": own.text, "where": theirs.text}
    contrasts = (f"{first} WHERE {own.on()}", f"{first} EXCEPT {second}")
    return Filling(f"{first} WHERE {own.on()} EXCEPT {second}", slots, contrasts=contrasts)


@intent("hard", "set_operation", weight=0.5)
def two_lists(draw: Draw) -> Filling:
    """Names out of two tables in one list, each under a condition."""
    first_table = draw.named()
    second_table = draw.pick([one for one in draw.domain.tables if one.title and one != first_table])
    parts, texts = [], []
    for table in (first_table, second_table):
        condition = draw.condition(table)
        parts.append(f"SELECT {title_of(table)[0]} FROM {table.name} WHERE {condition.on()}")
        texts.append(f"the {title_of(table)[1]} of each {table.one} {condition.text}")
    slots = {"first": texts[0], "second": texts[1]}
    return Filling(
        " UNION ".join(parts), slots, contrasts=tuple(part.replace("SELECT", "SELECT DISTINCT", 1) for part in parts)
    )
