"""What can be asked of a database of the user's without knowing what it means: a question and its gold a draw."""

from collections.abc import Callable, Mapping, Sequence

from services.synthesis.own_view import Link, View, clause, label, literal, plural, quoted, spoken
from shared.contracts.records import Level

Drawn = tuple[str, str]
Intent = Callable[[View], Drawn]


def names_where(view: View) -> Drawn:
    table = view.table()
    column, name = view.word(table, dates=True), label(table)
    value = view.value(column)
    question = view.rng.choice(["Show the {0} of all {1} {2}.", "What is the {0} of the {1} {2}?"])
    sql = f"SELECT {quoted(name.name)} FROM {quoted(table.name)} WHERE {quoted(column.name)} = {literal(value)}"
    return question.format(spoken(name.name), plural(table.name), clause(column, value)), sql


def count_where(view: View) -> Drawn:
    table = view.table()
    column = view.word(table, dates=True)
    value = view.value(column)
    question = view.rng.choice(["How many {0} are there {1}?", "Count the {0} {1}."])
    sql = f"SELECT COUNT(*) FROM {quoted(table.name)} WHERE {quoted(column.name)} = {literal(value)}"
    return question.format(plural(table.name), clause(column, value)), sql


def extreme(view: View) -> Drawn:
    table = view.table()
    column = view.number(table)
    function, word = view.rng.choice([("MAX", "highest"), ("MIN", "lowest"), ("AVG", "average")])
    question = f"What is the {word} {spoken(column.name)} of all {plural(table.name)}?"
    return question, f"SELECT {function}({quoted(column.name)}) FROM {quoted(table.name)}"


def different(view: View) -> Drawn:
    table = view.table()
    column = view.word(table)
    question = f"Which different values of {spoken(column.name)} occur among the {plural(table.name)}?"
    return question, f"SELECT DISTINCT {quoted(column.name)} FROM {quoted(table.name)}"


def count_each(view: View) -> Drawn:
    table = view.table()
    column = view.word(table)
    name = quoted(column.name)
    question = f"How many {plural(table.name)} are there for each {spoken(column.name)}?"
    return question, f"SELECT {name}, COUNT(*) FROM {quoted(table.name)} GROUP BY {name}"


def mean_each(view: View) -> Drawn:
    table = view.table()
    column, number = view.word(table), view.number(table)
    name = quoted(column.name)
    question = f"What is the average {spoken(number.name)} of the {plural(table.name)} for each {spoken(column.name)}?"
    return question, f"SELECT {name}, AVG({quoted(number.name)}) FROM {quoted(table.name)} GROUP BY {name}"


def joined(link: Link) -> str:
    """Child and parent as T1 and T2."""
    on = f"T1.{quoted(link.column)} = T2.{quoted(link.key)}"
    return f"{quoted(link.child.name)} AS T1 JOIN {quoted(link.parent.name)} AS T2 ON {on}"


def by_parent(view: View) -> Drawn:
    link = view.link()
    column, name = view.word(link.parent, dates=True), label(link.child)
    value = view.value(column)
    question = (
        f"Give the {spoken(name.name)} of the {plural(link.child.name)} that belong to "
        f"{plural(link.parent.name)} {clause(column, value)}."
    )
    where = f"T2.{quoted(column.name)} = {literal(value)}"
    return question, f"SELECT T1.{quoted(name.name)} FROM {joined(link)} WHERE {where}"


def count_children(view: View) -> Drawn:
    link = view.link()
    name = quoted(label(link.parent).name)
    shown = spoken(label(link.parent).name)
    parents, children = plural(link.parent.name), plural(link.child.name)
    question = f"Show the {shown} of the {parents} that have {children}, and how many each has."
    return question, f"SELECT T2.{name}, COUNT(*) FROM {joined(link)} GROUP BY T2.{quoted(link.key)}"


def above_mean(view: View) -> Drawn:
    table = view.table()
    number, name = quoted(view.number(table).name), quoted(label(table).name)
    source = quoted(table.name)
    question = (
        f"Which {plural(table.name)} have a {spoken(number)} above the average of all {plural(table.name)}? "
        f"Show {spoken(name)} and {spoken(number)}, the highest first."
    ).replace('"', "")
    sql = (
        f"SELECT {name}, {number} FROM {source} WHERE {number} > (SELECT AVG({number}) FROM {source}) "
        f"ORDER BY {number} DESC"
    )
    return question, sql


def childless(view: View) -> Drawn:
    link = view.link()
    name, key, column = quoted(label(link.parent).name), quoted(link.key), quoted(link.column)
    shown = spoken(label(link.parent).name)
    question = f"Which {plural(link.parent.name)} have no {plural(link.child.name)} at all? Give the {shown}."
    sql = (
        f"SELECT {name} FROM {quoted(link.parent.name)} WHERE {key} NOT IN "
        f"(SELECT {column} FROM {quoted(link.child.name)} WHERE {column} IS NOT NULL)"
    )
    return question, sql


def many_children(view: View) -> Drawn:
    link = view.link()
    least, said = view.rng.choice([(1, "one"), (2, "two"), (3, "three")])
    name, key = quoted(label(link.parent).name), quoted(link.key)
    question = (
        f"Which {plural(link.parent.name)} have more than {said} of the {plural(link.child.name)}? "
        f"Show the {spoken(label(link.parent).name)} and how many, the most first."
    )
    groups = f"GROUP BY T2.{key} HAVING COUNT(*) > {least} ORDER BY COUNT(*) DESC"
    sql = f"SELECT T2.{name}, COUNT(*) FROM {joined(link)} {groups}"
    return question, sql


INTENTS: Mapping[Level, Sequence[Intent]] = {
    "easy": (names_where, count_where, extreme, different),
    "medium": (count_each, mean_each, by_parent, count_children),
    "hard": (above_mean, childless, many_children),
}
