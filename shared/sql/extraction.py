"""Extracts SQL from a model's answer, for every model and stage. An answer without SQL is a result of its own, never a
guess.

Delimited text is read by its delimiter; rules for prose apply to prose only. The order: reasoning and control tokens
are blanked (`shared.sql.reasoning`); JSON with a key for SQL; tags such as `<sql>` and `<answer>`; code fences of SQL
or of no language; a statement that begins a line; fences of other languages; a statement inside a sentence. Of several
of a kind the first one counts, or the last for answers that reason first.
"""

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from shared.sql.reasoning import blank_reasoning
from shared.sql.statement import BEGIN, OPENING, OTHER, begins_line, is_expression, statement_at, statement_end
from shared.sql.tokens import CLOSED, TOKEN

MAX_ANSWER_CHARS = 2_000_000  # of an answer with its reasoning; a longer one has no SQL
MAX_CHARS = 262_144  # of the answer without its reasoning
DEEPEST = 4  # nested containers
MAX_CONTAINERS = 256  # in one stretch; the rest is not read
SQL_KEYS = (
    "sql", "sql_query", "sqlquery", "final_sql", "predicted_sql", "generated_sql", "gold_sql", "sqlite", "sql_code",
    "sql_statement", "query", "statement", "final_answer", "answer", "solution", "result", "response", "output", "code",
    "content", "text",
)  # fmt: skip
OBJECT = re.compile(r"[{\[]\s*+[\"'{]")
LOOSE_KEY = re.compile(rf"[\"'](?:{'|'.join(SQL_KEYS)})[\"']\s*+:\s*+(?P<quote>\"{{3}}|'{{3}}|[\"'`])", re.IGNORECASE)
ESCAPE = re.compile(r"\\([nrt\"'\\/`])")
ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
LOOSE_END = re.compile(r"\s*+(?:[,}\]]|\Z)")
TAGS = "sql|sqlite|sql_query|query|answer|final_answer|final|solution|response|output|result|code"
CONTAINER = re.compile(
    rf"(?P<fence>`{{3,}}+|~{{3,}}+)|<(?P<tag>{TAGS})(?:\s[^<>\n]{{0,80}})?>|\[(?P<bracket>SQL|ANSWER)\]", re.IGNORECASE
)
INFO = re.compile(r"[ \t]*+\{?\.?(?P<language>[A-Za-z][\w+#.-]{0,20})?\}?(?P<rest>[^\n`]*+)(?P<line>\n|\Z)?")
INLINE_LANGUAGE = re.compile(r"[ \t]*+(?P<language>[A-Za-z][\w+#.-]{0,20})(?=\s)")
SQL_LANGUAGES = frozenset(
    ("sql", "sqlite", "sqlite3", "mysql", "postgres", "postgresql", "pgsql", "psql", "plsql", "tsql", "t-sql", "mssql",
     "duckdb", "bigquery", "snowflake", "mariadb", "oracle", "ansi-sql", "plpgsql")
)  # fmt: skip
NO_LANGUAGES = frozenset(
    ("", "text", "txt", "plaintext", "plain", "code", "query", "answer", "output", "markdown", "md", "json", "jsonc",
     "json5", "xml", "html", "none", "console")
)  # fmt: skip
FORMS = frozenset(("markdown", "md", "xml", "html", "json", "jsonc", "json5"))
SQL_LINE = re.compile(r"[ \t]*+(?:sqlite|sql)[ \t]*+\r?\n", re.IGNORECASE)
ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|#\d{1,4});")
LINE_MARK = re.compile(r"^[ \t]*>[ \t]?", re.MULTILINE)
CLOSING = {"“": "”", "‘": "’", "«": "»", "「": "」"}
LABEL = re.compile(r"[\s>*#_-]*+(?:[\w \t/-]{0,40}+[:：])?[\s*_]*+(?:sqlite>)?\s*+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundSql:
    """A statement in an answer; `begin` is its place there (for JSON, the object's).

    `rest` is what a closed container holds beside it, without comments; `closed`: a semicolon or the container's end
    ended it; `strict`: it stands where a statement begins, not inside a sentence.
    """

    sql: str
    begin: int
    rest: str = ""
    closed: bool = False
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Container:
    """A fence or a tag: the stretch between its marks, and where the text after it begins."""

    kind: str
    begin: int
    end: int
    after: int
    closed: bool
    language: str = ""
    indent: str = ""


def find_sql(answer: str, *, last: bool = False, delimited: bool = False) -> FoundSql | None:
    """None without a statement, or for an answer that is too long.

    `delimited`: a form around the answer (JSON's quotes) already marks its beginning and end.
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return None
    visible = blank_reasoning(answer).rstrip()
    if len(visible) - len(visible.lstrip()) + MAX_CHARS < len(visible):
        return None
    if delimited and first_statement(visible, 0, len(visible)) is not None:
        return read_delimited(visible, 0, len(visible), True)
    return read_stretch(visible, len(visible) - len(visible.lstrip()), len(visible), last)


def extract_sql(answer: str, *, last: bool = False) -> str | None:
    """Like `find_sql`, for the text alone, without its semicolon."""
    found = find_sql(answer, last=last)
    return found.sql if found else None


def sql_start(answer: str, *, last: bool = False) -> int | None:
    found = find_sql(answer, last=last)
    return found.begin if found else None


def read_stretch(text: str, begin: int, end: int, last: bool, depth: int = 0) -> FoundSql | None:
    """Like `find_sql`, for a stretch of a text whose reasoning is blanked."""
    # Without quotes there is no JSON, whose escapes could hide a statement.
    if BEGIN.search(text, begin, end) is None and '"' not in text[begin:end] and "'" not in text[begin:end]:
        return None
    if depth < DEEPEST:
        if (found := read_json(text, begin, end, last, depth)) is not None:
            return found
        tags, fences, others = read_containers(text, begin, end, last, depth)
        if chosen := tags or fences:
            return chosen[-1 if last else 0]
    else:
        others = []
    # A CREATE … AS SELECT is skipped, not read for the SELECT in it (decision 0025).
    if is_other_kind(text, begin, end) and first_statement(text, begin, end) is None:
        return None
    if (found := read_prose(text, begin, end, last, statement_at)) is not None:
        return found
    if others:
        return others[-1 if last else 0]
    return read_prose(text, begin, end, last, sentence_at)


# Containers


def read_containers(
    text: str, begin: int, end: int, last: bool, depth: int
) -> tuple[list[FoundSql], list[FoundSql], list[FoundSql]]:
    # The others count only if neither tags, fences nor a line of the text hold SQL.
    tags, fences, others = list[FoundSql](), list[FoundSql](), list[FoundSql]()
    for one in containers(text, begin, end):
        if (found := read_container(text, one, last, depth)) is None:
            continue
        if one.kind == "tag":
            tags.append(found)
        elif found.strict and (one.language in SQL_LANGUAGES or one.language in NO_LANGUAGES):
            fences.append(found)
        else:
            (fences if one.language in SQL_LANGUAGES else others).append(found)
    return tags, fences, others


def containers(text: str, begin: int, end: int) -> Iterator[Container]:
    count = 0
    unclosed: set[str] = set()
    while count < MAX_CONTAINERS and (mark := CONTAINER.search(text, begin, end)) is not None:
        count += 1
        kind = mark.lastgroup or ""
        if kind != "fence":
            name = mark[kind].lower()
            closing = f"</{name}>" if kind == "tag" else f"[/{name}]"
            place = None if closing in unclosed else find_folded(text, closing, mark.end(), end)
            begin = mark.end()
            if place is not None:
                begin = place + len(closing)
                yield Container("tag", mark.end(), place, begin, True)
            elif not unclosed:  # reaches to the end; further unclosed tags lie inside it
                yield Container("tag", mark.end(), end, end, False)
            if place is None:
                unclosed.add(closing)
        elif mark["fence"][0] == "~" and not begins_line(text, mark.start()):
            begin = mark.end()
        else:
            one = fence(text, mark, end)
            yield one
            begin = one.after


def find_folded(text: str, wanted: str, begin: int, end: int) -> int | None:
    found = re.compile(re.escape(wanted), re.IGNORECASE).search(text, begin, end)
    return found.start() if found else None


def fence(text: str, mark: re.Match[str], end: int) -> Container:
    run = mark["fence"]
    info = INFO.match(text, mark.end(), end)
    language, begin = "", mark.end()
    # The first line names a language, unless SQL begins on it.
    if info is not None and info["line"] is not None and BEGIN.search(info["rest"]) is None:
        word = info["language"] or ""
        if BEGIN.match(word) is None:
            language, begin = word.lower(), info.end()
    elif (word_only := INLINE_LANGUAGE.match(text, mark.end(), end)) is not None and word_only[
        "language"
    ].lower() in SQL_LANGUAGES | NO_LANGUAGES:
        language, begin = word_only["language"].lower(), word_only.end()
    line = text.rfind("\n", max(0, mark.start() - 40), mark.start()) + 1
    indent = text[line : mark.start()] if mark.start() - line <= 40 else ""
    stop, after, closed = fence_end(text, begin, end, run)
    return Container("fence", begin, stop, after, closed, language, indent if not indent.strip(" \t>") else "")


def fence_end(text: str, begin: int, end: int, run: str, depth: int = 0) -> tuple[int, int, bool]:
    """Where a fence's content ends, where the text after it begins, and whether the fence was closed.

    A line of the fence's characters closes it, and so does a run of them after SQL; but not inside a literal of a
    statement, if the literal is closed and no other fence opens in it.
    """
    sign, least = run[0], len(run)
    mark = re.compile(rf"{re.escape(sign)}{{{least},}}+")
    nearest = mark.search(text, begin, end)
    if nearest is None:
        return end, end, False
    if depth < DEEPEST and (place := nested_end(text, begin, end, nearest, run, depth)) is not None:
        return place
    statement = statement_at(text, begin, nearest.start())
    quoted = statement is not None and re.search(r"['\"\[-]|/\*", text[statement : nearest.start()]) is not None
    literals = CLOSED.finditer(text, statement, end) if statement is not None and quoted else iter(())
    literal = next(literals, None)
    found: re.Match[str] | None = nearest
    tries = 0
    while found is not None and tries < 16:
        while literal is not None and literal.end() <= found.start():
            literal = next(literals, None)
        inside = literal is not None and literal.lastgroup == "quoted" and literal.start() < found.start()
        if not inside or (literal is not None and opens_in(literal, sign)):
            return found.start(), found.end(), True
        tries += 1
        found = mark.search(text, literal.end() if literal is not None else found.end(), end)
    return nearest.start(), nearest.end(), True


def opens_in(literal: re.Match[str], sign: str) -> bool:
    """Whether a seeming literal spans the end of one fence and the beginning of another, or is in backticks."""
    text = literal.group()
    return (
        text[0] == "`" or re.search(rf"(?<!{re.escape(sign)}){re.escape(sign)}{{3,}}+[ \t]*+[A-Za-z]", text) is not None
    )


def nested_end(
    text: str, begin: int, end: int, nearest: re.Match[str], run: str, depth: int
) -> tuple[int, int, bool] | None:
    """The end of a fence that contains another fence marked as SQL; None if it contains none."""
    if SQL_LINE.match(text, nearest.end(), end) is None:
        return None
    if statement_at(text, begin, nearest.start()) is not None:
        return nearest.start(), nearest.start(), False  # the fence before was never closed
    inner = fence_end(text, nearest.end(), end, run, depth + 1)
    outer = re.compile(rf"{re.escape(run[0])}{{{len(run)},}}+").search(text, inner[1], end) if inner[2] else None
    if outer is None or text[inner[1] : outer.start()].strip():
        return inner[1], inner[1], True
    return outer.start(), outer.end(), True


def read_container(text: str, one: Container, last: bool, depth: int) -> FoundSql | None:
    begin, end = one.begin, one.end
    if one.kind == "tag" and not one.closed:  # containers inside it are found separately
        return read_delimited(text, begin, end, False)
    stripped = text[begin:end].strip()
    if stripped.startswith("<![CDATA["):
        begin = text.index("<![CDATA[", begin) + 9
        close = text.find("]]>", begin, end)
        end = close if close >= 0 else end
    forms = one.kind == "tag" or one.language in FORMS
    held = CONTAINER.search(text, begin, end) is not None
    if stripped.startswith(("{", "[")) or (held and (forms or first_statement(text, begin, end) is None)):
        found = read_stretch(text, begin, end, last, depth + 1)
    else:
        found = None
    return found or read_delimited(*plain_content(text, begin, end, one), one.closed)


def plain_content(text: str, begin: int, end: int, one: Container) -> tuple[str, int, int]:
    """A container's stretch without what its form adds: marks of quoted lines, indentation, entities.

    If there are any, the returned text is another one, in which everything before the stretch is blank.
    """
    content = text[begin:end]
    if ">" in one.indent:
        plain = LINE_MARK.sub("", content)
    elif one.indent:
        plain = re.sub(rf"(?m)^[ \t]{{1,{len(one.indent)}}}", "", content)
    elif one.kind == "tag" and ENTITY.search(content):
        plain = html.unescape(content)
    else:
        return text, begin, end
    return " " * begin + plain, begin, begin + len(plain)


def read_delimited(text: str, begin: int, end: int, closed: bool) -> FoundSql | None:
    place, strict = first_statement(text, begin, end), True
    if place is None and is_other_kind(text, begin, end):
        return None
    if place is None:
        place = statement_at(text, begin, end)
        if place is not None and not is_expression(text, place, end):
            place = None
    if place is None:
        place, strict = sentence_at(text, begin, end), False
    if place is None:
        return None
    if (quoted := quoted_end(text, begin, place, end)) is not None:
        return found_between(text, place, quoted, quoted, True, "", strict)
    stop = statement_end(text, place, end, delimited=closed)
    before = significant(text[begin:place]) if closed else ""
    rest = f"{'' if LABEL.fullmatch(before) else before} {significant(text[stop:end])}".strip() if closed else ""
    ended = closed or text[stop : stop + 1] in (";", "；")
    return found_between(text, place, stop, end, ended, rest, strict)


def first_statement(text: str, begin: int, end: int) -> int | None:
    """Where the first SELECT or WITH begins a statement; statements of other kinds before it are skipped."""
    fresh = True
    for match in TOKEN.finditer(text, begin, end):
        kind, piece = match.lastgroup, match.group()
        if kind in ("blank", "comment"):
            continue
        if piece in (";", "；"):
            fresh = True
        elif fresh:
            opened = re.compile(r"[(\s]*").match(text, match.start(), end)
            place = opened.end() if opened else match.start()
            if BEGIN.match(text, place, end) is not None and is_expression(text, place, end):
                return match.start()
            if OTHER.match(text, match.start(), end) is None:
                return None
            if piece.upper() == "EXPLAIN":
                found = BEGIN.search(text, match.end(), end)
                return found.start() if found else None
            fresh = False
    return None


def is_other_kind(text: str, begin: int, end: int) -> bool:
    for match in TOKEN.finditer(text, begin, end):
        if match.lastgroup not in ("blank", "comment"):
            word = match.group()
            # `Update the …` with a capital letter begins a sentence.
            return (word.isupper() or word.islower()) and OTHER.match(text, match.start(), end) is not None
    return False


def significant(text: str) -> str:
    if not text.strip():
        return ""
    pieces = (match.group() for match in TOKEN.finditer(text) if match.lastgroup not in ("blank", "comment"))
    return " ".join(piece for piece in pieces if piece not in (";", "；"))[:200]


# Prose


def sentence_at(text: str, begin: int, end: int) -> int | None:
    tries = 0
    while tries < 64 and (found := BEGIN.search(text, begin, end)) is not None:
        if is_expression(text, found.start(), end):
            return found.start()
        begin, tries = found.end(), tries + 1
    return None


def read_prose(
    text: str, begin: int, end: int, last: bool, find: Callable[[str, int, int], int | None]
) -> FoundSql | None:
    best: FoundSql | None = None
    while (place := find(text, begin, end)) is not None:
        opened = place
        while opened > 0 and text[opened - 1] == "(":
            opened -= 1
        if (quoted := quoted_end(text, max(0, place - 200), place, end)) is not None:
            found, stop = found_between(text, place, quoted, quoted, True, "", find is statement_at), quoted
        else:
            stop = statement_end(text, opened, end, delimited=False)
            ended = text[stop : stop + 1] in (";", "；")
            found = found_between(text, opened, stop, end, ended, "", find is statement_at)
        if found is not None and is_expression(text, place, stop):
            best = found
            if not last:
                return best
        begin = max(stop, place + 6)
    return best


def quoted_end(text: str, begin: int, place: int, end: int) -> int | None:
    before = text[begin:place].rstrip(" \t\n")
    if not before or before[-1] not in OPENING:
        return None
    sign = before[-1]
    if sign in CLOSING:
        found = text.find(CLOSING[sign], place, end)
        return found if found >= 0 else None
    if before.endswith(sign * 3):
        found = text.find(sign * 3, place, end)
        return found if found >= 0 else None
    close, tries = text.find(sign, place, end), 0
    while close >= 0 and tries < 64:
        behind = text[close + 1 : close + 2]
        # An even number of the same sign before it: the literals inside are closed.
        if (not behind or behind in " \t\n\r.,;:!?)]}*") and text.count(sign, place, close) % 2 == 0:
            return close
        close, tries = text.find(sign, close + 1, end), tries + 1
    return None


def found_between(text: str, begin: int, stop: int, end: int, closed: bool, rest: str, strict: bool) -> FoundSql | None:
    sql = text[begin:stop].strip().rstrip(";；").rstrip()
    while sql.startswith("(") and (inner := unwrapped(sql)) is not None:
        sql = inner
    # The shortest statement is `SELECT 1`.
    if BEGIN.match(sql.lstrip("( \t\n")) is None or len(sql) < 8:
        return None
    return FoundSql(sql, begin, rest, closed, strict)


def unwrapped(sql: str) -> str | None:
    depth = 0
    for match in TOKEN.finditer(sql):
        piece = match.group()
        depth += (piece == "(") - (piece == ")")
        if depth == 0:
            return sql[1 : match.start()].strip() if match.end() == len(sql) and piece == ")" else None
    return None


# JSON


def read_json(text: str, begin: int, end: int, last: bool, depth: int) -> FoundSql | None:
    """The statement under a key for SQL, in an object that comes before any bare statement."""
    stretch = text[begin:end]
    bare = stretch.strip()
    if len(bare) > 8 and bare[0] == bare[-1] == '"' and BEGIN.match(bare[1:].lstrip()):
        try:
            decoded = json.loads(bare, strict=False)
        except ValueError:
            decoded = None
        return read_inner(decoded, begin, last, depth) if isinstance(decoded, str) and "\\" in bare else None
    first = statement_at(stretch, 0, len(stretch))
    place = 0
    for _ in range(8):
        found = OBJECT.search(stretch, place)
        if found is None or (first is not None and first < found.start()):
            return None
        try:
            value, place = json.JSONDecoder(strict=False).raw_decode(stretch, found.start())
            decoded = sql_of(value, last)
        except (ValueError, RecursionError):
            decoded, place = loose_sql(stretch, found.start()), found.end()
        if decoded is not None and (read := read_inner(decoded, begin + found.start(), last, depth)) is not None:
            return read
    return None


def read_inner(decoded: str | None, begin: int, last: bool, depth: int) -> FoundSql | None:
    found = read_stretch(decoded, 0, len(decoded), last, depth + 1) if decoded else None
    if found is None or decoded is None:
        return None
    whole = (
        read_delimited(decoded, 0, len(decoded), True)
        if first_statement(decoded, 0, len(decoded)) is not None
        else None
    )
    return replace(whole or found, begin=begin, closed=True)


def sql_of(value: object, last: bool, depth: int = 0) -> str | None:
    if depth > 8:
        return None
    if isinstance(value, str):
        return value if BEGIN.search(value) else None
    if isinstance(value, list):
        parts = [found for one in value[:100] if (found := sql_of(one, last, depth + 1)) is not None]
        return parts[-1 if last else 0] if parts else None
    if not isinstance(value, dict):
        return None
    named = {str(key).strip().lower().replace(" ", "_").replace("-", "_"): one for key, one in value.items()}
    for key in SQL_KEYS:
        if key in named and (found := sql_of(named[key], last, depth + 1)) is not None:
            return found
    # An unknown key is accepted if it is the only one.
    if len(named) == 1:
        return sql_of(next(iter(named.values())), last, depth + 1)
    return None


def loose_sql(text: str, begin: int) -> str | None:
    """The string under a key for SQL in invalid JSON: cut off, with Python's quotes, or with bare quotes inside."""
    key = LOOSE_KEY.search(text, begin)
    if key is None:
        return None
    quote, place = key["quote"], key.end()
    close, tries = text.find(quote, place), 0
    while close >= 0 and tries < 256:
        # An odd number of backslashes escapes the quote. Only a bounded stretch is counted.
        slashes = len(text[max(0, close - 16) : close]) - len(text[max(0, close - 16) : close].rstrip("\\"))
        if slashes % 2 == 0 and LOOSE_END.match(text, close + len(quote)):
            break
        close, tries = text.find(quote, close + 1), tries + 1
    raw = text[place : close if close >= 0 and tries < 256 else len(text)]
    return ESCAPE.sub(lambda one: ESCAPED.get(one[1], one[1]), raw)
