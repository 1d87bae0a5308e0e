"""Reads a strong model's answer: forgives how it is set, rejects what is missing with a reason by name."""

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

SECTION_NAMES = {
    "domain": "domain",
    "topic": "domain",
    "schema": "schema",
    "ddl": "schema",
    "tables": "schema",
    "database": "schema",
    "data": "rows",
    "rows": "rows",
    "inserts": "rows",
    "records": "rows",
    "question": "question",
    "evidence": "evidence",
    "knowledge": "evidence",
    "reasoning": "reasoning",
    "rationale": "reasoning",
    "explanation": "explanation",
    "note": "explanation",
    "notes": "explanation",
    "answer": "answer",
    "sql": "answer",
    "query": "answer",
    "solution": "answer",
}
WORDS = (
    r"(?:(?:the|new|database|sqlite|sql|sample|example|insert|natural[- ]language|nl|user|external|final|table|gold)"
    r"\s+){0,3}"
    r"(?P<name>domain|topic|schema|ddl|tables|database|data|rows|inserts|records|question|evidence|knowledge|reasoning|"
    r"rationale|explanation|answer|sql|query|solution|notes?)(?:\s+(?:statements?|definition|query|description))?"
)
# Nothing here gives back what it has taken: a line of stars or blanks would be tried in every way there is.
MARK = r"(?:[ \t#>*_•-]|\(?\d{1,2}[.):]|[a-dA-D][.)])*+"
AFTER = r"[ \t]*+(?:\([^)\n]{0,60}\)[ \t]*+)?"
LABEL = re.compile(
    rf"^{MARK}{WORDS}{AFTER}"
    r"(?P<end>[*_]{0,3}[ \t]*[:：][ \t]*[*_]{0,3}|[*_]{1,3}[ \t]*[-–—]?|(?<=[ \t])[-–—][ \t]+|$)",
    re.IGNORECASE,
)
TAG = re.compile(r"<(?P<close>/?)(?P<name>domain|schema|question|evidence|reasoning|answer|sql)>", re.IGNORECASE)
RULE = re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*$", re.MULTILINE)
FENCE = re.compile(r"^[ \t>]*(```|~~~)")
OUTER_FENCE = re.compile(r"\A\s*(?:```|~~~)[\w-]*[ \t]*\n(?P<inner>.*?)\n[ \t]*(?:```|~~~)\s*\Z", re.DOTALL)


@dataclass
class Section:
    """A heading's name and the text under it."""

    name: str
    text: str


def split_sections(text: str) -> dict[str, str]:
    """The text under each heading; of two headings of a name the first one that has text counts."""
    text = without_tags(text.replace("\r\n", "\n").replace("\r", "\n"))
    parts = list(iter_sections(text, fences=True))
    if len({part.name for part in parts}) < 2 and (outer := OUTER_FENCE.match(text)):
        parts = list(iter_sections(outer["inner"], fences=True))
    found: dict[str, str] = {}
    for part in parts:
        if part.text.strip() and part.name not in found:
            found[part.name] = without_rules(part.text).strip()
    return found


def without_rules(text: str) -> str:
    """The text without horizontal rules, which inside a fence are none."""
    kept: list[str] = []
    fenced = False
    for line in text.split("\n"):
        fenced ^= FENCE.match(line) is not None
        if fenced or not RULE.match(line):
            kept.append(line)
    return "\n".join(kept)


def without_tags(text: str) -> str:
    """`<question>…</question>` as a heading."""
    if len(TAG.findall(text)) < 4:
        return text
    return TAG.sub(lambda tag: "\n" if tag["close"] else f"\n{tag['name']}: ", text)


def iter_sections(text: str, *, fences: bool) -> Iterator[Section]:
    """Every heading outside code fences, with what follows it."""
    name: str | None = None
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if fences and FENCE.match(line):
            fenced = not fenced
        label = None if fenced else LABEL.match(line)
        if label is not None and is_heading(label, line):
            if name is not None:
                yield Section(name, "".join(lines))
            name, lines = SECTION_NAMES[label["name"].lower()], [line[label.end() :], "\n"]
        elif name is not None:
            lines += (line, "\n")
    if name is not None:
        yield Section(name, "".join(lines))


def is_heading(label: re.Match[str], line: str) -> bool:
    """A word alone on its line, or one with a colon, stars or a dash behind it; not the beginning of a sentence."""
    end = label["end"].strip()
    if end:
        return True
    return bool(line.strip()) and label.end() >= len(line.rstrip())


JSON_KEYS = {
    **SECTION_NAMES,
    "database_schema": "schema",
    "create_tables": "schema",
    "create_statements": "schema",
    "insert": "rows",
    "insert_statements": "rows",
    "sample_data": "rows",
    "sample_rows": "rows",
    "external_knowledge": "evidence",
    "sql_query": "answer",
    "gold_sql": "answer",
    "natural_language_question": "question",
}
NESTED_KEYS = ("ddl", "create", "create_statement", "sql", "statement", "tables", "inserts", "insert", "rows", "data")


def read_json_sections(text: str) -> dict[str, str] | None:
    """The parts of an answer that is JSON, fenced or bare; None where it is not, or is of another form."""
    try:
        return parse_json_sections(text)
    except (ValueError, RecursionError):
        return None


def parse_json_sections(text: str) -> dict[str, str] | None:
    """The same. Raises ValueError, and RecursionError for what is nested too deeply."""
    begin, end = text.find("{"), text.rfind("}")
    if not 0 <= begin < end or not text.lstrip("` \njson\t").startswith("{"):
        return None
    data = json.loads(text[begin : end + 1], strict=False)
    if isinstance(data, dict) and len(data) == 1 and isinstance(inner := next(iter(data.values())), dict):
        data = inner
    if not isinstance(data, dict):
        return None
    parts: dict[str, str] = {}
    for key, value in data.items():
        name = JSON_KEYS.get(str(key).strip().lower().replace(" ", "_").replace("-", "_"))
        if name is not None and (said := "\n".join(iter_strings(value))).strip():
            parts.setdefault(name, said.strip())
    return parts or None


def iter_strings(value: Any) -> Iterator[str]:
    """Every text of a value; statements of a list are kept apart."""
    if isinstance(value, str):
        yield value if "\n" in value or value.rstrip().endswith(";") or not is_statement(value) else f"{value};"
    elif isinstance(value, list):
        for one in value:
            yield from iter_strings(one)
    elif isinstance(value, Mapping):
        for name in NESTED_KEYS:
            yield from iter_strings(value.get(name))


def is_statement(text: str) -> bool:
    """Whether it begins as a statement does."""
    return text.lstrip()[:6].upper() in ("CREATE", "INSERT")


Reason = Literal[
    "answer_empty", "answer_refused", "answer_cut_off", "answer_without_domain", "answer_without_schema",
    "answer_without_question", "answer_without_sql", "answer_with_more",
]  # fmt: skip
REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)"
    r"|I (?:can(?:no|')t|cannot|won't) (?:help|assist|do|create|comply|provide)|as an AI\b)",
    re.IGNORECASE,
)
NO_EVIDENCE = re.compile(
    r"[\s*_`]*+(?:none|n/?a|null|nil|not (?:needed|required)"
    r"|no(?:ne)?(?: external)?(?: knowledge| evidence)?(?: is)? (?:needed|required)|-+)?[\s.*_`]*",
    re.IGNORECASE,
)
WRAPPED = "\"'“”`*_ \t\n"
DOMAIN_CHARS = 80
QUESTION_CHARS = 2000


class UnparsableAnswerError(ValueError):
    """The answer holds no example: `reason` by name, the text in a sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The parts of the paper's form, and evidence and reasoning where there are any. `script` is None where the
    database was given."""

    domain: str
    script: DatabaseScript | None
    question: str
    sql: str
    evidence: str | None = None
    reasoning: str | None = None


def parse_answer(text: str, *, own: bool = False, finish_reason: str = "stop") -> ParsedAnswer:
    """The example in an answer; with `own`, an answer for a database that was given, without domain and schema.

    Raises `UnparsableError`.
    """
    spoken = blank_reasoning(text).replace(BLANK, " ")
    if not spoken.strip():
        if finish_reason == "length":
            raise UnparsableAnswerError(
                "answer_cut_off", "the answer ended inside its thoughts, before any part of it: raise strong.max_tokens"
            )
        raise UnparsableAnswerError("answer_empty", "the answer is empty")
    of_json = read_json_sections(spoken)
    parts = of_json or split_sections(spoken)
    fill_missing_sections(parts, spoken)
    check_sections(parts, spoken, own, finish_reason)
    sql = read_answer_sql(parts["answer"], finish_reason, delimited=of_json is not None)
    return ParsedAnswer(
        domain=one_line(parts.get("domain", "").strip().split("\n")[0]).rstrip(".")[:DOMAIN_CHARS],
        script=None if own else read_schema_script(parts),
        question=read_question(parts["question"]),
        sql=sql,
        evidence=read_evidence(parts.get("evidence", "")),
        reasoning=one_line(FENCE_LINE.sub("", parts.get("reasoning", "")))
        or extract_reasoning(parts["answer"])
        or None,
    )


def fill_missing_sections(parts: dict[str, str], text: str) -> None:
    """Fills parts that have no heading of their own but stand where a reader would look for them."""
    if "answer" not in parts and "question" in parts and (begin := sql_start(parts["question"])) is not None:
        fence = parts["question"].rfind("```", 0, begin)
        place = fence if fence >= 0 else begin
        parts["answer"], parts["question"] = parts["question"][place:], parts["question"][:place]
    if "schema" not in parts and (place := text.upper().find("CREATE TABLE")) >= 0:
        parts["schema"] = text[place:]
    if "rows" in parts and "schema" in parts:
        parts["schema"] = f"{parts['schema']}\n;\n{parts['rows']}"


def check_sections(parts: dict[str, str], text: str, own: bool, finish_reason: str) -> None:
    """Raises `UnparsableError` for what is missing, and for why the whole answer is none."""
    wanted = ("question", "answer") if own else ("domain", "schema", "question", "answer")
    missing = [name for name in wanted if not parts.get(name, "").strip()]
    if not missing:
        return
    if finish_reason == "length":
        raise UnparsableAnswerError(
            "answer_cut_off", f"the answer ended before its {missing[0]} part: raise strong.max_tokens"
        )
    if len(missing) == len(wanted) and REFUSAL.search(text):
        raise UnparsableAnswerError("answer_refused", "the model declined to write an example")
    name = "sql" if missing[0] == "answer" else missing[0]
    reasons: dict[str, Reason] = {
        "domain": "answer_without_domain",
        "schema": "answer_without_schema",
        "question": "answer_without_question",
        "sql": "answer_without_sql",
    }
    raise UnparsableAnswerError(reasons[name], f"the answer lacks {', '.join(missing)}")


def read_answer_sql(answer: str, finish_reason: str, *, delimited: bool) -> str:
    """The answer part's statement, which has to be all that its fence holds beside comments."""
    reading = find_sql(answer, delimited=delimited)
    if reading is None:
        raise UnparsableAnswerError("answer_without_sql", "the answer part holds no SELECT statement")
    if finish_reason == "length" and not reading.closed:
        raise UnparsableAnswerError(
            "answer_cut_off", "the answer ends in the middle of its SQL: raise strong.max_tokens"
        )
    if reading.rest:
        raise UnparsableAnswerError(
            "answer_with_more", f"the answer's fence holds more than one statement: {reading.rest[:80]!r} is left over"
        )
    return reading.sql


def read_schema_script(parts: dict[str, str]) -> DatabaseScript:
    """The database of the schema part; a schema without rows is left to the gates."""
    script = read_script(parts["schema"])
    if not creates_table(script):
        raise UnparsableAnswerError("answer_without_schema", "the schema part holds no CREATE TABLE statement")
    return script


def read_question(text: str) -> str:
    """The question on one line, without quotes around it."""
    line = one_line(FENCE_LINE.sub("", text))
    if not line or len(line) > QUESTION_CHARS:
        raise UnparsableAnswerError("answer_without_question", "the question part is empty or no question")
    return line


def read_evidence(text: str) -> str | None:
    """External knowledge, or None where the model says that there is none."""
    return None if NO_EVIDENCE.fullmatch(text) else one_line(FENCE_LINE.sub("", text)) or None


def one_line(text: str) -> str:
    """Blanks single, marks of bold type and quotes around the whole taken off."""
    line = " ".join(text.replace("**", "").split())
    begin, end = 0, len(line)
    while end - begin > 1 and line[begin] in WRAPPED and line[end - 1] in WRAPPED:
        begin, end = begin + 1, end - 1
        while begin < end and line[begin] == " ":
            begin += 1
        while begin < end and line[end - 1] == " ":
            end -= 1
    return line[begin:end].strip("*_ ")
