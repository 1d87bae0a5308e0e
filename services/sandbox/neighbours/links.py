"""Which foreign keys hold, which are only implied by names and values, and in which order tables can be filled."""

from itertools import islice

from services.sandbox.neighbours.sample import Key, Sampler, fold_key
from services.sandbox.neighbours.schema import Link, Schema
from services.sandbox.neighbours.values import Row, stream

EVIDENCE = 3  # distinct values that an undeclared key must have
GENERIC = {"id", "name", "code", "key"}


def fill_order(schema: Schema, links: tuple[Link, ...]) -> list[str]:
    """Names of tables, parents first; a cycle is entered at its first table."""
    parents: dict[str, list[str]] = {name: [] for name in schema.tables}
    for link in links:
        parents[link.child].append(link.parent)
    done: dict[str, None] = {}
    for root in schema.tables:
        stack, open_ = [(root, iter(parents[root]))], {root}
        while stack:
            name, rest = stack[-1]
            following = next((p for p in rest if p not in done and p not in open_), None)
            if following is None:
                stack.pop()
                done[name] = None
            else:
                open_.add(following)
                stack.append((following, iter(parents[following])))
    return list(done)


def implied_links(schema: Schema, rows: dict[str, list[Row]]) -> list[Link]:
    """Single columns named like another table's only key whose values all lie in that key; no declared key is near."""
    taken = {(link.child, column) for link in schema.links for column in link.columns}
    found = []
    for name, table in schema.tables.items():
        single = {key[0] for key in table.keys if len(key) == 1}
        for place, column in enumerate(table.columns):
            if (name, place) in taken or place in single:
                continue
            likely = (link for link in named_like(schema, name, place, column.name) if contained(schema, rows, link))
            found += list(islice(likely, 1))
    return found


def named_like(schema: Schema, child: str, place: int, name: str) -> list[Link]:
    """Keys `x`, or `id` of a table `x`, for a column `x`, `x_id` or `xid`."""
    found = []
    for parent, table in schema.tables.items():
        for key in table.keys:
            if parent == child or len(key) != 1:
                continue
            key_name = table.columns[key[0]].name.lower()
            names = {f"{parent}_{key_name}", f"{parent}{key_name}"} | ({key_name} - GENERIC)
            if name.lower() in names:
                found.append(Link(child, (place,), parent, key))
    return found


def contained(schema: Schema, rows: dict[str, list[Row]], link: Link) -> bool:
    """Whether every value of the child's column is a key of the parent, by enough values to be no accident."""
    parent = schema.tables[link.parent]
    wanted = {fold_key(row, link.columns, parent, link.targets) for row in rows[link.child]} - {None}
    if len(wanted) < EVIDENCE:
        return False
    return wanted <= {fold_key(row, link.targets, parent, link.targets) for row in rows[link.parent]}


def held_links(schema: Schema, sampler: Sampler) -> tuple[Link, ...]:
    """Declared links that the original keeps, and implied ones."""
    held = [link for link in schema.links if not sampler.missing[link] and sampler.rows[link.parent]]
    return (*held, *implied_links(schema, sampler.rows))


def close(schema: Schema, rows: dict[str, list[Row]], links: tuple[Link, ...], order: list[str]) -> None:
    """Make a sample whole: a key whose parent was left out points to another row, or its row goes where keys are tight.

    `order` has parents first, so that what goes from a parent is seen by its children.
    """
    for _ in order:
        changed = False
        for name in order:
            for link in (link for link in links if link.child == name):
                changed = close_link(schema, rows, link) or changed
        if not changed:
            return


def close_link(schema: Schema, rows: dict[str, list[Row]], link: Link) -> bool:
    """One link; whether anything was amiss."""
    parent, child = schema.tables[link.parent], schema.tables[link.child]
    known: dict[Key, Row] = {}
    for row in rows[link.parent]:
        key = fold_key(row, link.targets, parent, link.targets)
        if key is not None:
            known[key] = row
    tight = any(set(link.columns) & set(key) for key in child.keys)
    kept, changed, keys = [], False, sorted(known, key=repr)
    for row in rows[link.child]:
        key = fold_key(row, link.columns, parent, link.targets)
        if key is None or key in known:
            kept.append(row)
            continue
        changed = True
        if not tight and keys:
            other = known[keys[stream("close", link.child, key).randrange(len(keys))]]
            kept.append(pointed(row, link, other))
    rows[link.child] = kept
    return changed


def pointed(row: Row, link: Link, parent: Row) -> Row:
    """The row with its key set to that of a parent."""
    cells = list(row)
    for column, target in zip(link.columns, link.targets, strict=True):
        cells[column] = parent[target]
    return tuple(cells)
