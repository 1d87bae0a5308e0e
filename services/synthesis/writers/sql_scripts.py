"""Reads DDL and inserts out of a model's text: splits it into statements and puts other dialects' words into SQLite's.

It only changes what is safe to change: words that SQLite would refuse or misread and whose meaning is plain. The
sandbox refuses the rest.
"""

import re

from shared.contracts.records import DatabaseScript
from shared.sql.tokens import COMMENT, OPAQUE, QUOTED, tokens

# What splits a script: ends of statements, brackets, and words that can begin a statement at the start of a line.
MARK = re.compile(
    r"(?:\A|(?<=\n))(?:[ \t\f\r\ufeff]|/\*(?:(?!\*/).)*\*/)*"
    r"(?P<word>(?:CREATE|INSERT|REPLACE|DROP|ALTER|USE|SET|PRAGMA|BEGIN|COMMIT|DELETE)\b)"
    rf"|{COMMENT}|{QUOTED}|(?P<end>;)|(?P<bracket>[()])",
    re.IGNORECASE | re.DOTALL,
)
NEAR = 200  # characters before a word that are looked at
LETTER = re.compile(r"[^\W\d_]")
CREATE = re.compile(r"CREATE\s+(?:(?:TEMP|TEMPORARY)\s+)?TABLE\b|CREATE\s+(?:UNIQUE\s+)?INDEX\b", re.IGNORECASE)
CREATE_TABLE = re.compile(r"CREATE\s+(?:(?:TEMP|TEMPORARY)\s+)?TABLE\b", re.IGNORECASE)
INSERT = re.compile(r"(?:INSERT|REPLACE)\b", re.IGNORECASE)
FENCE_LINE = re.compile(r"^[^\S\n]*(?:```|~~~).*$", re.MULTILINE)
ESCAPED_QUOTE = re.compile(r"\\'")
TRAILING_COMMA = re.compile(r",(\s*)(?=\)|\Z)")
TABLE_OPTIONS = re.compile(
    r"\)\s*+(?:(?:ENGINE|AUTO_INCREMENT|DEFAULT\s+CHARSET|DEFAULT\s+CHARACTER\s+SET|CHARSET|CHARACTER\s+SET|COLLATE|"
    r"ROW_FORMAT|COMMENT|TABLESPACE)\b\s*+=?\s*+(?:'[^']*+'|[\w-]++)\s*+,?\s*+)++\Z",
    re.IGNORECASE,
)
BLANKS = r"(?<!\s)\s++"  # matches at the first blank only
BEGIN_INSIDE = re.compile(r"\n[^\S\n]*+(?:INSERT|CREATE)\b", re.IGNORECASE)
# (pattern, replacement) for stretches of DDL outside quotes, in this order.
WHOLE = r"\b(?:BIG|SMALL|MEDIUM|TINY)?INT(?:EGER)?(?:\s*\(\s*\d+\s*\))?(?:\s+UNSIGNED)?"
COUNTED = (
    r"(?:AUTO_INCREMENT|IDENTITY(?:\s*\(\s*\d+\s*,\s*\d+\s*\))?|GENERATED\s+(?:ALWAYS|BY\s+DEFAULT)\s+AS\s+IDENTITY)"
)
DDL_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # a key that counts by itself is INTEGER in SQLite, and nothing else
        (rf"{WHOLE}(?:\s+NOT\s+NULL)?\s+{COUNTED}(?:\s+NOT\s+NULL)?", "INTEGER"),
        (rf"{WHOLE}(?:\s+NOT\s+NULL)?(\s+PRIMARY\s+KEY)\s+{COUNTED}", r"INTEGER\1"),
        (r"\bINT(\s+PRIMARY\s+KEY)\s+AUTOINCREMENT", r"INTEGER\1"),
        (r"(?<!^)(?<=\s)(?:BIG|SMALL)?SERIAL\b(?=\s*(?:,|\)|NOT|PRIMARY))(?:\s+NOT\s+NULL)?", "INTEGER"),
        (rf"{BLANKS}ON\s+UPDATE\s+(?:CURRENT_TIMESTAMP|NOW)(?:\s*\(\s*\))?", ""),
        (rf"{BLANKS}CHARACTER\s+SET\s+\w+", ""),
        (rf"{BLANKS}COLLATE\s+utf8\w*", ""),
        (r"\bDEFAULT\s+(?:NOW|GETDATE|CURRENT_TIMESTAMP|SYSDATE)\s*\(\s*\)", "DEFAULT CURRENT_TIMESTAMP"),
    )
)
# MySQL's UNIQUE KEY name (columns); SQLite takes no name there.
UNIQUE_KEY = re.compile(r"\bUNIQUE\s+(?:KEY|INDEX)\s+[`\"]?\w+[`\"]?\s*(?=\()", re.IGNORECASE)
ENUM = re.compile(r"\b(?:ENUM|SET)\s*\(\s*'(?:[^']|'')*'(?:\s*,\s*'(?:[^']|'')*')*\s*\)", re.IGNORECASE)
COLUMN_COMMENT = re.compile(rf"{BLANKS}COMMENT\s+'(?:[^']|'')*'", re.IGNORECASE)
# MySQL's indexes inside CREATE TABLE.
KEY_LINE = re.compile(
    r",\s*(?:FULLTEXT\s+|SPATIAL\s+)?(?:KEY|INDEX)\s+[`\"]?\w+[`\"]?\s*\(\s*+(?!\d)[^()]*+\)", re.IGNORECASE
)
INSERT_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"^(\s*)INSERT\s+IGNORE\b", r"\1INSERT OR IGNORE"),
        (r"^(\s*INSERT)\s+(?!INTO\b|OR\b)(?=[\w`\"\[]+\s*(?:\(|VALUES))", r"\1 INTO "),
        (r"\b(?:NOW|GETDATE|SYSDATE|CURDATE|CURRENT_DATE|CURRENT_TIMESTAMP)\s*\(\s*\)", "CURRENT_TIMESTAMP"),
        (r"\b(?:DATE|TIMESTAMP|DATETIME|TIME)\s*(?=\Z)", ""),
    )
)


def read_script(text: str) -> DatabaseScript:
    """The CREATE TABLE, CREATE INDEX and INSERT statements of a text, in SQLite's words, and nothing else."""
    ddl: list[str] = []
    inserts: list[str] = []
    for statement in split_statements(repair_quotes(FENCE_LINE.sub("", text))):
        if CREATE.match(statement):
            ddl.append(clean_ddl(statement))
        elif INSERT.match(statement):
            inserts.append(clean_insert(statement))
    return DatabaseScript(ddl=ddl, inserts=inserts)


def creates_table(script: DatabaseScript) -> bool:
    return any(CREATE_TABLE.match(statement) for statement in script.ddl)


def repair_quotes(text: str) -> str:
    """Doubles quotes that are escaped with a backslash, unless SQLite reads the text as it is.

    If a literal never ends, or holds the beginning of a statement, SQLite reads something else than the model meant.
    """
    if "\\'" not in text:
        return text
    doubled = ESCAPED_QUOTE.sub("''", text)
    return doubled if ends_open(text) and not ends_open(doubled) else text


def ends_open(text: str) -> bool:
    """Whether a literal is still open at the end of the text, or a statement begins inside one."""
    for kind, piece in tokens(text):
        if kind != "quoted" or piece[0] != "'":
            continue
        if len(piece) < 2 or not piece.endswith("'") or BEGIN_INSIDE.search(piece):
            return True
    return False


def split_statements(text: str) -> list[str]:
    """Statements without leading comments.

    A statement ends at a semicolon outside quotes and comments. It also ends before a word that begins a statement at
    the start of a line outside brackets, because models forget semicolons.
    """
    parts: list[str] = []
    begin = depth = 0
    for mark in MARK.finditer(text):
        kind, place = mark.lastgroup, mark.start("word")
        if kind == "end":
            parts.append(text[begin : mark.start()])
            # A semicolon ends the statement even if a bracket is still open.
            begin, depth = mark.end(), 0
        elif kind == "bracket":
            # A stray closing bracket must not hide the statements after it.
            depth = max(0, depth + (1 if mark.group() == "(" else -1))
        elif kind == "word" and depth == 0 and place > begin:
            before = text[max(begin, place - NEAR) : place].upper().rstrip()
            if not before.endswith((" ON", " OR", "\nON", "\nOR")):  # as in ON DELETE and OR REPLACE
                parts.append(text[begin:place])
                begin = place
    return [one for one in map(strip_leading_comments, [*parts, text[begin:]]) if one]


def strip_leading_comments(part: str) -> str:
    place = 0
    for kind, piece in tokens(part):
        if kind not in ("blank", "comment"):
            break
        place += len(piece)
    return part[place:].strip()


def apply_rules_outside_quotes(sql: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    parts: list[str] = []
    begin = 0
    for match in OPAQUE.finditer(sql):
        if match.lastgroup == "quoted":
            parts += [apply_rules(sql[begin : match.start()], rules), match.group()]
            begin = match.end()
    return "".join([*parts, apply_rules(sql[begin:], rules)])


def apply_rules(plain: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    if LETTER.search(plain):  # most stretches between two values have none
        for pattern, replacement in rules:
            plain = pattern.sub(replacement, plain)
    return plain


def clean_ddl(sql: str) -> str:
    # MySQL's words first, on the whole statement: some hold quotes, which the rules below skip.
    sql = UNIQUE_KEY.sub("UNIQUE ", sql)
    sql = KEY_LINE.sub("", COLUMN_COMMENT.sub("", ENUM.sub("TEXT", TABLE_OPTIONS.sub(")", sql.strip()))))
    return apply_rules_outside_quotes(TRAILING_COMMA.sub(r"\1", sql), DDL_WORDS)


def clean_insert(sql: str) -> str:
    # Models leave a comma after the last row.
    return apply_rules_outside_quotes(sql.strip().rstrip(",").rstrip(), INSERT_WORDS)
