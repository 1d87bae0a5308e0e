"""SQL in one style of writing, so that what differs between two texts is what they say, not how they are set."""

from shared.sql.tokens import tokens

# Words that SQLite reads as keywords (or, some of them, as a name where no keyword can stand: a name's case means
# nothing to it either).
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


def plain_style(sql: str) -> str:
    """The same statement without comments and closing semicolons, blanks single, keywords and functions upper case.

    By token: literals, quoted names and all other names stay as they are. The plain style of the result is the result.
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
    """Whether one blank stands between two pieces; `blank` where the text has some."""
    if before in NO_BLANK_AFTER or piece in NO_BLANK_BEFORE:
        return False
    if piece == "(" and before.upper() in FUNCTIONS:
        return False
    if padded(before) or padded(piece) or before == ",":
        return True
    keyword = before.upper() in KEYWORDS and piece == "("
    return blank or keyword or (before == ")" and (piece[0].isalnum() or piece[0] == "_"))


def joined(sql: str) -> list[tuple[bool, str]]:
    """(whether a blank or comment stands before it, piece); signs of comparison that touch are one piece."""
    found: list[tuple[bool, str]] = []
    blank = False
    for kind, text in tokens(sql):
        if kind in ("blank", "comment"):
            blank = True
            continue
        if found and not blank and text in COMPARING and found[-1][1][-1] in COMPARING | {"-"}:
            found[-1] = (found[-1][0], found[-1][1] + text)
        else:
            found.append((blank, text))
        blank = False
    return found


def padded(piece: str) -> bool:
    """Whether a blank stands on both sides of it: a comparison. JSON's arrows are left as they stand."""
    return bool(piece) and set(piece) <= COMPARING


def cased(piece: str, after: str) -> str:
    """Keywords in upper case, and functions where a bracket follows."""
    upper = piece.upper()
    return upper if upper in KEYWORDS or (upper in FUNCTIONS and after == "(") else piece
