"""Two tables: children (T1) and the parents (T2) that they refer to."""

from services.synthesis.grammar.draw import NUMBERS, ORDERED, Draw, Relation, category_slots, noun_slots, relation_slots
from services.synthesis.grammar.english import with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.groups import sizes_by, threshold
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.world import Filling, NoFit, title_of


def with_any(draw: Draw, relation: Relation) -> str:
    """The words that leave out parents without children, where there are such parents."""
    return f" with at least one {relation.child.one}" if draw.world.childless(relation.column) else ""


def a_parent(draw: Draw, relation: Relation) -> str:
    """The name of a parent with children."""
    title = title_of(relation.parent)[0]
    return str(draw.pick(draw.world.run(f"SELECT T2.{title} {relation.joined} GROUP BY T2.{relation.parent.key}"))[0])


@intent("medium", "join", weight=1.0)
def of_one(draw: Draw) -> Filling:
    """Children of the parent with a given name."""
    relation = draw.relation()
    value = a_parent(draw, relation)
    shown = draw.shown(relation.child, 1, 2, named=True)
    sql = f"SELECT {shown.sql('T1.')} {relation.joined} WHERE T2.{title_of(relation.parent)[0]} = {literal(value)}"
    return Filling(sql, {**relation_slots(relation), **shown.slots, "value": value})


@intent("medium", "join", weight=1.5)
def of_some(draw: Draw) -> Filling:
    """Children of the parents that meet a condition."""
    relation = draw.relation()
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2)
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    where, form = condition.text, "of_some"
    if not shown.named:
        where, form = f"{relation.column.of} {relation.parent.many} {condition.text}", "rows_each"
    slots = {**relation_slots(relation), **shown.slots, "where": where}
    return Filling(f"{base} WHERE {condition.on('T2.')}", slots, contrasts=(base,), form=form)


@intent("medium", "join", weight=1.2)
def together(draw: Draw) -> Filling:
    """Each child with the name of its parent."""
    relation = draw.relation()
    label, tests = "", ""
    if draw.chance(0.75):
        condition = draw.condition(relation.child)
        label, tests = f" {condition.text}", f" WHERE {condition.on('T1.')}"
    names = f"T1.{title_of(relation.child)[0]}, T2.{title_of(relation.parent)[0]}"
    base = f"SELECT {names} {relation.joined}"
    return Filling(base + tests, {**relation_slots(relation), "where": label}, contrasts=(base,) if tests else ())


@intent("medium", "join", "aggregate", weight=1.0)
def count_of(draw: Draw) -> Filling:
    """How many children belong to the parents that meet a condition, or to one parent."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    base = f"SELECT COUNT(*) {relation.joined}"
    if draw.chance(0.3):
        value = str(draw.pick(draw.world.run(f"SELECT {title} FROM {relation.parent.name}"))[0])
        test, text = f"T2.{title} = {literal(value)}", f"the {relation.parent.one} {value}"
    else:
        condition = draw.condition(relation.parent, foreign=relation.child)
        test, text = condition.on("T2."), f"{relation.parent.many} {condition.text}"
    return Filling(f"{base} WHERE {test}", {**relation_slots(relation), "owner": text}, contrasts=(base,))


@intent("medium", "join", "aggregate", weight=1.3)
def measure_of(draw: Draw) -> Filling:
    """An aggregate over the children of some parents."""
    relation = draw.relation()
    measure = draw.measure(relation.child)
    condition = draw.condition(relation.parent, foreign=relation.child)
    base = f"SELECT {measure.on('T1.')} {relation.joined}"
    slots = {**relation_slots(relation), "agg": measure.text, "where": condition.text}
    return Filling(f"{base} WHERE {condition.on('T2.')}", slots, contrasts=(base,))


def both_sides(draw: Draw, count: int) -> Filling:
    """Children that meet a condition, of parents that meet one."""
    relation = draw.relation()
    own = draw.condition(relation.child)
    theirs = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, count, skip=[own.column])
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    link = "and are" if own.text.startswith("whose") else ""
    where = f"{own.text} {link} {relation.column.of} {relation.parent.many} {theirs.text}"
    slots = {**relation_slots(relation), **shown.slots, "where": where, "own": own.text, "theirs": theirs.text}
    return Filling(
        f"{base} WHERE {own.on('T1.')} AND {theirs.on('T2.')}",
        slots,
        contrasts=(f"{base} WHERE {own.on('T1.')}", f"{base} WHERE {theirs.on('T2.')}"),
        form=shown.form("both_sides"),
    )


@intent("medium", "join", weight=0.8)
def joined_and(draw: Draw) -> Filling:
    """One column of children under a condition on them and one on their parents."""
    return both_sides(draw, 1)


@intent("hard", "join", weight=1.0)
def joined_and_columns(draw: Draw) -> Filling:
    """Two columns of children under a condition on them and one on their parents."""
    return both_sides(draw, 2)


@intent("medium", "join", "distinct", weight=0.7)
def join_distinct(draw: Draw) -> Filling:
    """The different categories of parents that have a child that meets a condition."""
    relation = draw.relation()
    column = draw.column(relation.parent, ["category"])
    condition = draw.condition(relation.child, foreign=relation.parent)
    base = f"{relation.joined} WHERE {condition.on('T1.')}"
    slots = {**relation_slots(relation), **category_slots(column), "where": condition.text}
    contrasts = (f"SELECT T2.{column.name} {base}", f"SELECT DISTINCT {column.name} FROM {relation.parent.name}")
    return Filling(f"SELECT DISTINCT T2.{column.name} {base}", slots, contrasts=contrasts)


@intent("medium", "join", "aggregate", "group", weight=0.6)
def group_by_parent(draw: Draw) -> Filling:
    """Children counted, or a number of theirs aggregated, by a category of their parents."""
    relation = draw.relation()
    column = draw.column(relation.parent, ["category"])
    value, words = "COUNT(*)", f"number of {relation.child.many}"
    if draw.chance(0.6):
        measure = draw.measure(relation.child)
        value, words = measure.on("T1."), f"{measure.text} of {relation.child.many}"
    sql = f"SELECT T2.{column.name}, {value} {relation.joined} GROUP BY T2.{column.name}"
    reached = f"SELECT DISTINCT T2.{column.name} {relation.joined}"
    if len(draw.world.run(reached)) < len(set(draw.world.values(column))):
        raise NoFit
    return Filling(sql, {**relation_slots(relation), **category_slots(column), "value": words})


@intent("medium", "join", "aggregate", "group", weight=0.7)
def per_parent_count(draw: Draw) -> Filling:
    """Children counted for each parent that has any."""
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    sql = f"SELECT T2.{title}, COUNT(*) {relation.joined} GROUP BY T2.{relation.parent.key}"
    return Filling(sql, {**relation_slots(relation), "any": with_any(draw, relation)})


@intent("medium", "join", "aggregate", "group", weight=0.8)
def per_parent_measure(draw: Draw) -> Filling:
    """A number of the children aggregated for each parent that has any."""
    relation = draw.relation()
    measure = draw.measure(relation.child)
    title = title_of(relation.parent)[0]
    sql = f"SELECT T2.{title}, {measure.on('T1.')} {relation.joined} GROUP BY T2.{relation.parent.key}"
    return Filling(sql, {**relation_slots(relation), "any": with_any(draw, relation), "agg": measure.text})


def having(draw: Draw, relation: Relation, tests: str) -> tuple[str, str]:
    """A count test over the children of a parent, as (SQL, words)."""
    return threshold(draw, sizes_by(draw, relation.child, relation.column.name, tests))


@intent("medium", "join", "aggregate", "group", "having", weight=0.7)
def parents_having(draw: Draw) -> Filling:
    """Parents with enough children."""
    relation = draw.relation()
    test, text = having(draw, relation, "")
    shown = draw.shown(relation.parent, 1, 2, named=True)
    sql = f"SELECT {shown.sql('T2.')} {relation.joined} GROUP BY T2.{relation.parent.key} HAVING COUNT(*) {test}"
    slots = {**relation_slots(relation), **shown.slots, "number": text, "scope": relation.child.many}
    return Filling(sql, slots)


@intent("medium", "join", "aggregate", "group", "having", weight=0.6)
def parents_having_measure(draw: Draw) -> Filling:
    """Parents whose children's average or total lies above or below a bound."""
    relation = draw.relation()
    number = draw.column(relation.child, NUMBERS)
    function, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    value = f"{function}(T1.{number.name})"
    group = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    bound = draw.bound_between([float(row[0] or 0) for row in draw.world.run(f"SELECT {value} {group}")])
    sign, above = draw.pick([(">", "above"), ("<", "below")])
    shown = draw.shown(relation.parent, 1, 2, named=True)
    slots = {**relation_slots(relation), **shown.slots, "agg": f"{word} {number.label}", "bound": f"{above} {bound}"}
    slots["agg_a"] = with_article(slots["agg"])
    return Filling(f"SELECT {shown.sql('T2.')} {group} HAVING {value} {sign} {bound}", slots)


@intent("hard", "join", "aggregate", "group", "having", weight=0.9)
def parents_having_where(draw: Draw) -> Filling:
    """Parents with enough children that meet a condition."""
    relation = draw.relation()
    condition = draw.condition(relation.child, foreign=relation.parent)
    test, text = having(draw, relation, f" WHERE {condition.on()}")
    shown = draw.shown(relation.parent, 1, 2, named=True)
    base, group = f"SELECT {shown.sql('T2.')} {relation.joined}", f"GROUP BY T2.{relation.parent.key} HAVING COUNT(*)"
    slots = {**relation_slots(relation), **shown.slots, "number": text}
    slots["scope"] = f"{relation.child.many} {condition.text}"
    contrasts = (f"{base} {group} {test}",)
    return Filling(
        f"{base} WHERE {condition.on('T1.')} {group} {test}", slots, contrasts=contrasts, form="parents_having"
    )


@intent("hard", "join", "aggregate", "group", "order", "limit", weight=0.9)
def parent_top(draw: Draw) -> Filling:
    """The parent with the most children; the fewest only where every parent has some."""
    relation = draw.relation()
    most = draw.world.childless(relation.column) or draw.chance(0.6)
    shown = draw.shown(relation.parent, 1, 2, named=True)
    order = f"GROUP BY T2.{relation.parent.key} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **shown.slots, "most": "most" if most else "fewest"}
    sql = f"SELECT {shown.sql('T2.')} {relation.joined} {order} 1"
    return Filling(sql, slots, f"SELECT COUNT(*) {relation.joined} {order} 2")


@intent("hard", "join", "aggregate", "group", "order", "limit", weight=0.7)
def parent_top_measure(draw: Draw) -> Filling:
    """The parent whose children have the highest or lowest average or total."""
    relation = draw.relation()
    number = draw.column(relation.child, NUMBERS)
    function, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    # A parent without children has no total, which some would call the lowest one.
    most = draw.world.childless(relation.column) or draw.chance(0.6)
    value = f"{function}(T1.{number.name})"
    shown = draw.shown(relation.parent, 1, 2, named=True)
    order = f"{relation.joined} GROUP BY T2.{relation.parent.key} ORDER BY {value} {'DESC' if most else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **shown.slots, "agg": f"{word} {number.label}"}
    slots["most"] = "highest" if most else "lowest"
    return Filling(f"SELECT {shown.sql('T2.')} {order} 1", slots, f"SELECT {value} {order} 2")


@intent("hard", "join", "aggregate", "group", "order", "limit", weight=0.8)
def parent_top_where(draw: Draw) -> Filling:
    """The parent with the most children that meet a condition."""
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    condition = draw.condition(relation.child, foreign=relation.parent)
    group = f"GROUP BY T2.{relation.parent.key} ORDER BY COUNT(*) DESC LIMIT"
    body = f"{relation.joined} WHERE {condition.on('T1.')}"
    slots = {**relation_slots(relation), **shown.slots, "where": condition.text}
    return Filling(f"SELECT {shown.sql('T2.')} {body} {group} 1", slots, f"SELECT COUNT(*) {body} {group} 2")


@intent("hard", "join", "order", "limit", weight=0.9)
def parent_of_top(draw: Draw) -> Filling:
    """The parent of the child with the highest or lowest value."""
    relation = draw.relation()
    column = draw.column(relation.child, ORDERED)
    shown = draw.shown(relation.parent, 1, 2, named=True)
    descending = draw.chance(0.6)
    text, tests = draw.superlative(column, descending, relation.child.one), ""
    if draw.chance(0.4):
        condition = draw.condition(relation.child, skip=[column])
        text, tests = f"{text} among the {relation.child.many} {condition.text}", f" WHERE {condition.on('T1.')}"
    tail = f"ORDER BY T1.{column.name} {'DESC' if descending else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **shown.slots, "sup": text}
    keys = f"SELECT T1.{column.name} {relation.joined}{tests} {tail} 2"
    return Filling(f"SELECT {shown.sql('T2.')} {relation.joined}{tests} {tail} 1", slots, keys)


@intent("hard", "join", "aggregate", "group", "having", "order", weight=0.9)
def ranked(draw: Draw) -> Filling:
    """Parents with enough children, with a count or an aggregate, in a stated order."""
    relation = draw.relation()
    title, label = title_of(relation.parent)
    test, text = having(draw, relation, "")
    value, words = "COUNT(*)", f"number of {relation.child.many}"
    order, spoken = f"T2.{title} ASC", f"by {label} from A to Z"
    if draw.chance(0.6):
        measure = draw.measure(relation.child)
        value = measure.on("T1.")
        words = f"{measure.text} of {noun_slots(relation.parent)['its']} {relation.child.many}"
        down = draw.chance(0.6)
        order = f"{value} {'DESC' if down else 'ASC'}"
        spoken = f"by that value, {'highest' if down else 'lowest'} first"
    tail = f"{relation.joined} GROUP BY T2.{relation.parent.key} HAVING COUNT(*) {test} ORDER BY {order}"
    slots = {**relation_slots(relation), "number": text, "value": words, "order": spoken}
    return Filling(f"SELECT T2.{title}, {value} {tail}", slots, f"SELECT {order.rsplit(' ', 1)[0]} {tail}")
