"""What is odd about a prediction file as a whole: faults that no evaluator reads and that you can put right.

The official score stays as it is. These sentences stand beside it, so that a score of 0.00 never stays unexplained.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.benchmarks.prediction_files import PredictionPair
from shared.sql.reasoning import CONTROL_TOKEN, REASONING_MARK

SHOWN_CHARS = 60
READ_CHARS = 20_000
# Possessive quantifiers, so that a long run of spaces or brackets is read only once.
SQL_WORDS = re.compile(r"\s*+\(*+\s*+(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
MOST = 0.5  # from this share on, a fault that models also make counts as the file's


@dataclass(frozen=True)
class Kind:
    """One way to spoil a prediction. `fault` continues "N of M predictions".

    `alone`: models seldom do this by themselves, so a single case is worth a sentence.
    """

    pattern: re.Pattern[str]
    fault: str
    alone: bool = True


# In this order: the first that matches a prediction names its fault.
KINDS = (
    Kind(
        re.compile(r"^(?:none|null|nan|n/a|undefined|error|error sql)?;?$", re.IGNORECASE),
        "are no SQL but a mark of a missing answer",
        alone=False,
    ),
    Kind(
        re.compile(REASONING_MARK, re.IGNORECASE),
        "hold a model's thoughts; write the SQL alone",
    ),
    Kind(
        re.compile(r"^(?:```|~~~)|(?:```|~~~)\s*;?$", re.IGNORECASE),
        "stand in a code fence (```), which is no SQL; write what is between the marks",
    ),
    Kind(
        re.compile(CONTROL_TOKEN, re.IGNORECASE),
        "hold a model's control tokens; cut them off",
    ),
    Kind(
        re.compile(r'^(?:\{\s*"|\[\s*["{\]])', re.IGNORECASE),
        "are JSON; write the SQL itself, or score a BIRD file with --benchmark bird",
    ),
    Kind(
        re.compile(
            r"^(?:\*\*)?(?:final\s+)?(?:sql(?:ite)?(?:\s*query)?|query|answer|output|response|prediction|assistant)(?:\*\*)?\s*[:=>]",
            re.IGNORECASE,
        ),
        "begin with a label such as `SQL:`; leave it out",
    ),
    Kind(
        re.compile(r"^(?:q(?:uestion)?\s*)?\d+(?:$|\s*[.):,\]|]|\s+(?:SELECT|WITH)\b)", re.IGNORECASE),
        "begin with a number; leave it out",
    ),
    Kind(
        re.compile(r"^select\s*;?$", re.IGNORECASE),
        "are the word SELECT alone; was each answer cut at its first line's end?",
    ),
    Kind(
        re.compile(
            r"""^(?:"\s*(?:SELECT|WITH)\b.*"|'\s*(?:SELECT|WITH)\b.*'|`\s*(?:SELECT|WITH)\b.*`|[“‘]).{0,3}$""",
            re.IGNORECASE,
        ),
        "stand in quotes; write them without",
    ),
    Kind(
        re.compile(r"&(?:lt|gt|amp|quot|apos|#\d+);", re.IGNORECASE),
        "hold HTML's escapes such as &lt;; write the characters",
        alone=False,
    ),
    Kind(
        re.compile(r"^(?:SELECT|WITH)\b.*\\[nrt\"]", re.IGNORECASE),
        r"hold escapes such as \n or \" of some programming language",
        alone=False,
    ),
)
PROSE = Kind(SQL_WORDS, "do not begin with SELECT or WITH", alone=False)


def oddities(pairs: Sequence[PredictionPair]) -> list[str]:
    answers = [(pair, pair.prediction.strip()) for pair in pairs if not pair.missing]
    found: dict[Kind, list[PredictionPair]] = {}
    for pair, text in answers:
        fits = next((one for one in KINDS if one.pattern.search(text[:READ_CHARS])), None)
        if fits is None and SQL_WORDS.match(text) is None:
            fits = PROSE
        if fits is not None:
            found.setdefault(fits, []).append(pair)
    ranked = sorted(found.items(), key=lambda item: -len(item[1]))
    sentences = [
        sentence(one, those, len(answers)) for one, those in ranked if one.alone or len(those) >= MOST * len(answers)
    ]
    return sentences + trailing_names(answers) + same_everywhere(answers)


def sentence(one: Kind, those: Sequence[PredictionPair], total: int) -> str:
    first = those[0]
    where = f"the first, question {first.index}: {clipped(first.prediction)}"
    return f"{len(those)} of {total} predictions {one.fault} ({where})"


def trailing_names(answers: Sequence[tuple[PredictionPair, str]]) -> list[str]:
    """Predictions that end with the name of their database, as golds do, but without the tab."""
    those = [pair for pair, text in answers if text.rstrip(";").split()[-1:] == [pair.db_id] and ends_oddly(text)]
    if len(those) < max(1, MOST * len(answers)):
        return []
    fault = "end with their database's name, which is no part of the SQL; put a tab before it or leave it out"
    return [sentence(Kind(SQL_WORDS, fault), those, len(answers))]


def ends_oddly(text: str) -> bool:
    """Whether the last word may be cut off. `FROM shop` is SQL for a table named like its database."""
    words = text.rstrip(";").split()
    return len(words) > 2 and words[-2].lower() not in ("from", "join", "as", ",", "by", "table")


def same_everywhere(answers: Sequence[tuple[PredictionPair, str]]) -> list[str]:
    texts = Counter(text for _, text in answers)
    if len(answers) < 3 or len(texts) > 1 or len({pair.gold for pair, _ in answers}) < 2:
        return []
    return [f"all {len(answers)} predictions are the same: {clipped(next(iter(texts)))}"]


def mass_failure(failures: Mapping[str, int], messages: Iterable[tuple[int, str, str | None]], total: int) -> list[str]:
    """A sentence where most predictions fail for one reason that nothing else explains.

    `messages` are (question, failure, message) of the predictions; `failures` counts them.
    """
    causes = {"syntax", "unknown_table", "unknown_column", "refused", "decode", "type_or_function"}
    name, count = max(
        ((name, n) for name, n in failures.items() if name in causes), key=lambda one: one[1], default=("", 0)
    )
    if total < 2 or count < MOST * total or not name:
        return []
    index, message = next((index, message) for index, failure, message in messages if failure == name)
    about = " on their databases; are the predictions in the gold's order?" if name.startswith("unknown") else ""
    reason = name.replace("_", " ")
    return [f"{count} of {total} predictions do not run: {reason}{about} (the first, question {index}: {message})"]


def clipped(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…")
