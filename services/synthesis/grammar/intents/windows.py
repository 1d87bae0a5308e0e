"""Window functions: best of each group, ranks, averages beside rows, running totals."""

from services.synthesis.grammar.draw import NUMBERS, ORDERED, Draw, category_slots, noun_slots, relation_slots
from services.synthesis.grammar.english import with_article
from services.synthesis.grammar.intent import intent
from services.synthesis.grammar.intents.rows import scope
from services.synthesis.grammar.world import Filling, NoFit, title_of


@intent("hard", "window", "nested", "order", weight=0.6)
def best_of_each(draw: Draw) -> Filling:
    """The row with the highest or lowest value of each category."""
    table = draw.named()
    category, column = draw.column(table, ["category"]), draw.column(table, ORDERED)
    title, label = title_of(table)
    descending = draw.chance(0.6)
    columns = f"{category.name}, {title}, {column.name}"
    over = f"ROW_NUMBER() OVER (PARTITION BY {category.name} ORDER BY {column.name} {'DESC' if descending else 'ASC'})"
    sql = f"SELECT {columns} FROM (SELECT {columns}, {over} AS place FROM {table.name}) WHERE place = 1"
    ties = f"SELECT 1 FROM {table.name} GROUP BY {category.name}, {column.name} HAVING COUNT(*) > 1"
    slots = {**noun_slots(table), **category_slots(category), "label": column.label}
    slots["sup"] = draw.superlative(column, descending, table.one)
    return Filling(sql, slots | {"title": label}, ties=ties, contrasts=(f"SELECT {columns} FROM {table.name}",))


@intent("hard", "window", "nested", "join", "order", weight=0.6)
def best_of_parents(draw: Draw) -> Filling:
    """The child with the highest or lowest value of each parent that has any."""
    relation = draw.relation()
    column = draw.column(relation.child, ORDERED)
    (title, _), (owner, _) = title_of(relation.child), title_of(relation.parent)
    descending = draw.chance(0.6)
    over = f"PARTITION BY T2.{relation.parent.key} ORDER BY T1.{column.name} {'DESC' if descending else 'ASC'}"
    inner = f"SELECT T2.{owner} AS owner, T1.{title} AS item, ROW_NUMBER() OVER ({over}) AS place {relation.joined}"
    ties = f"SELECT 1 FROM {relation.child.name} GROUP BY {relation.column.name}, {column.name} HAVING COUNT(*) > 1"
    any_child = f" with at least one {relation.child.one}" if draw.world.childless(relation.column) else ""
    slots = {**relation_slots(relation), "sup": draw.superlative(column, descending, relation.child.one)}
    sql = f"SELECT owner, item FROM ({inner}) WHERE place = 1"
    return Filling(sql, slots | {"any": any_child}, ties=ties, contrasts=(f"SELECT owner, item FROM ({inner})",))


@intent("hard", "window", "order", weight=0.5)
def ranks(draw: Draw) -> Filling:
    """Each row with its rank by a number, among all rows or within its category."""
    table = draw.table()
    column = draw.column(table, NUMBERS)
    title, label = title_of(table)
    descending = draw.chance(0.7)
    order = f"ORDER BY {column.name} {'DESC' if descending else 'ASC'}"
    partition, within, ties = "", f"among all {table.many}", f"GROUP BY {column.name}"
    if draw.chance(0.6):
        category = draw.column(table, ["category"])
        partition, within = f"PARTITION BY {category.name} ", f"among the {table.many} of the same {category.label}"
        ties = f"GROUP BY {category.name}, {column.name}"
    sql = f"SELECT {title}, {column.name}, RANK() OVER ({partition}{order}) FROM {table.name}"
    slots = {**noun_slots(table), "title": label, "label": column.label, "within": within}
    slots["first"] = column.extremes[descending]
    return Filling(sql, slots, ties=f"SELECT 1 FROM {table.name} {ties} HAVING COUNT(*) > 1")


@intent("hard", "window", "aggregate", weight=0.5)
def beside_average(draw: Draw) -> Filling:
    """Each row with the average or total of its category beside it."""
    table = draw.table()
    category, column = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    title, label = title_of(table)
    function, word = draw.pick([("AVG", "average"), ("MAX", "highest"), *([("SUM", "total")] if column.total else [])])
    base = f"SELECT {title}, {column.name}, {function}({column.name}) OVER (PARTITION BY {category.name})"
    sql = f"{base} FROM {table.name}"
    slots = {**noun_slots(table), **category_slots(category), "title": label, "label": column.label, "word": word}
    whole = f"SELECT {title}, {column.name}, {function}({column.name}) OVER () FROM {table.name}"
    return Filling(sql, slots, contrasts=(whole,))


@intent("hard", "window", "nested", "aggregate", weight=0.5)
def above_own_average(draw: Draw) -> Filling:
    """Rows above or below the average of their category."""
    table = draw.table()
    category, column = draw.column(table, ["category"]), draw.column(table, NUMBERS)
    title, label = title_of(table)
    sign, word = draw.pick([(">", "above"), ("<", "below")])
    mean = f"AVG({column.name}) OVER (PARTITION BY {category.name}) AS mean"
    inner = f"SELECT {title}, {column.name}, {mean} FROM {table.name}"
    base = f"SELECT {title} FROM"
    contrasts = (
        f"{base} {table.name}",
        f"{base} {table.name} WHERE {column.name} {sign} (SELECT AVG({column.name}) FROM {table.name})",
    )
    slots = {**noun_slots(table), **category_slots(category), "titles": noun_slots(table)["titles"], "title": label}
    slots |= {"label": column.label, "label_a": with_article(column.label), "above": word}
    return Filling(f"{base} ({inner}) WHERE {column.name} {sign} mean", slots, contrasts=contrasts)


@intent("hard", "window", "aggregate", "order", weight=0.5)
def running_total(draw: Draw) -> Filling:
    """A total that grows from date to date."""
    table = draw.table()
    date = draw.column(table, ["date", "year"])
    column = draw.pick([one for one in table.columns if one.total and not one.missing])
    words, tests, condition = scope(draw, table, 0.5)
    if condition and condition.column in (date, column):
        raise NoFit
    over = f"SUM({column.name}) OVER (ORDER BY {date.name})"
    base = f"SELECT {date.name}, {column.name}, {over} FROM {table.name}"
    order = f" ORDER BY {date.name} ASC"
    slots = {**noun_slots(table), "date": date.label, "label": column.label, "scope": words}
    keys = f"SELECT {date.name} FROM {table.name}{tests}{order}"
    return Filling(base + tests + order, slots, keys, contrasts=(base + order,) if tests else ())
