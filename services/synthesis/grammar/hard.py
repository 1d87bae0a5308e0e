"""Hard intents: several advanced features at once (nesting, sets, joins with grouping, HAVING and order)."""

from services.synthesis.grammar.draw import Draw, Relation, columns_slots, noun_slots, relation_slots
from services.synthesis.grammar.easy import Intent
from services.synthesis.grammar.english import with_article
from services.synthesis.grammar.medium import listed, sizes_by, threshold
from services.synthesis.grammar.world import Filling, NoFit, title_of


def without_child(draw: Draw) -> Filling:
    """Parents that no child points at, sometimes under a further condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent)
    inner = f"{relation.parent.key} NOT IN (SELECT {relation.column.name} FROM {relation.child.name})"
    base = f"SELECT {listed(shown, '')} FROM {relation.parent.name}"
    words, tests, contrasts = relation.parent.many, "", [base]
    if draw.chance(0.4):
        condition = draw.condition(relation.parent, foreign=relation.child)
        words, tests = f"{words} {condition.text}", f"{condition.on()} AND "
        contrasts = [f"{base} WHERE {condition.on()}", f"{base} WHERE {inner}"]
    slots = {**relation_slots(relation), **columns_slots(shown), "scope": words}
    return Filling(f"{base} WHERE {tests}{inner}", slots, contrasts=tuple(contrasts))


def with_child(draw: Draw) -> Filling:
    """Parents with at least one child that meets a condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent)
    condition = draw.condition(relation.child, foreign=relation.parent)
    base = f"SELECT {listed(shown, '')} FROM {relation.parent.name}"
    inner = f"SELECT {relation.column.name} FROM {relation.child.name}"
    sql = f"{base} WHERE {relation.parent.key} IN ({inner} WHERE {condition.on()})"
    contrast = f"{base} WHERE {relation.parent.key} IN ({inner})"
    slots = {**relation_slots(relation), **columns_slots(shown), "where": condition.text}
    return Filling(sql, slots, contrasts=(base, contrast))


def not_exists(draw: Draw) -> Filling:
    """Parents without any child that meets a condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent)
    condition = draw.condition(relation.child, foreign=relation.parent)
    base = f"SELECT {listed(shown)} FROM {relation.parent.name} AS T1"
    link = f"T2.{relation.column.name} = T1.{relation.parent.key}"
    inner = f"SELECT 1 FROM {relation.child.name} AS T2 WHERE {link}"
    sql = f"{base} WHERE NOT EXISTS ({inner} AND {condition.on('T2.')})"
    slots = {**relation_slots(relation), **columns_slots(shown), "where": condition.text}
    return Filling(sql, slots, contrasts=(base, f"{base} WHERE NOT EXISTS ({inner})"))


def versus_average(draw: Draw) -> Filling:
    """Rows above or below the average of their table."""
    table = draw.table()
    column = draw.column(table, ["amount"])
    shown = draw.shown(table)
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    inner = f"(SELECT AVG({column.name}) FROM {table.name})"
    base = f"SELECT {listed(shown, '')} FROM {table.name} WHERE {column.name} {sign} {inner}"
    slots = {
        **noun_slots(table),
        **columns_slots(shown),
        "label": column.label,
        "label_a": with_article(column.label),
        "above": word,
        "scope": table.many,
    }
    if not draw.chance(0.5):
        return Filling(base, slots)
    condition = draw.condition(table, skip=[column])
    slots["scope"] = f"{table.many} {condition.text}"
    return Filling(f"{base} AND {condition.on()}", slots, contrasts=(base,))


def of_some_versus_average(draw: Draw) -> Filling:
    """Children of some parents that lie above or below the average of all children."""
    relation = draw.relation()
    column = draw.column(relation.child, ["amount"])
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child)
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    base = f"SELECT {listed(shown)} {relation.joined} WHERE {condition.on('T2.')}"
    test = f"T1.{column.name} {sign} (SELECT AVG({column.name}) FROM {relation.child.name})"
    slots = {**relation_slots(relation), **columns_slots(shown), "where": condition.text}
    return Filling(
        f"{base} AND {test}",
        slots | {"label": column.label, "label_a": with_article(column.label), "above": word},
        contrasts=(base,),
    )


def both(draw: Draw) -> Filling:
    """Categories that occur under each of two conditions."""
    table = draw.table()
    column = draw.column(table, ["category"])
    first = draw.condition(table, skip=[column])
    second = draw.condition(table, skip=[column])
    base = f"SELECT {column.name} FROM {table.name}"
    sql = f"{base} WHERE {first.on()} INTERSECT {base} WHERE {second.on()}"
    slots = {
        **noun_slots(table),
        "cat": column.label,
        "cats": column.labels,
        "first": first.text,
        "second": second.text,
    }
    single = [f"SELECT DISTINCT {column.name} FROM {table.name} WHERE {test.on()}" for test in (first, second)]
    return Filling(sql, slots, contrasts=(*single, f"SELECT DISTINCT {column.name} FROM {table.name}"))


def never(draw: Draw) -> Filling:
    """Categories that never occur under a condition."""
    table = draw.table()
    column = draw.column(table, ["category"])
    condition = draw.condition(table, skip=[column])
    base = f"SELECT {column.name} FROM {table.name}"
    slots = {**noun_slots(table), "cat": column.label, "cats": column.labels, "where": condition.text}
    whole = f"SELECT DISTINCT {column.name} FROM {table.name}"
    return Filling(f"{base} EXCEPT {base} WHERE {condition.on()}", slots, contrasts=(whole,))


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


def of_large(draw: Draw) -> Filling:
    """Children of parents that have enough children."""
    relation = draw.relation()
    test, text = threshold(draw, sizes_by(draw, relation.child, relation.column.name))
    shown = draw.shown(relation.child)
    key = relation.column.name
    inner = f"SELECT {key} FROM {relation.child.name} GROUP BY {key} HAVING COUNT(*) {test}"
    sql = f"SELECT {listed(shown, '')} FROM {relation.child.name} WHERE {key} IN ({inner})"
    return Filling(sql, {**relation_slots(relation), **columns_slots(shown), "number": text})


def ranked(draw: Draw) -> Filling:
    """Parents with enough children, with a count or an aggregate, in a stated order."""
    relation = draw.relation()
    title, label = title_of(relation.parent)
    test, text = threshold(draw, sizes_by(draw, relation.child, relation.column.name))
    value, words, order, spoken = (
        "COUNT(*)",
        f"number of {relation.child.many}",
        f"T2.{title} ASC",
        f"by {label} from A to Z",
    )
    if draw.chance(0.6):
        measure = draw.measure(relation.child)
        value, words = (
            measure.on("T1."),
            f"{measure.text} of {noun_slots(relation.parent)['its']} {relation.child.many}",
        )
        down = draw.chance(0.6)
        order = f"{value} {'DESC' if down else 'ASC'}"
        spoken = f"by that value, {'highest' if down else 'lowest'} first"
    tail = f"{relation.joined} GROUP BY T2.{relation.parent.key} HAVING COUNT(*) {test} ORDER BY {order}"
    slots = {**relation_slots(relation), "number": text, "value": words, "order": spoken}
    return Filling(f"SELECT T2.{title}, {value} {tail}", slots, f"SELECT {order.rsplit(' ', 1)[0]} {tail}")


def parent_top_where(draw: Draw) -> Filling:
    """The parent with the most children that meet a condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent)
    condition = draw.condition(relation.child, foreign=relation.parent)
    group = f"GROUP BY T2.{relation.parent.key} ORDER BY COUNT(*) DESC LIMIT"
    body = f"{relation.joined} WHERE {condition.on('T1.')}"
    slots = {**relation_slots(relation), **columns_slots(shown), "where": condition.text}
    return Filling(f"SELECT {listed(shown, 'T2.')} {body} {group} 1", slots, f"SELECT COUNT(*) {body} {group} 2")


def parent_of_top(draw: Draw) -> Filling:
    """The parent of the child with the highest or lowest value."""
    relation = draw.relation()
    column = draw.column(relation.child, ("amount", "year", "date"))
    shown = draw.shown(relation.parent)
    descending = draw.chance(0.6)
    text, tests, contrasts = draw.superlative(column, descending, relation.child.one), "", ()
    if draw.chance(0.4):
        condition = draw.condition(relation.child, skip=[column])
        text, tests = f"{text} among the {relation.child.many} {condition.text}", f" WHERE {condition.on('T1.')}"
    tail = f"ORDER BY T1.{column.name} {'DESC' if descending else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **columns_slots(shown), "sup": text}
    keys = f"SELECT T1.{column.name} {relation.joined}{tests} {tail} 2"
    return Filling(f"SELECT {listed(shown, 'T2.')} {relation.joined}{tests} {tail} 1", slots, keys, contrasts)


def parents_versus_average(draw: Draw) -> Filling:
    """Parents whose children's average lies above or below the average of all children."""
    relation = draw.relation()
    column = draw.column(relation.child, ["amount"])
    shown = draw.shown(relation.parent)
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    overall = f"(SELECT AVG({column.name}) FROM {relation.child.name})"
    group = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    sql = f"SELECT {listed(shown, 'T2.')} {group} HAVING AVG(T1.{column.name}) {sign} {overall}"
    slots = {
        **relation_slots(relation),
        **columns_slots(shown),
        "label": column.label,
        "label_a": with_article(column.label),
        "above": word,
    }
    return Filling(sql, slots)


def linked(draw: Draw) -> Filling:
    """Rows linked to rows of another table through a third one (many to many)."""
    relation = draw.relation()
    others = [c for c in relation.child.columns if c.ref and c != relation.column]
    other = draw.pick(others)
    target = draw.world.domain.table(other.ref or "")
    far = Relation(relation.child, other, target)
    condition = draw.condition(target)
    shown = draw.shown(relation.parent)
    inner = f"SELECT T1.{relation.column.name} {far.joined} WHERE {condition.on('T2.')}"
    base = f"SELECT {listed(shown, '')} FROM {relation.parent.name}"
    sql = f"{base} WHERE {relation.parent.key} IN ({inner})"
    slots = {**relation_slots(relation), **columns_slots(shown), **noun_slots(target, "far_")}
    slots |= {"far_of": other.of, "where": condition.text}
    contrast = f"{base} WHERE {relation.parent.key} IN (SELECT {relation.column.name} FROM {relation.child.name})"
    if target == relation.parent:
        raise NoFit
    return Filling(sql, slots, contrasts=(base, contrast))


HARD: dict[str, Intent] = {
    "without_child": without_child,
    "with_child": with_child,
    "not_exists": not_exists,
    "versus_average": versus_average,
    "of_some_versus_average": of_some_versus_average,
    "both": both,
    "never": never,
    "either": either,
    "of_large": of_large,
    "ranked": ranked,
    "parent_top_where": parent_top_where,
    "parent_of_top": parent_of_top,
    "parents_versus_average": parents_versus_average,
    "linked": linked,
}
