"""The parts of an answer by their headings, in the many ways that models set them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

NAMES = {
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
class Part:
    """A heading's name and the text under it."""

    name: str
    text: str


def split_parts(text: str) -> dict[str, str]:
    """The text under each heading; of two headings of a name the first one that has text counts."""
    text = without_tags(text.replace("\r\n", "\n").replace("\r", "\n"))
    parts = list(parts_of(text, fences=True))
    if len({part.name for part in parts}) < 2 and (outer := OUTER_FENCE.match(text)):
        parts = list(parts_of(outer["inner"], fences=True))
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


def parts_of(text: str, *, fences: bool) -> Iterator[Part]:
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
                yield Part(name, "".join(lines))
            name, lines = NAMES[label["name"].lower()], [line[label.end() :], "\n"]
        elif name is not None:
            lines += (line, "\n")
    if name is not None:
        yield Part(name, "".join(lines))


def is_heading(label: re.Match[str], line: str) -> bool:
    """A word alone on its line, or one with a colon, stars or a dash behind it; not the beginning of a sentence."""
    end = label["end"].strip()
    if end:
        return True
    return bool(line.strip()) and label.end() >= len(line.rstrip())
