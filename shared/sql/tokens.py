"""SQL by token, without parsing: its pieces, one normal style of writing, and its shape with names or literals masked.

Light on purpose: the sandbox's children import it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Blanks as in SQLite: a no-break space is a letter, so that `;` and one of those begin a second statement; a byte order
# mark is blank anywhere.
COMMENT = r"(?P<comment>--[^\n]*|/\*(?:(?!\*/).)*(?:\*/|\Z))"
QUOTED = (
    r"(?P<quoted>'[^']*(?:''[^']*)*(?:'|\Z)|\"[^\"]*(?:\"\"[^\"]*)*(?:\"|\Z)"
    r"|`[^`]*(?:``[^`]*)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"
)
TOKEN = re.compile(rf"{COMMENT}|{QUOTED}|(?P<blank>[ \t\n\f\r\ufeff]+)|(?P<word>\w+)|(?P<other>.)", re.DOTALL)
# The same for SQL with prose around it: unclosed quotes, and apostrophes inside words, do not count. The length of a
# comment is limited, so that a text full of unclosed ones is not searched to its end from each of them.
CLOSED = re.compile(
    r"(?P<comment>--[^\n]*+|/\*(?:[^*]|\*(?!/)){0,2000}+\*/)"
    r"|(?P<quoted>(?<!\w)'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\"|`[^`\n]++`|\[[^\[\]\n]*+\])"
)
# Only the stretches whose content is no SQL; several times faster.
OPAQUE = re.compile(f"{COMMENT}|{QUOTED}", re.DOTALL)


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """(kind, text) for every stretch of the text; the texts joined give the whole."""
    for match in TOKEN.finditer(sql):
        yield str(match.lastgroup), match.group()


# SQLite's keywords; some may also be names, whose case does not matter either.
KEYWORD_LIST = """
ALL AND AS ASC BETWEEN BY CASE COLLATE CROSS CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP DESC DISTINCT ELSE END ESCAPE
EXCEPT EXISTS FROM FULL GLOB GROUP HAVING IN INNER INTERSECT IS ISNULL JOIN LEFT LIKE LIMIT NATURAL NOT NOTNULL NULL
OFFSET ON OR ORDER OUTER OVER PARTITION RECURSIVE RIGHT SELECT THEN UNION USING VALUES WHEN WHERE WINDOW WITH
"""
FUNCTION_LIST = """
ABS AVG CAST COALESCE COUNT DATE DATETIME GROUP_CONCAT IFNULL IIF INSTR JULIANDAY LENGTH LOWER LTRIM MAX MIN NULLIF
PRINTF REPLACE ROUND RTRIM STRFTIME SUBSTR SUM TIME TOTAL TRIM UPPER
"""
KEYWORDS, FUNCTIONS = frozenset(KEYWORD_LIST.split()), frozenset(FUNCTION_LIST.split())
COMPARING = frozenset("=<>!")
NO_BLANK_BEFORE, NO_BLANK_AFTER = frozenset((",", ")", ";")), frozenset(("(", ""))


def normalize_sql(sql: str) -> str:
    """The same statement without comments and closing semicolons, single blanks, keywords and functions in upper case.

    Literals and names stay as they are. Normalizing again changes nothing.
    """
    pieces = joined(sql)
    while pieces and pieces[-1][1] == ";":
        pieces.pop()
    text, before = "", ""
    for place, (blank, piece) in enumerate(pieces):
        after = pieces[place + 1][1] if place + 1 < len(pieces) else ""
        if spaced(before, piece, blank):
            text += " "
        text += cased(piece, after)
        before = piece
    return text


def spaced(before: str, piece: str, blank: bool) -> bool:
    if before in NO_BLANK_AFTER or piece in NO_BLANK_BEFORE:
        return False
    if piece == "(" and before.upper() in FUNCTIONS:
        return False
    if padded(before) or padded(piece) or before == ",":
        return True
    keyword = before.upper() in KEYWORDS and piece == "("
    return blank or keyword or (before == ")" and (piece[0].isalnum() or piece[0] == "_"))


def joined(sql: str) -> list[tuple[bool, str]]:
    found: list[tuple[bool, str]] = []
    blank = False
    for kind, text in tokens(sql):
        if kind in ("blank", "comment"):
            blank = True
            continue
        # A hyphen counts here: `->` and `->>` are JSON's arrows.
        if found and not blank and text in COMPARING and found[-1][1][-1] in COMPARING | {"-"}:
            found[-1] = (found[-1][0], found[-1][1] + text)
        else:
            found.append((blank, text))
        blank = False
    return found


def padded(piece: str) -> bool:
    return bool(piece) and set(piece) <= COMPARING


def cased(piece: str, after: str) -> str:
    upper = piece.upper()
    return upper if upper in KEYWORDS or (upper in FUNCTIONS and after == "(") else piece


NAME, VALUE = "_", "?"
KEPT = frozenset(word.lower() for word in KEYWORDS | FUNCTIONS)
# Spellings that always mean the same.
SAME = {"<>": "!=", "==": "="}
SILENT = frozenset(("as", "inner", "asc", "outer", ";"))  # left out of shapes, since the meaning is the same without


@dataclass(frozen=True, slots=True)
class SqlShape:
    """Three forms of one query, from coarse to fine, each with single blanks.

    `skeleton` masks names and literals, `slots` numbers names by first use and masks literals, `named` keeps names,
    drops aliases and qualifiers, and masks literals.
    """

    skeleton: str
    slots: str
    named: str


@dataclass(frozen=True, slots=True)
class SqlPiece:
    """A token; `kind` is `word` (keyword or function), `name`, `value` or `sign`."""

    kind: str
    text: str


def sql_shape(sql: str) -> SqlShape:
    pieces = without_aliases(read_pieces(sql))
    slots: dict[str, str] = {}
    for piece in pieces:
        if piece.kind == "name":
            slots.setdefault(piece.text, f"_{len(slots) + 1}")
    return SqlShape(
        skeleton=" ".join(shown(piece, NAME) for piece in pieces),
        slots=" ".join(shown(piece, slots.get(piece.text, NAME)) for piece in pieces),
        named=" ".join(shown(piece, piece.text) for piece in pieces),
    )


def shown(piece: SqlPiece, name: str) -> str:
    if piece.kind == "name":
        return name
    return VALUE if piece.kind == "value" else piece.text


def read_pieces(sql: str) -> list[SqlPiece]:
    """Adjacent comparison signs are one piece, and so are the parts of a number."""
    found: list[SqlPiece] = []
    blank = True
    for kind, text in tokens(sql):
        if kind in ("blank", "comment"):
            blank = True
            continue
        last = found[-1] if found else None
        if last is not None and not blank and text in COMPARING and last.kind == "sign" and last.text[-1] in COMPARING:
            found[-1] = SqlPiece("sign", last.text + text)
        elif last is not None and not blank and last.kind == "value" and (text == "." or last.text.endswith(".")):
            found[-1] = SqlPiece("value", last.text + text)
        else:
            found.append(piece_of(kind, text))
        blank = False
    return [SqlPiece(piece.kind, SAME.get(piece.text, piece.text)) for piece in found]


def piece_of(kind: str, text: str) -> SqlPiece:
    """Text in double quotes is a literal: models write that more often than names."""
    if kind == "quoted":
        return SqlPiece("value", text[1:-1]) if text[0] in "'\"" else SqlPiece("name", text[1:-1].lower())
    if kind == "word":
        lowered = text.lower()
        if lowered[0].isdigit():
            return SqlPiece("value", lowered)
        return SqlPiece("word" if lowered in KEPT else "name", lowered)
    return SqlPiece("sign", text)


def without_aliases(pieces: list[SqlPiece]) -> list[SqlPiece]:
    """Drops qualifiers before a dot, aliases, and words without meaning of their own."""
    aliases = {pieces[n + 1].text for n in range(len(pieces) - 1) if pieces[n].text == "as" and is_name(pieces, n + 1)}
    kept: list[SqlPiece] = []
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
        # A name right after a name or a bracket is an alias without AS.
        alias = piece.kind == "name" and kept and (kept[-1].kind == "name" or kept[-1].text == ")")
        if not alias and piece.text not in SILENT:
            kept.append(SqlPiece("name", "@") if piece.kind == "name" and piece.text in aliases else piece)
        place += 1
    return kept


def is_name(pieces: list[SqlPiece], place: int) -> bool:
    return place < len(pieces) and pieces[place].kind == "name"
