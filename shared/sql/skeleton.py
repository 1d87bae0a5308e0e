"""The shape of a SQL: what is left when names, or only literals, are masked. By token, on any text; nothing is parsed.

Three forms, from coarse to fine: `skeleton` (names and literals masked), `slots` (names as numbers in the order of
their first use, literals masked) and `named` (names kept, aliases and qualifiers gone, literals masked).
"""

from dataclasses import dataclass

from shared.sql.style import COMPARING, FUNCTIONS, KEYWORDS
from shared.sql.tokens import tokens

NAME, VALUE = "_", "?"
KEPT = frozenset(word.lower() for word in KEYWORDS | FUNCTIONS)
# Writings that mean the same wherever they stand.
SAME = {"<>": "!=", "==": "="}
SILENT = frozenset(("as", "inner", "asc", "outer", ";"))


@dataclass(frozen=True, slots=True)
class Shape:
    """The three forms of one SQL, each as one text with single blanks."""

    skeleton: str
    slots: str
    named: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A token: `kind` is `word` (keyword or function), `name`, `value` or `sign`."""

    kind: str
    text: str


def shape(sql: str) -> Shape:
    """The forms of any text."""
    pieces = without_aliases(read(sql))
    slots: dict[str, str] = {}
    for piece in pieces:
        if piece.kind == "name":
            slots.setdefault(piece.text, f"_{len(slots) + 1}")
    return Shape(
        skeleton=" ".join(shown(piece, NAME) for piece in pieces),
        slots=" ".join(shown(piece, slots.get(piece.text, NAME)) for piece in pieces),
        named=" ".join(shown(piece, piece.text) for piece in pieces),
    )


def shown(piece: Piece, name: str) -> str:
    """A piece with its name as `name`."""
    if piece.kind == "name":
        return name
    return VALUE if piece.kind == "value" else piece.text


def read(sql: str) -> list[Piece]:
    """The pieces of a text; signs of comparison that touch are one, and so are the parts of a number."""
    found: list[Piece] = []
    blank = True
    for kind, text in tokens(sql):
        if kind in ("blank", "comment"):
            blank = True
            continue
        last = found[-1] if found else None
        if last is not None and not blank and text in COMPARING and last.kind == "sign" and last.text[-1] in COMPARING:
            found[-1] = Piece("sign", last.text + text)
        elif last is not None and not blank and last.kind == "value" and (text == "." or last.text.endswith(".")):
            found[-1] = Piece("value", last.text + text)
        else:
            found.append(piece_of(kind, text))
        blank = False
    return [Piece(piece.kind, SAME.get(piece.text, piece.text)) for piece in found]


def piece_of(kind: str, text: str) -> Piece:
    """One token. Text in double quotes is a literal: that is how models write it more often than names."""
    if kind == "quoted":
        return Piece("value", text[1:-1]) if text[0] in "'\"" else Piece("name", text[1:-1].lower())
    if kind == "word":
        lowered = text.lower()
        if lowered[0].isdigit():
            return Piece("value", lowered)
        return Piece("word" if lowered in KEPT else "name", lowered)
    return Piece("sign", text)


def without_aliases(pieces: list[Piece]) -> list[Piece]:
    """Qualifiers before a dot, aliases behind AS or behind a name, and silent words left out."""
    aliases = {pieces[n + 1].text for n in range(len(pieces) - 1) if pieces[n].text == "as" and is_name(pieces, n + 1)}
    kept: list[Piece] = []
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        following = pieces[place + 1] if place + 1 < len(pieces) else None
        if piece.kind == "name" and following is not None and following.text == "." and following.kind == "sign":
            place += 2
            continue
        if piece.text == "as" and is_name(pieces, place + 1):
            place += 2
            continue
        alias = piece.kind == "name" and kept and (kept[-1].kind == "name" or kept[-1].text == ")")
        if not alias and piece.text not in SILENT:
            kept.append(Piece("name", "@") if piece.kind == "name" and piece.text in aliases else piece)
        place += 1
    return kept


def is_name(pieces: list[Piece], place: int) -> bool:
    """Whether a name stands there."""
    return place < len(pieces) and pieces[place].kind == "name"
