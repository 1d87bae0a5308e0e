"""Text surgery on a gold: where its outermost ORDER BY and LIMIT stand, and probes that show what they leave open."""

from dataclasses import dataclass

from services.sandbox.text import tokens


@dataclass(frozen=True)
class Outline:
    """Offsets into the text, outside all parentheses; None where the clause is absent. `end` is behind the last token
    that counts. `sound` is false where the text does not have the form that surgery relies on.
    """

    order: int | None
    limit: int | None
    end: int
    sound: bool


def outline(sql: str) -> Outline:
    """Scan a text. LIMIT and ORDER BY are reserved words in SQLite, so outside quotes they are nothing else."""
    depth = lowest = offset = end = limits = orders = 0
    order: int | None = None
    limit: int | None = None
    previous, ended, late = "", False, False
    for kind, text in tokens(sql):
        start, offset = offset, offset + len(text)
        if kind in ("blank", "comment"):
            continue
        if text == ";":
            ended = True
            continue
        late = late or ended
        depth += {"(": 1, ")": -1}.get(text, 0)
        lowest, end = min(lowest, depth), offset
        word = text.lower() if kind == "word" and depth == 0 else ""
        if word == "limit":
            limit, limits = start, limits + 1
        elif word == "by" and previous == "order":
            order, orders = start, orders + 1
        previous = word
    tidy = limits <= 1 and orders <= 1 and not (limit is not None and order is not None and order > limit)
    return Outline(order, limit, end, tidy and depth == 0 and lowest == 0 and not late)


def ordinals(width: int, direction: str) -> str:
    """All result columns as terms of ORDER BY."""
    return ", ".join(f"{n} {direction}" for n in range(1, width + 1))


def inserted(sql: str, found: Outline, place: int, width: int) -> tuple[str, str]:
    """The text twice, with all result columns as the last terms of its order, rising and falling.

    The line breaks keep a comment before `place` from swallowing what is put there.
    """
    lead = "\n, " if found.order is not None else "\nORDER BY "
    rising, falling = (f"{lead}{ordinals(width, way)}\n" for way in ("ASC", "DESC"))
    return sql[:place] + rising + sql[place:], sql[:place] + falling + sql[place:]


def tie_probes(gold: str, width: int) -> tuple[str, str] | None:
    """Two SQL whose results differ as bags exactly where the outermost LIMIT cuts through a tie that matters.

    `width` is the number of result columns. None where there is no LIMIT, or no sure place to put the terms
    (`static_fault` gives a reason then).
    """
    found = outline(gold)
    if found.limit is None or not found.sound or width < 1:
        return None
    return inserted(gold, found, found.limit, width)


def order_probes(gold: str, width: int) -> tuple[str, str] | None:
    """Two SQL whose results differ as lists exactly where ORDER BY leaves the order of different rows open.

    None where there is no ORDER BY, or no sure place to put the terms.
    """
    found = outline(gold)
    if found.order is None or not found.sound or width < 1:
        return None
    return inserted(gold, found, found.end if found.limit is None else found.limit, width)
