"""Where a SELECT statement begins and ends in a text that also holds other things.

In delimited text (a fence, a tag, quotes) it reaches to its semicolon or to the text's end. In prose it ends at an
empty line or before a line of prose, if the statement can be complete and what follows cannot belong to it.
"""

import re

from shared.sql.reasoning import BLANK
from shared.sql.tokens import TOKEN

NAME = r"(?:\w++|\"[^\"\n]{1,100}\"|`[^`\n]{1,100}`|\[[^\]\n]{1,100}\])"
# "with" begins many sentences, but a statement only before a table expression.
BEGIN = re.compile(
    rf"\b(?:SELECT\b|WITH\s++(?:RECURSIVE\s++)?{NAME}\s*+(?:\([^()]*+\)\s*+)?AS\b)",
    re.IGNORECASE,
)
# What may precede a statement on its line: marks of lists and quotes, a label, a prompt, an opening quote.
PREFIX_CHARS = 160
PREFIX = re.compile(r"[\s\ufeff\u200b>*#_•–-]*+(?:\(?\d{1,2}[.):])?[\s*_]*+")
OPENING = "\"'`“‘«「"
OTHER = re.compile(
    r"(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|ALTER\s+TABLE|PRAGMA\s+\w|ATTACH\s"
    r"|(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?(?:(?:TEMP|TEMPORARY|UNIQUE|VIRTUAL)\s+)?(?:TABLE|VIEW|INDEX|TRIGGER)"
    r"|VACUUM|EXPLAIN)\b",
    re.IGNORECASE,
)
OPEN_LIST = """
ALL AND AS BETWEEN BY CASE COLLATE CROSS DISTINCT ELSE ESCAPE EXCEPT EXISTS FROM FULL GLOB GROUP HAVING IN INNER
INTERSECT IS JOIN LEFT LIKE LIMIT MATCH MATERIALIZED NATURAL NOT OFFSET ON OR ORDER OUTER OVER PARTITION RECURSIVE
REGEXP RIGHT SELECT THEN UNION USING VALUES WHEN WHERE WINDOW WITH
"""
GOES_ON_LIST = """
AND AS BETWEEN COLLATE CROSS ELSE END EXCEPT FROM FULL GLOB GROUP HAVING IN INNER INTERSECT IS ISNULL JOIN LEFT LIKE
LIMIT MATCH NATURAL NOT NOTNULL OFFSET ON OR ORDER OUTER REGEXP RIGHT THEN UNION USING WHEN WHERE WINDOW
"""
# Words after which a statement is incomplete, and words that can only continue one.
OPEN, GOES_ON = frozenset(OPEN_LIST.split()), frozenset(GOES_ON_LIST.split())
SQL_WORDS = OPEN | GOES_ON | frozenset(("ASC", "DESC", "NULL", "NULLS", "FIRST", "LAST", "CURRENT_DATE", "FILTER"))
JOINS_SELECTS = frozenset(
    ("UNION", "INTERSECT", "EXCEPT", "ALL", "AS", "MATERIALIZED", "EXISTS", "IN", "NOT", "EXPLAIN")
)
OPERATORS = frozenset("=<>!+-*/%|&~,.(")
NO_EXPRESSION = (GOES_ON | {"BY", "SELECT", "WITH"}) - {"NOT", "LEFT", "RIGHT", "GLOB", "LIKE", "MATCH"}
ARTICLES = frozenset(("the", "each", "every", "this", "these", "those", "our", "your", "which"))
STARTER_LIST = """
This The It Its Here Note Notes That These I We You Let If However Also Please Explanation Explanations Hope So Now Then
To For Since Because My Your There Thus Therefore Finally Alternatively Sure Question Answer Of Each Which Only Result
Results Output
"""
STARTERS = frozenset(STARTER_LIST.split())
LINE_CHARS = 240  # examined of a line
MAX_PIECES = 100  # examined after a SELECT
PROSE_LINE = re.compile(
    r"`{3}|~{3}|\*\*|#|={3}|</?[A-Za-z][\w-]*>|[-*•][ \t]+[*`]*[A-Z][a-z']*[ \t,]|\(?\d{1,2}[.)][ \t]+[A-Za-z*`]"
    r"|[*_]*[A-Za-z][\w /-]{0,40}[:：](?:[*_]+|\s|$)"
)
STARTER = re.compile(r"(?P<word>[A-Z][a-z]*)(?:['’]\w+|,)?(?:[ \t]+[\w'’`\"(]|[ \t]*$)")
IN_THIS = re.compile(r"(?:In|From|Where|On|With|As|By|When|Using|And|Or)[ \t]+(?:this|the|that|these|we|you|it|a)\b")
SQL_SIGN = re.compile(r"[=<>(']")
FROM_ARTICLE = re.compile(r"\s+(?:the|each|every|this|these|those|our|your)\s+\w", re.IGNORECASE)
WORDS = re.compile(r"[A-Za-z][\w'’-]*(?:,?[ \t]+|[.,:!?]?$)")
SENTENCE_END = re.compile(r"(?=\s*\Z|\s*\n|[ \t]+[A-Z][a-z]*['’]?[a-z]*[ \t,]+\w)")


def statement_at(text: str, place: int, end: int) -> int | None:
    """The next SELECT or WITH that begins a line, or follows a label or an opening quote."""
    while (found := BEGIN.search(text, place, end)) is not None:
        if begins_line(text, found.start()):
            return found.start()
        place = found.start() + 1
    return None


def begins_line(text: str, place: int) -> bool:
    first = max(0, place - PREFIX_CHARS - 1)
    line = max(text.rfind("\n", first, place), text.rfind(BLANK, first, place)) + 1
    if line == 0 and first > 0:
        return False
    before = text[line:place].rstrip(" \t\f").rstrip(OPENING + "(").rstrip(" \t\f*_")
    return before.endswith((":", "：", ">")) or PREFIX.fullmatch(before) is not None


def is_expression(text: str, begin: int, end: int) -> bool:
    """Whether what follows a SELECT can be SQL, and not a sentence that begins with this word."""
    words = 0
    for count, match in enumerate(TOKEN.finditer(text, begin, end)):
        kind, piece = match.lastgroup, match.group()
        word = piece.upper()
        if count > MAX_PIECES:
            return False
        if kind in ("blank", "comment") or (words == 0 and word in ("(", "SELECT", "DISTINCT", "ALL")):
            continue
        if words == 0 and word == "WITH":
            return True
        if kind != "word":
            stop = piece == "." and text[match.end() : match.end() + 1].strip() == ""
            begins = kind == "quoted" and not piece.startswith("``")
            return (begins or words > 0 or piece in "*(+-~:?@$") and not stop
        if words == 0 and (word in NO_EXPRESSION or piece.lower() in ARTICLES):
            broken = text[begin : begin + 6] == "SELECT" and piece.isupper()  # faulty SQL, not a sentence
            return broken or (piece.lower() in ARTICLES and text[match.end() : match.end() + 1] in (",", ".", "("))
        if word in SQL_WORDS:
            return not (word == "FROM" and FROM_ARTICLE.match(text, match.end(), end))
        words += 1
        if words > 2:
            return False
    return words == 1


def statement_end(text: str, begin: int, end: int, *, delimited: bool) -> int:
    depth = cases = 0
    last = ""
    head = text[begin : begin + 6].lstrip("( ")
    whole = not head.upper().startswith("WITH")  # the SELECT after the table expressions was seen
    fresh = started = broken = False
    for match in TOKEN.finditer(text, begin, end):
        kind, piece, at = match.lastgroup, match.group(), match.start()
        if kind == "comment":
            continue
        complete = (
            depth == 0
            and not broken
            and cases == 0
            and whole
            and started
            and last not in OPEN
            and last not in OPERATORS
        )
        if kind == "blank":
            lines = piece.count("\n")
            if lines > 1 and complete and not delimited and not goes_on(text, match.end(), end, head):
                return at
            fresh = fresh or lines > 0
            continue
        word = piece.upper() if kind == "word" else piece
        if piece in (";", "；"):
            return at
        if fresh and complete and is_prose(text, at, end, delimited=delimited):
            return at
        if started and depth == 0 and not broken and kind == "word" and BEGIN.match(text, at, end) is not None:
            if whole and last not in JOINS_SELECTS and last not in OPERATORS and (word == "WITH" or last not in OPEN):
                return at
            whole = whole or word == "SELECT"
        if complete and not delimited and piece == "." and SENTENCE_END.match(text, match.end(), end):
            return at
        depth += (piece == "(") - (piece == ")")
        broken = broken or depth < 0  # a surplus bracket: what follows is unclear
        cases = max(0, cases + (word == "CASE") - (word == "END"))
        last, started, fresh = word, True, False
    return end


def goes_on(text: str, place: int, end: int, head: str) -> bool:
    """Whether the text after an empty line continues a statement that begins with `head`, by word and case."""
    for match in TOKEN.finditer(text, place, end):
        kind, piece = match.lastgroup, match.group()
        if kind in ("blank", "comment"):
            continue
        if kind != "word":
            return piece in tuple("),=<>|;；")
        if piece.upper() not in GOES_ON:
            return False
        # A keyword written like the statement continues it; any other line has to look like SQL.
        if piece.isupper() or (piece.islower() and not head.isupper()):
            return True
        line = text[match.start() : min(end, match.start() + LINE_CHARS)].partition("\n")[0]
        return SQL_SIGN.search(line) is not None and IN_THIS.match(line) is None
    return False


def is_prose(text: str, at: int, end: int, *, delimited: bool) -> bool:
    stop = text.find("\n", at, min(end, at + LINE_CHARS))
    line = text[at : stop if stop >= 0 else min(end, at + LINE_CHARS)].rstrip()
    if not delimited and (PROSE_LINE.match(line) or IN_THIS.match(line)):
        return True
    if not delimited and (found := STARTER.match(line)) is not None and found["word"] in STARTERS:
        return True
    words = place = 0
    while words < 3 and (found := WORDS.match(line, place)) is not None:
        if found.group().strip(" \t.,:!?").upper() in SQL_WORDS:
            return False
        words, place = words + 1, found.end()
    return words == 3
