"""The sides a pair can have: a question's distinct answers in one style of writing, and the gold."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.contracts.records import Judged, Outcome, Verdict
from shared.sql.completion import extract_reasoning
from shared.sql.tokens import normalize_sql

GOLD_SLOT = -1
REJECTED = frozenset({Verdict.WRONG, Verdict.ERROR, Verdict.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Side:
    """One text that may be chosen or rejected. Equal texts are one side, the lowest slot stands for them.

    `samples` gave this text; `shared` gave its result, whatever their text. `slot` is GOLD_SLOT for the gold.
    """

    text: str
    slot: int
    verdict: Verdict
    outcome: Outcome
    message: str | None = None
    answer_key: str | None = None
    program: str | None = None
    neighbours: int = 0
    samples: int = 1
    shared: int = 1
    reasoning: str = ""


def by_slot(judged: Iterable[Judged]) -> list[Judged]:
    """One order, whatever the order of arrival."""
    return sorted(judged, key=lambda row: (row.candidate.slot, row.candidate.answer_key, row.candidate.answer))


def sides_of(judged: Sequence[Judged], verdicts: Iterable[Verdict]) -> list[Side]:
    """Distinct texts among these verdicts, by slot. What no SQL was found in is on no side."""
    wanted = frozenset(verdicts)
    rows = [row for row in by_slot(judged) if row.candidate.sql]
    texts = [normalize_sql(row.candidate.sql or "") for row in rows]
    samples = Counter(texts)
    results = Counter(row.result_hash for row in rows if row.result_hash)
    found: dict[str, Side] = {}
    for row, text in zip(rows, texts, strict=True):
        if row.verdict not in wanted or not text or text in found:
            continue
        found[text] = Side(
            text=text,
            slot=row.candidate.slot,
            verdict=row.verdict,
            outcome=row.outcome,
            message=row.message,
            answer_key=row.candidate.answer_key,
            program=row.program,
            neighbours=row.neighbours,
            samples=samples[text],
            reasoning=extract_reasoning(row.candidate.answer),
            shared=max(samples[text], results[row.result_hash] if row.result_hash else 0),
        )
    return list(found.values())


def gold_side(judged: Sequence[Judged]) -> Side | None:
    """The gold as a side; None where it was not recorded or gave no rows."""
    row = judged[0]
    ran = row.gold_result
    if not row.gold or ran is None or ran.outcome is not Outcome.OK:
        return None
    return Side(text=normalize_sql(row.gold), slot=GOLD_SLOT, verdict=Verdict.CORRECT, outcome=ran.outcome, samples=0)
