"""Judged rows as the sandbox leaves them, for tests of what is made of them."""

from typing import Any

from shared.contracts.base import ObjectRef
from shared.contracts.pairing import BuildPairs
from shared.contracts.records import Candidate, JudgedCandidate, Outcome, Pair, Policy, ResultView, Verdict

GOOD, WRONG, ERROR = Verdict.CORRECT, Verdict.WRONG, Verdict.ERROR
GOLD = "SELECT name FROM singer WHERE age > 30"
RIGHT_HASH = "gold"
OUTCOMES = {
    ERROR: Outcome.UNKNOWN_COLUMN,
    Verdict.TIMEOUT: Outcome.TIMEOUT,
    Verdict.UNEXTRACTABLE: Outcome.UNEXTRACTABLE,
}


def row(slot: int, verdict: Verdict, sql: str | None = None, example: str = "e1", **changes: Any) -> JudgedCandidate:
    """One judged candidate; a wrong one has a result of its own unless `changes` says otherwise."""
    text = None if verdict is Verdict.UNEXTRACTABLE else sql if sql is not None else f"SELECT {slot}, name FROM singer"
    candidate = Candidate(
        example_id=example,
        slot=slot,
        answer=text or "no idea",
        sql=text,
        model="w",
        answer_key=f"answers/{slot}.json",
        sample_rows=2,
    )
    result = {GOOD: RIGHT_HASH, WRONG: f"wrong-{slot}"}.get(verdict)
    fields: dict[str, Any] = {
        "candidate": candidate,
        "verdict": verdict,
        "policy": Policy.STRICT,
        "outcome": OUTCOMES.get(verdict, Outcome.OK),
        "message": "no such column" if verdict is ERROR else None,
        "result_hash": result,
        "gold_result_hash": RIGHT_HASH,
        "gold_result": ResultView(outcome=Outcome.OK, rows=[["Ann"]], row_count=1),
        "gold": GOLD,
    }
    return JudgedCandidate.model_validate(fields | changes)


def rows(*verdicts: Verdict, example: str = "e1") -> list[JudgedCandidate]:
    """One candidate a verdict, in slot order, all with texts of their own."""
    return [row(slot, verdict, example=example) for slot, verdict in enumerate(verdicts)]


def command(policy: str = "one_per_question", **fields: Any) -> BuildPairs:
    """How pairs are built."""
    ids = {"job_id": "j", "stage": "pair", "shard": 0, "attempt": 1, "correlation_id": "c"}
    judged = ObjectRef(key="k", sha256="0" * 64, size=0)
    return BuildPairs.model_validate({**ids, "judged": judged, "policy": policy, **fields})


def pair(example: str, chosen: str = "SELECT a FROM t", rejected: str = "SELECT b FROM t", **changes: Any) -> Pair:
    """A built pair."""
    fields: dict[str, Any] = {
        "example_id": example,
        "sample_rows": 3,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_slot": 0,
        "rejected_slot": 1,
        "rejected_verdict": WRONG,
        "rejected_outcome": Outcome.OK,
        "model": "w",
        "policy": "one_per_question",
    }
    return Pair.model_validate(fields | changes)
