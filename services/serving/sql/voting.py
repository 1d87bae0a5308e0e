"""Elects one SQL statement among samples: equal results vote together, or equal statements if results say nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.api.sql import RunResult, SqlSample
from shared.sql.extraction import extract_sql
from shared.sql.tokens import tokens

RAN_OUTCOMES = ("ok", "empty")
Vote = Literal["execution", "text"]


@dataclass
class DistinctSql:
    """A distinct statement (or none) among a model's answers; `place` is the index of the first such answer."""

    sql: str | None
    answer: str
    place: int
    count: int = 0
    votes: int = 0


def distinct_statements(answers: Sequence[str], *, last: bool = False) -> list[DistinctSql]:
    """The distinct statements in order of appearance; with `last`, the last statement of each answer counts."""
    found: dict[str | None, DistinctSql] = {}
    for place, answer in enumerate(answers):
        sql = extract_sql(answer, last=last)
        found.setdefault(sql, DistinctSql(sql, answer, place)).count += 1
    return list(found.values())


def elect_sample(samples: Sequence[DistinctSql], runs: Mapping[str, RunResult], vote: Vote) -> DistinctSql:
    """The sample with the most votes; statements that ran come before those that failed, and those before none.

    If votes are equal, the first sample wins. A truncated result agrees only with its own text.
    """
    sizes: dict[object, int] = {}
    keys = {id(sample): agreement_key(sample, runs, vote) for sample in samples}
    for sample in samples:
        sizes[keys[id(sample)]] = sizes.get(keys[id(sample)], 0) + sample.count
    for sample in samples:
        sample.votes = sizes[keys[id(sample)]]
    return max(samples, key=lambda one: (outcome_rank(one, runs), one.votes, -one.place))


def agreement_key(sample: DistinctSql, runs: Mapping[str, RunResult], vote: Vote) -> object:
    run = runs.get(sample.sql or "")
    if sample.sql is None or run is None:
        return ("text", sample.sql)
    # a truncated result has no fingerprint: the rows that are missing may differ
    if vote == "execution" and run.fingerprint is not None:
        return ("result", run.fingerprint)
    return ("text", normalize_sql(sample.sql))


def outcome_rank(sample: DistinctSql, runs: Mapping[str, RunResult]) -> int:
    """2 if it ran, 1 for a statement that failed, 0 for none."""
    run = runs.get(sample.sql or "")
    return 0 if sample.sql is None else 2 if run is None or run.outcome in RAN_OUTCOMES else 1


def normalize_sql(sql: str) -> str:
    """Drops comments and blanks and lowers the case of words; quoted text stays as it is."""
    parts = [text.lower() if kind == "word" else text for kind, text in tokens(sql) if kind not in ("blank", "comment")]
    return " ".join(parts)


def rank_samples(samples: Sequence[DistinctSql], runs: Mapping[str, RunResult]) -> list[SqlSample]:
    ranked = sorted(samples, key=lambda one: (-outcome_rank(one, runs), -one.votes, one.place))
    views = []
    for one in ranked:
        run = runs.get(one.sql or "")
        outcome = run.outcome if run else "unextractable" if one.sql is None else None
        message = run.message if run else None
        views.append(
            SqlSample(
                sql=one.sql, answer=one.answer, count=one.count, votes=one.votes, outcome=outcome, message=message
            )
        )
    return views
