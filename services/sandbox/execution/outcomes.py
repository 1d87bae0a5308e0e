"""SQLite's errors as outcomes.

Outcomes are plain strings here (the values of `Outcome`) because the child runs this module, and it starts four times
faster without pydantic. A test checks them against the enum.
"""

import re
from dataclasses import dataclass

import apsw

# The first match decides.
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("ambiguous_column", re.compile(r"ambiguous column name")),
    ("unknown_column", re.compile(r"no such column|has no column named|column not present in both tables")),
    ("unknown_table", re.compile(r"no such (table(?!-valued)|view|module)|no tables specified|is circularly defined")),
    ("not_authorized", re.compile(r"not authorized|is prohibited|unsafe use of|may not be modified|readonly database")),
    ("memory_limit", re.compile(r"out of memory")),
    ("byte_limit", re.compile(r"string or blob too big|statement too long")),
    ("type_or_function_error", re.compile(r"no such function|wrong number of arguments|misuse of|datatype mismatch")),
    ("type_or_function_error", re.compile(r"integer overflow|malformed JSON|bad JSON path|JSON |ESCAPE expression")),
    ("type_or_function_error", re.compile(r"no such collation|row value misused|argument|pattern too complex")),
    ("type_or_function_error", re.compile(r"unable to use function|not allowed in|frame (starting|ending) offset")),
    (
        "type_or_function_error",
        re.compile(r"fts5: |unterminated string|invalid Unicode escape|may only be used within"),
    ),
)
# What SQLite's message means, appended where the message alone is unclear.
MEANINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^incomplete input"), "the SQL ends in the middle of a statement"),
    (re.compile(r"^Recursion limit|^parser stack overflow"), "the SQL is nested too deep"),
    (re.compile(r"^string or blob too big"), "a value that the query makes is larger than the sandbox allows"),
    (re.compile(r"^integer overflow"), "sum() or abs() of whole numbers went past 64 bits; total() gives a float"),
    (re.compile(r"^datatype mismatch"), "LIMIT and OFFSET take whole numbers"),
    (re.compile(r"^malformed JSON"), "a text given to a JSON function is no JSON"),
    (re.compile(r"^unable to use function MATCH"), "MATCH searches full-text tables only"),
    (re.compile(r"^no such function: REGEXP"), "SQLite has LIKE and GLOB"),
    (re.compile(r"^LIKE or GLOB pattern too complex"), "the pattern is longer than the sandbox allows"),
    (
        re.compile(r"^row value misused"),
        "(a, b) may stand only in comparisons with as many values on both sides, and in IN",
    ),
)
# Limits of the sandbox that are below SQLite's: without them the statement would go on.
OUR_LIMITS = re.compile(
    r"^(string or blob too big|statement too long|Expression tree is too large|too many terms in compound SELECT"
    r"|LIKE or GLOB pattern too complex)"
)
MESSAGE_CHARS = 500  # SQLite repeats names and tokens in full, and a hostile one can be very long
QUOTED_STRING = re.compile(r"should this be a string literal")


class UnusableDatabaseError(Exception):
    """The file cannot be read as a database: the user's fault, never an outcome."""


class MultiStatementError(Exception):
    """There is SQL after the first statement."""


@dataclass(frozen=True)
class Failure:
    """An outcome other than a result, with a message that names the culprit."""

    outcome: str
    message: str
    sandbox_limited: bool = False  # a limit of the sandbox stopped it, not one of SQLite's


def classify_error(error: BaseException, denied: str | None = None) -> Failure:
    """`denied` is what the authorizer refused last. Raises UnusableDatabaseError."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.CantOpenError | apsw.IOError | apsw.FormatError):
        raise UnusableDatabaseError(shorten_message(str(error))) from error
    if isinstance(error, MultiStatementError):
        return Failure("multi_statement", f"more than one statement; the second begins with: {error}")
    if isinstance(error, apsw.InterruptError):
        return Failure("timeout", "the query ran past its deadline")
    if isinstance(error, apsw.NoMemError | MemoryError | apsw.FullError):
        return Failure("memory_limit", "the query needs more memory than the sandbox allows", sandbox_limited=True)
    if isinstance(error, UnicodeDecodeError):
        return Failure("decode_error", f"text in the result is not UTF-8: {error.reason}")
    if isinstance(error, apsw.AuthError | apsw.ReadOnlyError):
        return Failure("not_authorized", shorten_message(f"not authorized: {denied or error}"))
    if isinstance(error, apsw.BindingsError):
        return Failure("syntax_error", "the SQL holds a parameter (?, :name, @name or $name) that has no value")
    if isinstance(error, apsw.Error):
        return classify_message(str(error), denied)
    message = f"the sandbox could not finish this query: {type(error).__name__}: {error}"
    return Failure("killed", shorten_message(message), sandbox_limited=True)


def classify_message(text: str, denied: str | None) -> Failure:
    for outcome, pattern in PATTERNS:
        if pattern.search(text):
            named = f"not authorized: {denied}" if outcome == "not_authorized" and denied else text
            sandbox_limited = outcome == "memory_limit" or OUR_LIMITS.search(text) is not None
            return Failure(outcome, explain_message(named), sandbox_limited)
    return Failure("syntax_error", explain_message(text), OUR_LIMITS.search(text) is not None)


def explain_message(text: str) -> str:
    text = shorten_message(text)
    for pattern, meaning in MEANINGS:
        if pattern.search(text):
            return f"{text}: {meaning}"
    return text


def shorten_message(text: str) -> str:
    """Cut out the middle: the culprit comes first, and what is wrong with it last."""
    half = MESSAGE_CHARS // 2
    return text if len(text) <= MESSAGE_CHARS else f"{text[:half]} … {text[-half:]}"
