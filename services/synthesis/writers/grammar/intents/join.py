"""Two to four tables: children (T1) joined to their parents (T2), and upwards along chains of parents (T2, T3, T4)."""

from dataclasses import dataclass

from services.synthesis.writers.grammar.database import FilledIntent, NoFit, literal, title_of
from services.synthesis.writers.grammar.domain import Column, Table, listing, with_article
from services.synthesis.writers.grammar.draw import (
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
from services.synthesis.writers.grammar.intents.select import under_both


def with_any(draw: Draw, relation: Relation) -> str:
    """The words that exclude parents without children, or nothing where every parent has some."""
    return f" with at least one {relation.child.one}" if draw.database.childless(relation.column) else ""


def a_parent(draw: Draw, relation: Relation) -> str:
    """The name of a parent with children."""
    title = title_of(relation.parent)[0]
    return str(
        draw.pick(draw.database.run(f"SELECT T2.{title} {relation.joined} GROUP BY T2.{relation.parent.key}"))[0]
    )


@intent("medium", "join", weight=1.0)
def of_one(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    value = a_parent(draw, relation)
    shown = draw.shown(relation.child, 1, 2, named=True)
    sql = f"SELECT {shown.sql('T1.')} {relation.joined} WHERE T2.{title_of(relation.parent)[0]} = {literal(value)}"
    return FilledIntent(sql, {**relation_slots(relation), **shown.slots, "value": value})


@intent("medium", "join", weight=1.5)
def of_some(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    condition = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, 1, 2)
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    where, form = condition.text, "of_some"
    if not shown.named:
        where, form = f"{relation.column.of} {relation.parent.many} {condition.text}", "rows_each"
    slots = {**relation_slots(relation), **shown.slots, "where": where}
    return FilledIntent(f"{base} WHERE {condition.on('T2.')}", slots, contrasts=(base,), form=form)


@intent("medium", "join", weight=1.2)
def together(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    label, tests = "", ""
    if draw.chance(0.75):
        condition = draw.condition(relation.child)
        label, tests = f" {condition.text}", f" WHERE {condition.on('T1.')}"
    names = f"T1.{title_of(relation.child)[0]}, T2.{title_of(relation.parent)[0]}"
    base = f"SELECT {names} {relation.joined}"
    return FilledIntent(base + tests, {**relation_slots(relation), "where": label}, contrasts=(base,) if tests else ())


@intent("medium", "join", "aggregate", weight=1.0)
def count_of(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    base = f"SELECT COUNT(*) {relation.joined}"
    if draw.chance(0.3):
        value = str(draw.pick(draw.database.run(f"SELECT {title} FROM {relation.parent.name}"))[0])
        test, text = f"T2.{title} = {literal(value)}", f"the {relation.parent.one} {value}"
    else:
        condition = draw.condition(relation.parent, foreign=relation.child)
        test, text = condition.on("T2."), f"{relation.parent.many} {condition.text}"
    return FilledIntent(f"{base} WHERE {test}", {**relation_slots(relation), "owner": text}, contrasts=(base,))


@intent("medium", "join", "aggregate", weight=1.3)
def measure_of(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    measure = draw.measure(relation.child)
    condition = draw.condition(relation.parent, foreign=relation.child)
    base = f"SELECT {measure.on('T1.')} {relation.joined}"
    slots = {**relation_slots(relation), "agg": measure.text, "where": condition.text}
    return FilledIntent(f"{base} WHERE {condition.on('T2.')}", slots, contrasts=(base,))


def both_sides(draw: Draw, count: int) -> FilledIntent:
    relation = draw.relation()
    own = draw.condition(relation.child)
    theirs = draw.condition(relation.parent, foreign=relation.child)
    shown = draw.shown(relation.child, count, skip=[own.column])
    base = f"SELECT {shown.sql('T1.')} {relation.joined}"
    link = "and are" if own.text.startswith("whose") else ""
    where = f"{own.text} {link} {relation.column.of} {relation.parent.many} {theirs.text}"
    slots = {**relation_slots(relation), **shown.slots, "where": where, "own": own.text, "theirs": theirs.text}
    return under_both(base, own.on("T1."), theirs.on("T2."), slots, shown.form("both_sides"))


@intent("medium", "join", weight=0.8)
def joined_and(draw: Draw) -> FilledIntent:
    return both_sides(draw, 1)


@intent("hard", "join", weight=1.0)
def joined_and_columns(draw: Draw) -> FilledIntent:
    return both_sides(draw, 2)


@intent("medium", "join", "distinct", weight=0.7)
def join_distinct(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column = draw.column(relation.parent, ["category"])
    condition = draw.condition(relation.child, foreign=relation.parent)
    base = f"{relation.joined} WHERE {condition.on('T1.')}"
    slots = {**relation_slots(relation), **category_slots(column), "where": condition.text}
    contrasts = (f"SELECT T2.{column.name} {base}", f"SELECT DISTINCT {column.name} FROM {relation.parent.name}")
    return FilledIntent(f"SELECT DISTINCT T2.{column.name} {base}", slots, contrasts=contrasts)


@intent("medium", "join", "aggregate", "group", weight=0.6)
def group_by_parent(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    column = draw.column(relation.parent, ["category"])
    value, words = "COUNT(*)", f"number of {relation.child.many}"
    if draw.chance(0.6):
        measure = draw.measure(relation.child)
        value, words = measure.on("T1."), f"{measure.text} of {relation.child.many}"
    sql = f"SELECT T2.{column.name}, {value} {relation.joined} GROUP BY T2.{column.name}"
    # A join drops categories without children. Whether to list them would be a guess.
    reached = f"SELECT DISTINCT T2.{column.name} {relation.joined}"
    if len(draw.database.run(reached)) < len(set(draw.database.values(column))):
        raise NoFit
    return FilledIntent(sql, {**relation_slots(relation), **category_slots(column), "value": words})


@intent("medium", "join", "aggregate", "group", weight=0.7)
def per_parent_count(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    title = title_of(relation.parent)[0]
    sql = f"SELECT T2.{title}, COUNT(*) {relation.joined} GROUP BY T2.{relation.parent.key}"
    return FilledIntent(sql, {**relation_slots(relation), "any": with_any(draw, relation)})


@intent("medium", "join", "aggregate", "group", weight=0.8)
def per_parent_measure(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    measure = draw.measure(relation.child)
    title = title_of(relation.parent)[0]
    sql = f"SELECT T2.{title}, {measure.on('T1.')} {relation.joined} GROUP BY T2.{relation.parent.key}"
    return FilledIntent(sql, {**relation_slots(relation), "any": with_any(draw, relation), "agg": measure.text})


def having(draw: Draw, relation: Relation, tests: str) -> tuple[str, str]:
    """A count test over the children of a parent, as (SQL, words)."""
    return threshold(draw, sizes_by(draw, relation.child, relation.column.name, tests))


@intent("medium", "join", "aggregate", "group", "having", weight=0.7)
def parents_having(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    test, text = having(draw, relation, "")
    shown = draw.shown(relation.parent, 1, 2, named=True)
    sql = f"SELECT {shown.sql('T2.')} {relation.joined} GROUP BY T2.{relation.parent.key} HAVING COUNT(*) {test}"
    slots = {**relation_slots(relation), **shown.slots, "number": text, "scope": relation.child.many}
    return FilledIntent(sql, slots)


@intent("medium", "join", "aggregate", "group", "having", weight=0.6)
def parents_having_measure(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    number = draw.column(relation.child, NUMBERS)
    function, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    value = f"{function}(T1.{number.name})"
    group = f"{relation.joined} GROUP BY T2.{relation.parent.key}"
    bound = draw.bound_between([float(row[0] or 0) for row in draw.database.run(f"SELECT {value} {group}")])
    sign, above = draw.pick([(">", "above"), ("<", "below")])
    shown = draw.shown(relation.parent, 1, 2, named=True)
    slots = {**relation_slots(relation), **shown.slots, "agg": f"{word} {number.label}", "bound": f"{above} {bound}"}
    slots["agg_a"] = with_article(slots["agg"])
    return FilledIntent(f"SELECT {shown.sql('T2.')} {group} HAVING {value} {sign} {bound}", slots)


@intent("hard", "join", "aggregate", "group", "having", weight=0.9)
def parents_having_where(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    condition = draw.condition(relation.child, foreign=relation.parent)
    test, text = having(draw, relation, f" WHERE {condition.on()}")
    shown = draw.shown(relation.parent, 1, 2, named=True)
    base, group = f"SELECT {shown.sql('T2.')} {relation.joined}", f"GROUP BY T2.{relation.parent.key} HAVING COUNT(*)"
    slots = {**relation_slots(relation), **shown.slots, "number": text}
    slots["scope"] = f"{relation.child.many} {condition.text}"
    # Without the condition, other parents must pass the count test.
    contrasts = (f"{base} {group} {test}",)
    return FilledIntent(
        f"{base} WHERE {condition.on('T1.')} {group} {test}", slots, contrasts=contrasts, form="parents_having"
    )


@intent("hard", "join", "aggregate", "group", "order", "limit", weight=0.9)
def parent_top(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    # A parent without children is not in the join, so the join cannot tell who has the fewest.
    most = draw.database.childless(relation.column) or draw.chance(0.6)
    shown = draw.shown(relation.parent, 1, 2, named=True)
    order = f"GROUP BY T2.{relation.parent.key} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **shown.slots, "most": "most" if most else "fewest"}
    sql = f"SELECT {shown.sql('T2.')} {relation.joined} {order} 1"
    return FilledIntent(sql, slots, f"SELECT COUNT(*) {relation.joined} {order} 2")


@intent("hard", "join", "aggregate", "group", "order", "limit", weight=0.7)
def parent_top_measure(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    number = draw.column(relation.child, NUMBERS)
    function, word = draw.pick([("AVG", "average"), *([("SUM", "total")] if number.total else [])])
    # A parent without children has no total, which some would call the lowest one.
    most = draw.database.childless(relation.column) or draw.chance(0.6)
    value = f"{function}(T1.{number.name})"
    shown = draw.shown(relation.parent, 1, 2, named=True)
    order = f"{relation.joined} GROUP BY T2.{relation.parent.key} ORDER BY {value} {'DESC' if most else 'ASC'} LIMIT"
    slots = {**relation_slots(relation), **shown.slots, "agg": f"{word} {number.label}"}
    slots["most"] = "highest" if most else "lowest"
    return FilledIntent(f"SELECT {shown.sql('T2.')} {order} 1", slots, f"SELECT {value} {order} 2")


@intent("hard", "join", "aggregate", "group", "order", "limit", weight=0.8)
def parent_top_where(draw: Draw) -> FilledIntent:
    relation = draw.relation()
    shown = draw.shown(relation.parent, 1, 2, named=True)
    condition = draw.condition(relation.child, foreign=relation.parent)
    group = f"GROUP BY T2.{relation.parent.key} ORDER BY COUNT(*) DESC LIMIT"
    body = f"{relation.joined} WHERE {condition.on('T1.')}"
    slots = {**relation_slots(relation), **shown.slots, "where": condition.text}
    return FilledIntent(f"SELECT {shown.sql('T2.')} {body} {group} 1", slots, f"SELECT COUNT(*) {body} {group} 2")


@intent("hard", "join", "order", "limit", weight=0.9)
def parent_of_top(draw: Draw) -> FilledIntent:
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
    return FilledIntent(f"SELECT {shown.sql('T2.')} {relation.joined}{tests} {tail} 1", slots, keys)


@intent("hard", "join", "aggregate", "group", "having", "order", weight=0.9)
def ranked(draw: Draw) -> FilledIntent:
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
    # The sort key is the ORDER BY term without its direction.
    return FilledIntent(f"SELECT T2.{title}, {value} {tail}", slots, f"SELECT {order.rsplit(' ', 1)[0]} {tail}")


@dataclass(frozen=True)
class Hop:
    """A join from one table, by its referring column, to the table that it names."""

    # A path can join upwards from any of its tables, so a hop keeps both aliases.
    source: Table
    source_alias: str
    column: Column
    target: Table
    alias: str

    @property
    def sql(self) -> str:
        link = f"{self.source_alias}.{self.column.name} = {self.alias}.{self.target.key}"
        return f" JOIN {self.target.name} AS {self.alias} ON {link}"


@dataclass(frozen=True)
class Path:
    """A child (T1) and the joins that lead up from it, T2 and on."""

    child: Table
    hops: tuple[Hop, ...]

    @property
    def joined(self) -> str:
        return f"FROM {self.child.name} AS T1" + "".join(hop.sql for hop in self.hops)

    @property
    def end(self) -> Hop:
        return self.hops[-1]

    @property
    def trail(self) -> str:
        """A chain in words, for example "proposed by councillors representing wards"."""
        return " ".join(f"{hop.column.of} {hop.target.many}" for hop in self.hops)

    @property
    def trail_to_one(self) -> str:
        begin = " ".join(f"{hop.column.of} {hop.target.many}" for hop in self.hops[:-1])
        return f"{begin} {self.end.column.of} the {self.end.target.one}"


def grow(draw: Draw, joins: int, chain: bool) -> Path:
    """A random path; in a chain each join starts where the last one ended. No table comes twice."""
    children = [table for table in draw.domain.tables if any(column.ref for column in table.columns)]
    child = draw.pick(children)
    hops: list[Hop] = []
    while len(hops) < joins:
        begins = [(child, "T1"), *((hop.target, hop.alias) for hop in hops)]
        used = {table.name for table, _ in begins}
        options = [
            (table, alias, column)
            for table, alias in (begins[-1:] if chain else begins)
            for column in table.columns
            if column.ref and column.ref not in used and draw.domain.table(column.ref).title
        ]
        table, alias, column = draw.pick(options)
        hops.append(Hop(table, alias, column, draw.domain.table(column.ref or ""), f"T{len(hops) + 2}"))
    return Path(child, tuple(hops))


def star(draw: Draw) -> Path:
    path = grow(draw, 2, chain=False)
    # The second join has to start at the child; otherwise the path is a chain.
    if path.end.source != path.child:
        raise NoFit
    return path


def named_after(path: Path) -> tuple[str, str]:
    """(SELECT list, words): the names of all rows of the path, each described by the row that refers to it."""
    title, label = title_of(path.child)
    names, words = [f"T1.{title}"], [f"the {label}"]
    for hop in path.hops:
        title, label = title_of(hop.target)
        owner = noun_slots(path.child)["its"] if hop.source == path.child else ""
        names.append(f"{hop.alias}.{title}")
        words.append(
            f"the {label} of {owner} {hop.target.one}"
            if owner
            else f"the {label} of the {hop.target.one} of that {hop.source.one}"
        )
    return ", ".join(names), listing(words)


def all_names(draw: Draw, joins: int, filtered: bool) -> FilledIntent:
    path = grow(draw, joins, chain=draw.chance(0.5))
    columns, words = named_after(path)
    label, tests = "", ""
    if filtered:
        condition = draw.condition(path.child)
        label, tests = f" {condition.text}", f" WHERE {condition.on('T1.')}"
    base = f"SELECT {columns} {path.joined}"
    slots = {**noun_slots(path.child), "names": words, "where": label}
    return FilledIntent(base + tests, slots, contrasts=(base,) if tests else (), form="all_names")


@intent("medium", "join", "many_joins", weight=1.0)
def three_names(draw: Draw) -> FilledIntent:
    """Each child with the name at the end of a chain of two joins."""
    path = grow(draw, 2, chain=True)
    near, far = path.hops
    (title, label), (far_title, far_label) = title_of(path.child), title_of(far.target)
    sql = f"SELECT T1.{title}, T3.{far_title} {path.joined}"
    words = (
        f"the {label} and the {far_label} of the {far.target.one} of {noun_slots(path.child)['its']} {near.target.one}"
    )
    slots = {**noun_slots(path.child), "names": words, "where": ""}
    return FilledIntent(sql, slots, form="all_names")


@intent("hard", "join", "many_joins", weight=1.1)
def three_names_where(draw: Draw) -> FilledIntent:
    return all_names(draw, 2, filtered=True)


@intent("hard", "join", "many_joins", weight=3.0)
def four_names(draw: Draw) -> FilledIntent:
    return all_names(draw, 3, filtered=draw.chance(0.6))


@intent("hard", "join", "many_joins", weight=1.6)
def far_where(draw: Draw) -> FilledIntent:
    path = grow(draw, draw.pick([2, 2, 3]), chain=True)
    condition = draw.condition(path.end.target, foreign=path.child)
    shown = draw.shown(path.child, 1, 2)
    base = f"SELECT {shown.sql('T1.')} {path.joined}"
    slots = {**noun_slots(path.child), **shown.slots, "where": f"{path.trail} {condition.text}"}
    sql = f"{base} WHERE {condition.on(path.end.alias + '.')}"
    return FilledIntent(sql, slots, contrasts=(base,), form=shown.form("rows"))


def far_test(draw: Draw, path: Path) -> tuple[str, str]:
    """(SQL test, words): the row at the end has a given name, or meets a condition."""
    title = title_of(path.end.target)[0]
    if draw.chance(0.4):
        # Only names that the path reaches: the result must not be empty.
        found = draw.database.run(f"SELECT DISTINCT {path.end.alias}.{title} {path.joined}")
        value = str(draw.pick(sorted(found, key=str))[0])
        return f"{path.end.alias}.{title} = {literal(value)}", f"{path.trail_to_one} {value}"
    condition = draw.condition(path.end.target, foreign=path.child)
    return condition.on(f"{path.end.alias}."), f"{path.trail} {condition.text}"


@intent("hard", "join", "many_joins", "aggregate", weight=1.1)
def far_count(draw: Draw) -> FilledIntent:
    path = grow(draw, 2, chain=True)
    test, text = far_test(draw, path)
    base = f"SELECT COUNT(*) {path.joined}"
    return FilledIntent(
        f"{base} WHERE {test}", {**noun_slots(path.child), "where": text}, contrasts=(base,), form="count"
    )


@intent("hard", "join", "many_joins", "aggregate", weight=1.3)
def far_measure(draw: Draw) -> FilledIntent:
    path = grow(draw, 2, chain=True)
    measure = draw.measure(path.child)
    test, text = far_test(draw, path)
    base = f"SELECT {measure.on('T1.')} {path.joined}"
    slots = {**noun_slots(path.child), "agg": measure.text, "scope": f"{path.child.many} {text}"}
    return FilledIntent(f"{base} WHERE {test}", slots, contrasts=(base,), form="aggregate")


@intent("hard", "join", "many_joins", weight=1.4)
def two_parents(draw: Draw) -> FilledIntent:
    path = star(draw)
    first, second = path.hops
    one = draw.condition(first.target, foreign=path.child)
    two = draw.condition(second.target, foreign=path.child)
    shown = draw.shown(path.child, 1, 2)
    base = f"SELECT {shown.sql('T1.')} {path.joined}"
    text = f"{first.column.of} {first.target.many} {one.text} and {second.column.of} {second.target.many} {two.text}"
    slots = {**noun_slots(path.child), **shown.slots, "where": text}
    return under_both(base, one.on("T2."), two.on("T3."), slots, shown.form("rows"))


@intent("hard", "join", "many_joins", "aggregate", "group", weight=1.3)
def far_group(draw: Draw) -> FilledIntent:
    path = grow(draw, 2, chain=True)
    title, label = title_of(path.end.target)
    value, words = "COUNT(*)", f"number of {path.child.many}"
    if draw.chance(0.5):
        measure = draw.measure(path.child)
        value, words = measure.on("T1."), f"{measure.text} of the {path.child.many}"
    slots = {**far_slots(path), "value": words, "far_title": label}
    sql = f"SELECT T3.{title}, {value} {path.joined} GROUP BY T3.{path.end.target.key}"
    return FilledIntent(sql, slots)


def far_slots(path: Path) -> dict[str, str]:
    near, far = path.hops
    verbs = {"of": near.column.of, "near_of": far.column.of}
    return {**noun_slots(path.child), **noun_slots(near.target, "near_"), **noun_slots(far.target, "far_"), **verbs}


@intent("hard", "join", "many_joins", "aggregate", "group", "having", weight=1.0)
def far_having(draw: Draw) -> FilledIntent:
    path = grow(draw, 2, chain=True)
    shown = draw.shown(path.end.target, 1, 2, named=True)
    group = f"{path.joined} GROUP BY T3.{path.end.target.key}"
    test, text = threshold(draw, [int(row[0] or 0) for row in draw.database.run(f"SELECT COUNT(*) {group}")])
    slots = {**far_slots(path), **shown.slots, "number": text}
    return FilledIntent(f"SELECT {shown.sql('T3.')} {group} HAVING COUNT(*) {test}", slots)


@intent("hard", "join", "many_joins", "aggregate", "group", "order", "limit", weight=0.9)
def far_top(draw: Draw) -> FilledIntent:
    path = grow(draw, 2, chain=True)
    shown = draw.shown(path.end.target, 1, 2, named=True)
    tail = f"{path.joined} GROUP BY T3.{path.end.target.key} ORDER BY COUNT(*) DESC LIMIT"
    return FilledIntent(
        f"SELECT {shown.sql('T3.')} {tail} 1", {**far_slots(path), **shown.slots}, f"SELECT COUNT(*) {tail} 2"
    )


@intent("hard", "join", "nested", "in", weight=0.8)
def linked(draw: Draw) -> FilledIntent:
    """Rows linked to rows of another table through a third one (many to many)."""
    relation = draw.relation()
    other = draw.pick([c for c in relation.child.columns if c.ref and c != relation.column])
    target = draw.domain.table(other.ref or "")
    far = Relation(relation.child, other, target)
    condition = draw.condition(target)
    shown = draw.shown(relation.parent, 1, 2, named=True)
    inner = f"SELECT T1.{relation.column.name} {far.joined} WHERE {condition.on('T2.')}"
    base = f"SELECT {shown.sql()} FROM {relation.parent.name}"
    sql = f"{base} WHERE {relation.parent.key} IN ({inner})"
    slots = {
        **noun_slots(relation.child),
        **noun_slots(relation.parent, "p_"),
        **shown.slots,
        **noun_slots(target, "far_"),
    }
    slots |= {"has": relation.column.has, "far_of": other.of, "where": condition.text}
    # The link alone, without the condition: the condition must not be idle.
    contrast = f"{base} WHERE {relation.parent.key} IN (SELECT {relation.column.name} FROM {relation.child.name})"
    if target == relation.parent:
        raise NoFit
    return FilledIntent(sql, slots, contrasts=(base, contrast))
