"""Three and four tables, joined upwards from a child, so that a row of the result is a row of the child."""

from dataclasses import dataclass

from services.synthesis.grammar.draw import Draw, Relation, noun_slots
from services.synthesis.grammar.english import listing
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.groups import threshold
from services.synthesis.grammar.rows import literal
from services.synthesis.grammar.schema import Column, Table
from services.synthesis.grammar.world import Filling, NoFit, title_of


@dataclass(frozen=True)
class Hop:
    """A join from one table, by its referring column, to the table that it names."""

    source: Table
    source_alias: str
    column: Column
    target: Table
    alias: str

    @property
    def sql(self) -> str:
        """The JOIN clause."""
        link = f"{self.source_alias}.{self.column.name} = {self.alias}.{self.target.key}"
        return f" JOIN {self.target.name} AS {self.alias} ON {link}"


@dataclass(frozen=True)
class Path:
    """A child (T1) and the joins that lead up from it, T2 and on."""

    child: Table
    hops: tuple[Hop, ...]

    @property
    def joined(self) -> str:
        """The FROM clause."""
        return f"FROM {self.child.name} AS T1" + "".join(hop.sql for hop in self.hops)

    @property
    def end(self) -> Hop:
        """The last join."""
        return self.hops[-1]

    @property
    def trail(self) -> str:
        """A chain in words, for example "proposed by councillors representing wards"."""
        return " ".join(f"{hop.column.of} {hop.target.many}" for hop in self.hops)

    @property
    def trail_to_one(self) -> str:
        """A chain in words up to one row at its end."""
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
    """A child with two parents."""
    path = grow(draw, 2, chain=False)
    if path.end.source != path.child:
        raise NoFit
    return path


def named_after(path: Path) -> tuple[str, str]:
    """(SELECT list, words): the names of all rows of the path, each said by the row that refers to it."""
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


def all_names(draw: Draw, joins: int, filtered: bool) -> Filling:
    """Each child with the names of the rows above it."""
    path = grow(draw, joins, chain=draw.chance(0.5))
    columns, words = named_after(path)
    label, tests = "", ""
    if filtered:
        condition = draw.condition(path.child)
        label, tests = f" {condition.text}", f" WHERE {condition.on('T1.')}"
    base = f"SELECT {columns} {path.joined}"
    slots = {**noun_slots(path.child), "names": words, "where": label}
    return Filling(base + tests, slots, contrasts=(base,) if tests else (), form="all_names")


@intent("medium", "join", "many_joins", weight=1.0)
def three_names(draw: Draw) -> Filling:
    """Each child with the name at the end of a chain of two joins."""
    path = grow(draw, 2, chain=True)
    near, far = path.hops
    (title, label), (far_title, far_label) = title_of(path.child), title_of(far.target)
    sql = f"SELECT T1.{title}, T3.{far_title} {path.joined}"
    words = (
        f"the {label} and the {far_label} of the {far.target.one} of {noun_slots(path.child)['its']} {near.target.one}"
    )
    slots = {**noun_slots(path.child), "names": words, "where": ""}
    return Filling(sql, slots, form="all_names")


@intent("hard", "join", "many_joins", weight=1.1)
def three_names_where(draw: Draw) -> Filling:
    """Each child that meets a condition with the names of the two rows above it."""
    return all_names(draw, 2, filtered=True)


@intent("hard", "join", "many_joins", weight=3.0)
def four_names(draw: Draw) -> Filling:
    """Each child with the names of the three rows above it."""
    return all_names(draw, 3, filtered=draw.chance(0.6))


@intent("hard", "join", "many_joins", weight=1.6)
def far_where(draw: Draw) -> Filling:
    """Children by a condition on a table two or three joins away."""
    path = grow(draw, draw.pick([2, 2, 3]), chain=True)
    condition = draw.condition(path.end.target, foreign=path.child)
    shown = draw.shown(path.child, 1, 2)
    base = f"SELECT {shown.sql('T1.')} {path.joined}"
    slots = {**noun_slots(path.child), **shown.slots, "where": f"{path.trail} {condition.text}"}
    sql = f"{base} WHERE {condition.on(path.end.alias + '.')}"
    return Filling(sql, slots, contrasts=(base,), form=shown.form("rows"))


def far_test(draw: Draw, path: Path) -> tuple[str, str]:
    """(SQL test, words): the row at the end has a given name, or meets a condition."""
    title = title_of(path.end.target)[0]
    if draw.chance(0.4):
        found = draw.world.run(f"SELECT DISTINCT {path.end.alias}.{title} {path.joined}")
        value = str(draw.pick(sorted(found, key=str))[0])
        return f"{path.end.alias}.{title} = {literal(value)}", f"{path.trail_to_one} {value}"
    condition = draw.condition(path.end.target, foreign=path.child)
    return condition.on(f"{path.end.alias}."), f"{path.trail} {condition.text}"


@intent("hard", "join", "many_joins", "aggregate", weight=1.1)
def far_count(draw: Draw) -> Filling:
    """How many children lead to some row two joins away."""
    path = grow(draw, 2, chain=True)
    test, text = far_test(draw, path)
    base = f"SELECT COUNT(*) {path.joined}"
    return Filling(f"{base} WHERE {test}", {**noun_slots(path.child), "where": text}, contrasts=(base,), form="count")


@intent("hard", "join", "many_joins", "aggregate", weight=1.3)
def far_measure(draw: Draw) -> Filling:
    """An aggregate over the children that lead to some row two joins away."""
    path = grow(draw, 2, chain=True)
    measure = draw.measure(path.child)
    test, text = far_test(draw, path)
    base = f"SELECT {measure.on('T1.')} {path.joined}"
    slots = {**noun_slots(path.child), "agg": measure.text, "scope": f"{path.child.many} {text}"}
    return Filling(f"{base} WHERE {test}", slots, contrasts=(base,), form="aggregate")


@intent("hard", "join", "many_joins", weight=1.4)
def two_parents(draw: Draw) -> Filling:
    """Children by a condition on each of two parents."""
    path = star(draw)
    first, second = path.hops
    one = draw.condition(first.target, foreign=path.child)
    two = draw.condition(second.target, foreign=path.child)
    shown = draw.shown(path.child, 1, 2)
    base = f"SELECT {shown.sql('T1.')} {path.joined}"
    text = f"{first.column.of} {first.target.many} {one.text} and {second.column.of} {second.target.many} {two.text}"
    slots = {**noun_slots(path.child), **shown.slots, "where": text}
    contrasts = (f"{base} WHERE {one.on('T2.')}", f"{base} WHERE {two.on('T3.')}")
    sql = f"{base} WHERE {one.on('T2.')} AND {two.on('T3.')}"
    return Filling(sql, slots, contrasts=contrasts, form=shown.form("rows"))


@intent("hard", "join", "many_joins", "aggregate", "group", weight=1.3)
def far_group(draw: Draw) -> Filling:
    """Children counted, or a number of theirs aggregated, for each row two joins away."""
    path = grow(draw, 2, chain=True)
    title, label = title_of(path.end.target)
    value, words = "COUNT(*)", f"number of {path.child.many}"
    if draw.chance(0.5):
        measure = draw.measure(path.child)
        value, words = measure.on("T1."), f"{measure.text} of the {path.child.many}"
    slots = {**far_slots(path), "value": words, "far_title": label}
    sql = f"SELECT T3.{title}, {value} {path.joined} GROUP BY T3.{path.end.target.key}"
    return Filling(sql, slots)


def far_slots(path: Path) -> dict[str, str]:
    """The nouns of a chain of two joins: child, near and far."""
    near, far = path.hops
    verbs = {"of": near.column.of, "near_of": far.column.of}
    return {**noun_slots(path.child), **noun_slots(near.target, "near_"), **noun_slots(far.target, "far_"), **verbs}


@intent("hard", "join", "many_joins", "aggregate", "group", "having", weight=1.0)
def far_having(draw: Draw) -> Filling:
    """Rows two joins away with enough children."""
    path = grow(draw, 2, chain=True)
    shown = draw.shown(path.end.target, 1, 2, named=True)
    group = f"{path.joined} GROUP BY T3.{path.end.target.key}"
    test, text = threshold(draw, [int(row[0] or 0) for row in draw.world.run(f"SELECT COUNT(*) {group}")])
    slots = {**far_slots(path), **shown.slots, "number": text}
    return Filling(f"SELECT {shown.sql('T3.')} {group} HAVING COUNT(*) {test}", slots)


@intent("hard", "join", "many_joins", "aggregate", "group", "order", "limit", weight=0.9)
def far_top(draw: Draw) -> Filling:
    """The row two joins away with the most children."""
    path = grow(draw, 2, chain=True)
    shown = draw.shown(path.end.target, 1, 2, named=True)
    tail = f"{path.joined} GROUP BY T3.{path.end.target.key} ORDER BY COUNT(*) DESC LIMIT"
    return Filling(
        f"SELECT {shown.sql('T3.')} {tail} 1", {**far_slots(path), **shown.slots}, f"SELECT COUNT(*) {tail} 2"
    )


@intent("hard", "join", "nested", "in", weight=0.8)
def linked(draw: Draw) -> Filling:
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
    contrast = f"{base} WHERE {relation.parent.key} IN (SELECT {relation.column.name} FROM {relation.child.name})"
    if target == relation.parent:
        raise NoFit
    return Filling(sql, slots, contrasts=(base, contrast))
