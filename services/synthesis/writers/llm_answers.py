"""Reads a strong model's answer into an example: tolerant of layout, strict about missing sections.

The sections of an answer (domain, schema, question, answer) come as headings or as one JSON object.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.synthesis.writers.sql_scripts import FENCE_LINE, creates_table, read_script
from shared.contracts.records import DatabaseScript
from shared.sql.completion import extract_reasoning
from shared.sql.extraction import find_sql, sql_start
from shared.sql.reasoning import BLANK, blank_reasoning

Reason = Literal[
    "answer_empty", "answer_refused", "answer_cut_off", "answer_without_domain", "answer_without_schema",
    "answer_without_question", "answer_without_sql", "answer_with_more",
]  # fmt: skip
MISSING_REASONS: dict[str, Reason] = {
    "domain": "answer_without_domain",
    "schema": "answer_without_schema",
    "question": "answer_without_question",
    "answer": "answer_without_sql",
}
REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)"
    r"|I (?:can(?:no|')t|cannot|won't) (?:help|assist|do|create|comply|provide)|as an AI\b)",
    re.IGNORECASE,
)
# What models write where no external knowledge is needed.
NO_EVIDENCE = re.compile(
    r"[\s*_`]*+(?:none|n/?a|null|nil|not (?:needed|required)"
    r"|no(?:ne)?(?: external)?(?: knowledge| evidence)?(?: is)? (?:needed|required)|-+)?[\s.*_`]*",
    re.IGNORECASE,
)
WRAPPERS = "\"'“”`*_ \t\n"
DOMAIN_CHARS = 80
QUESTION_CHARS = 2000


class AnswerError(ValueError):
    """The answer holds no example: `reason` is its code, the message a sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """An example as the model wrote it. `script` is None for a user database."""

    domain: str
    script: DatabaseScript | None
    question: str
    sql: str
    evidence: str | None = None
    reasoning: str | None = None


def parse_answer(text: str, *, for_user_database: bool = False, finish_reason: str = "stop") -> ParsedAnswer:
    """The example in an answer. Answers for a user database have no domain and no schema. Raises `AnswerError`."""
    visible = blank_reasoning(text).replace(BLANK, " ")
    if not visible.strip():
        if finish_reason == "length":
            raise AnswerError(
                "answer_cut_off", "the answer ended inside its thoughts, before any part of it: raise strong.max_tokens"
            )
        raise AnswerError("answer_empty", "the answer is empty")
    json_sections = read_json_sections(visible)
    sections = json_sections or split_sections(visible)
    fill_missing_sections(sections, visible)
    check_sections(sections, visible, for_user_database, finish_reason)
    # JSON's quotes already mark where the SQL begins and ends.
    sql = read_answer_sql(sections["answer"], finish_reason, delimited=json_sections is not None)
    script = None
    if not for_user_database:
        script = read_script(sections["schema"])
        if not creates_table(script):  # a schema without rows passes: the build fills it
            raise AnswerError("answer_without_schema", "the schema part holds no CREATE TABLE statement")
    question = one_line(FENCE_LINE.sub("", sections["question"]))
    if not question or len(question) > QUESTION_CHARS:
        raise AnswerError("answer_without_question", "the question part is empty or no question")
    evidence = sections.get("evidence", "")
    return ParsedAnswer(
        domain=one_line(sections.get("domain", "").strip().split("\n")[0]).rstrip(".")[:DOMAIN_CHARS],
        script=script,
        question=question,
        sql=sql,
        evidence=None if NO_EVIDENCE.fullmatch(evidence) else one_line(FENCE_LINE.sub("", evidence)) or None,
        reasoning=one_line(FENCE_LINE.sub("", sections.get("reasoning", "")))
        or extract_reasoning(sections["answer"])
        or None,
    )


def fill_missing_sections(sections: dict[str, str], text: str) -> None:
    """Fills sections that have no heading but stand where a reader would look for them."""
    if "answer" not in sections and "question" in sections and (begin := sql_start(sections["question"])) is not None:
        # The fence in front of the SQL belongs to the answer.
        fence = sections["question"].rfind("```", 0, begin)
        place = fence if fence >= 0 else begin
        sections["answer"], sections["question"] = sections["question"][place:], sections["question"][:place]
    if "schema" not in sections and (place := text.upper().find("CREATE TABLE")) >= 0:
        sections["schema"] = text[place:]
    if "rows" in sections and "schema" in sections:
        # The semicolon ends a last CREATE statement that has none.
        sections["schema"] = f"{sections['schema']}\n;\n{sections['rows']}"


def check_sections(sections: dict[str, str], text: str, for_user_database: bool, finish_reason: str) -> None:
    """Raises `AnswerError` for a missing section, with the most telling reason."""
    required = ("question", "answer") if for_user_database else ("domain", "schema", "question", "answer")
    missing = [name for name in required if not sections.get(name, "").strip()]
    if not missing:
        return
    # A cut answer lacks its last parts for that reason alone, so this cause comes first.
    if finish_reason == "length":
        raise AnswerError("answer_cut_off", f"the answer ended before its {missing[0]} part: raise strong.max_tokens")
    if len(missing) == len(required) and REFUSAL.search(text):
        raise AnswerError("answer_refused", "the model declined to write an example")
    raise AnswerError(MISSING_REASONS[missing[0]], f"the answer lacks {', '.join(missing)}")


def read_answer_sql(answer: str, finish_reason: str, *, delimited: bool) -> str:
    """The statement of the answer section; its fence may hold nothing else but comments."""
    reading = find_sql(answer, delimited=delimited)
    if reading is None:
        raise AnswerError("answer_without_sql", "the answer part holds no SELECT statement")
    if finish_reason == "length" and not reading.closed:
        raise AnswerError("answer_cut_off", "the answer ends in the middle of its SQL: raise strong.max_tokens")
    if reading.rest:
        raise AnswerError(
            "answer_with_more", f"the answer's fence holds more than one statement: {reading.rest[:80]!r} is left over"
        )
    return reading.sql


def one_line(text: str) -> str:
    """The text on one line, without bold marks and without quotes around the whole."""
    line = " ".join(text.replace("**", "").split())
    begin, end = 0, len(line)
    while end - begin > 1 and line[begin] in WRAPPERS and line[end - 1] in WRAPPERS:
        begin, end = begin + 1, end - 1
        while begin < end and line[begin] == " ":
            begin += 1
        while begin < end and line[end - 1] == " ":
            end -= 1
    return line[begin:end].strip("*_ ")


# ---- sections under headings ----

WORDS_OF_SECTIONS = {
    "domain": "domain topic",
    "schema": "schema ddl tables database",
    "rows": "data rows inserts records",
    "question": "question",
    "evidence": "evidence knowledge",
    "reasoning": "reasoning rationale",
    "explanation": "explanation note notes",
    "answer": "answer sql query solution",
}
SECTION_NAMES = {word: name for name, words in WORDS_OF_SECTIONS.items() for word in words.split()}
WORDS = (
    r"(?:(?:the|new|database|sqlite|sql|sample|example|insert|natural[- ]language|nl|user|external|final|table|gold)"
    r"\s+){0,3}"
    r"(?P<name>domain|topic|schema|ddl|tables|database|data|rows|inserts|records|question|evidence|knowledge|reasoning|"
    r"rationale|explanation|answer|sql|query|solution|notes?)(?:\s+(?:statements?|definition|query|description))?"
)
# Possessive quantifiers: a line of stars or blanks would otherwise backtrack through every split.
MARK = r"(?:[ \t#>*_•-]|\(?\d{1,2}[.):]|[a-dA-D][.)])*+"
AFTER = r"[ \t]*+(?:\([^)\n]{0,60}\)[ \t]*+)?"
HEADING = re.compile(
    rf"^{MARK}{WORDS}{AFTER}"
    r"(?P<end>[*_]{0,3}[ \t]*[:：][ \t]*[*_]{0,3}|[*_]{1,3}[ \t]*[-–—]?|(?<=[ \t])[-–—][ \t]+|$)",
    re.IGNORECASE,
)
TAG = re.compile(r"<(?P<close>/?)(?P<name>domain|schema|question|evidence|reasoning|answer|sql)>", re.IGNORECASE)
RULE = re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*$", re.MULTILINE)
FENCE = re.compile(r"^[ \t>]*(```|~~~)")
OUTER_FENCE = re.compile(r"\A\s*(?:```|~~~)[\w-]*[ \t]*\n(?P<inner>.*?)\n[ \t]*(?:```|~~~)\s*\Z", re.DOTALL)


def split_sections(text: str) -> dict[str, str]:
    """The text under each heading; of two equal headings the first that has text counts."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(TAG.findall(text)) >= 4:  # <question>…</question> in place of headings
        text = TAG.sub(lambda tag: "\n" if tag["close"] else f"\n{tag['name']}: ", text)
    sections = list(iter_sections(text))
    # A fence around the whole answer hides its headings.
    if len({name for name, _ in sections}) < 2 and (outer := OUTER_FENCE.match(text)):
        sections = list(iter_sections(outer["inner"]))
    found: dict[str, str] = {}
    for name, body in sections:
        if body.strip() and name not in found:
            found[name] = without_rules(body).strip()
    return found


def iter_sections(text: str) -> Iterator[tuple[str, str]]:
    name: str | None = None
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else HEADING.match(line)
        if heading is not None and is_heading(heading, line):
            if name is not None:
                yield name, "".join(lines)
            name, lines = SECTION_NAMES[heading["name"].lower()], [line[heading.end() :], "\n"]
        elif name is not None:
            lines += (line, "\n")
    if name is not None:
        yield name, "".join(lines)


def is_heading(heading: re.Match[str], line: str) -> bool:
    """A word alone on its line or before a colon, stars or a dash; not the first word of a sentence."""
    if heading["end"].strip():
        return True
    return bool(line.strip()) and heading.end() >= len(line.rstrip())


def without_rules(text: str) -> str:
    kept: list[str] = []
    fenced = False
    for line in text.split("\n"):
        fenced ^= FENCE.match(line) is not None
        if fenced or not RULE.match(line):
            kept.append(line)
    return "\n".join(kept)


# ---- sections of a JSON object ----

KEYS_OF_SECTIONS = {
    "schema": "database_schema create_tables create_statements",
    "rows": "insert insert_statements sample_data sample_rows",
    "evidence": "external_knowledge",
    "answer": "sql_query gold_sql",
    "question": "natural_language_question",
}
JSON_KEYS = SECTION_NAMES | {key: name for name, keys in KEYS_OF_SECTIONS.items() for key in keys.split()}
NESTED_KEYS = ("ddl", "create", "create_statement", "sql", "statement", "tables", "inserts", "insert", "rows", "data")
# A bare object, or one behind an opening fence, the word json, or both.
JSON_START = re.compile(r"\s*+`*+\s*+(?:json\b)?\s*+\{")


def read_json_sections(text: str) -> dict[str, str] | None:
    """The sections of an answer that is a JSON object, fenced or bare; None for any other answer."""
    begin, end = text.find("{"), text.rfind("}")
    if not begin < end or not JSON_START.match(text):
        return None
    try:
        # Not strict: models put raw line breaks into JSON strings.
        data = json.loads(text[begin : end + 1], strict=False)
        # A single key with an object in it only wraps the sections.
        if isinstance(data, dict) and len(data) == 1 and isinstance(inner := next(iter(data.values())), dict):
            data = inner
        if not isinstance(data, dict):
            return None
        sections: dict[str, str] = {}
        for key, value in data.items():
            name = JSON_KEYS.get(str(key).strip().lower().replace(" ", "_").replace("-", "_"))
            if name is not None and (text_of_value := "\n".join(iter_strings(value))).strip():
                sections.setdefault(name, text_of_value.strip())
    except (ValueError, RecursionError):  # broken JSON, or nested too deeply
        return None
    return sections or None


def iter_strings(value: Any) -> Iterator[str]:
    """Every string of a value. Statements of a list get a semicolon at their end."""
    if isinstance(value, str):
        is_statement = value.lstrip()[:6].upper() in ("CREATE", "INSERT")
        yield value if "\n" in value or value.rstrip().endswith(";") or not is_statement else f"{value};"
    elif isinstance(value, list):
        for one in value:
            yield from iter_strings(one)
    elif isinstance(value, Mapping):
        for name in NESTED_KEYS:
            yield from iter_strings(value.get(name))
