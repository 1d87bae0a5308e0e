"""Reads a strong model's answer: forgives how it is set, rejects what is missing with a reason by name."""

import re
from dataclasses import dataclass
from typing import Literal

from services.synthesis.headings import split_parts
from services.synthesis.json_answer import json_parts
from services.synthesis.script import FENCE_LINE, has_table, read_script
from shared.contracts.records import DatabaseScript
from shared.sql.completion import extract_reasoning
from shared.sql.extraction import find_sql, sql_start
from shared.sql.reasoning import BLANK, blank_reasoning

Reason = Literal[
    "answer_empty", "answer_refused", "answer_cut_off", "answer_without_domain", "answer_without_schema",
    "answer_without_question", "answer_without_sql", "answer_with_more",
]  # fmt: skip
REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)"
    r"|I (?:can(?:no|')t|cannot|won't) (?:help|assist|do|create|comply|provide)|as an AI\b)",
    re.IGNORECASE,
)
NOTHING = re.compile(
    r"[\s*_`]*+(?:none|n/?a|null|nil|not (?:needed|required)"
    r"|no(?:ne)?(?: external)?(?: knowledge| evidence)?(?: is)? (?:needed|required)|-+)?[\s.*_`]*",
    re.IGNORECASE,
)
WRAPPED = "\"'“”`*_ \t\n"
DOMAIN_CHARS = 80
QUESTION_CHARS = 2000


class UnparsableError(ValueError):
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
            raise UnparsableError(
                "answer_cut_off", "the answer ended inside its thoughts, before any part of it: raise strong.max_tokens"
            )
        raise UnparsableError("answer_empty", "the answer is empty")
    of_json = json_parts(spoken)
    parts = of_json or split_parts(spoken)
    forgive(parts, spoken)
    check_parts(parts, spoken, own, finish_reason)
    sql = checked_sql(parts["answer"], finish_reason, delimited=of_json is not None)
    return ParsedAnswer(
        domain=one_line(parts.get("domain", "").strip().split("\n")[0]).rstrip(".")[:DOMAIN_CHARS],
        script=None if own else checked_script(parts),
        question=question_of(parts["question"]),
        sql=sql,
        evidence=evidence_of(parts.get("evidence", "")),
        reasoning=one_line(FENCE_LINE.sub("", parts.get("reasoning", "")))
        or extract_reasoning(parts["answer"])
        or None,
    )


def forgive(parts: dict[str, str], text: str) -> None:
    """Fills parts that have no heading of their own but stand where a reader would look for them."""
    if "answer" not in parts and "question" in parts and (begin := sql_start(parts["question"])) is not None:
        fence = parts["question"].rfind("```", 0, begin)
        place = fence if fence >= 0 else begin
        parts["answer"], parts["question"] = parts["question"][place:], parts["question"][:place]
    if "schema" not in parts and (place := text.upper().find("CREATE TABLE")) >= 0:
        parts["schema"] = text[place:]
    if "rows" in parts and "schema" in parts:
        parts["schema"] = f"{parts['schema']}\n;\n{parts['rows']}"


def check_parts(parts: dict[str, str], text: str, own: bool, finish_reason: str) -> None:
    """Raises `UnparsableError` for what is missing, and for why the whole answer is none."""
    wanted = ("question", "answer") if own else ("domain", "schema", "question", "answer")
    missing = [name for name in wanted if not parts.get(name, "").strip()]
    if not missing:
        return
    if finish_reason == "length":
        raise UnparsableError(
            "answer_cut_off", f"the answer ended before its {missing[0]} part: raise strong.max_tokens"
        )
    if len(missing) == len(wanted) and REFUSAL.search(text):
        raise UnparsableError("answer_refused", "the model declined to write an example")
    name = "sql" if missing[0] == "answer" else missing[0]
    reasons: dict[str, Reason] = {
        "domain": "answer_without_domain",
        "schema": "answer_without_schema",
        "question": "answer_without_question",
        "sql": "answer_without_sql",
    }
    raise UnparsableError(reasons[name], f"the answer lacks {', '.join(missing)}")


def checked_sql(answer: str, finish_reason: str, *, delimited: bool) -> str:
    """The answer part's statement, which has to be all that its fence holds beside comments."""
    reading = find_sql(answer, delimited=delimited)
    if reading is None:
        raise UnparsableError("answer_without_sql", "the answer part holds no SELECT statement")
    if finish_reason == "length" and not reading.closed:
        raise UnparsableError("answer_cut_off", "the answer ends in the middle of its SQL: raise strong.max_tokens")
    if reading.rest:
        raise UnparsableError(
            "answer_with_more", f"the answer's fence holds more than one statement: {reading.rest[:80]!r} is left over"
        )
    return reading.sql


def checked_script(parts: dict[str, str]) -> DatabaseScript:
    """The database of the schema part; a schema without rows is left to the gates."""
    script = read_script(parts["schema"])
    if not has_table(script):
        raise UnparsableError("answer_without_schema", "the schema part holds no CREATE TABLE statement")
    return script


def question_of(text: str) -> str:
    """The question on one line, without quotes around it."""
    line = one_line(FENCE_LINE.sub("", text))
    if not line or len(line) > QUESTION_CHARS:
        raise UnparsableError("answer_without_question", "the question part is empty or no question")
    return line


def evidence_of(text: str) -> str | None:
    """External knowledge, or None where the model says that there is none."""
    return None if NOTHING.fullmatch(text) else one_line(FENCE_LINE.sub("", text)) or None


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
