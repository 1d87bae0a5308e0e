"""The sandbox's tasks: build what models invented, verify golds, judge candidates."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.sandbox.building import Builder
from services.sandbox.combined import combined
from services.sandbox.databases import local_database
from services.sandbox.judge import Question
from services.sandbox.neighbourhood import neighbourhood
from services.sandbox.opinions import ByPolicy, Opinions
from services.sandbox.programs import Programs, find_programs
from services.sandbox.second_look import Neighbourhood, SecondLook
from services.sandbox.verdicts import Judgement
from services.sandbox.verify import CONSTANT, DISAGREES, UNREADABLE, Verifier
from services.sandbox.worker_pool import worker_judge, worker_pool
from shared.contracts.base import TaskContract
from shared.contracts.records import Candidate, Example, Judged, Outcome, Written
from shared.contracts.sandbox import (
    BUILD_DATABASE,
    JUDGE_CANDIDATES,
    VERIFY_EXAMPLES,
    BuildDatabase,
    BuiltCounts,
    JudgeCandidates,
    JudgedCounts,
    VerifiedCounts,
    VerifyExamples,
)
from shared.sql.spider.hardness import matches_level
from shared.storage.store import ObjectStore
from shared.tasks.task import Shard, TaskResult, Work

JUDGED_AT_ONCE = 50


def build_databases(command: BuildDatabase, shard: Shard) -> TaskResult:
    """Seals the database of every written example; a script that does not build rejects its example.

    Invented examples get rows of ours where theirs are missing, cannot be inserted, or leave the gold nothing to find.
    """
    found = Builder(shard.objects, worker_pool(shard)).build(shard.rows(command.written, Written))
    counts = BuiltCounts(
        built=len(found.built),
        databases=len({written.database_id for written in found.built}),
        rejected=len(found.rejected),
        rows_added=sum(written.rows_added for written in found.built),
    )
    outputs = {
        "written": shard.write_records("written", found.built),
        "rejected": shard.write_records("rejected", found.rejected),
    }
    return TaskResult(counts, outputs)


def verify_examples(command: VerifyExamples, shard: Shard) -> TaskResult:
    """Passes every example through the gates; what does not pass is kept apart with its reason."""
    found = Verifier(command, shard.objects, worker_pool(shard)).verify(shard.rows(command.written, Written))
    reasons = found.reasons()
    counts = VerifiedCounts(
        accepted=len(found.accepted),
        rejected=len(found.rejected),
        empty=reasons["gold_empty"] + reasons["gold_null"],
        unreadable=reasons[UNREADABLE],
        disagree=reasons[DISAGREES],
        constant=reasons[CONSTANT],
        as_asked=sum(matches_level(row.level, row.measured or "") for row in found.accepted),
    )
    outputs = {
        "examples": shard.write_records("examples", found.accepted),
        "rejected": shard.write_records("rejected", found.rejected),
    }
    return TaskResult(counts, outputs)


def judge_candidates(command: JudgeCandidates, shard: Shard) -> TaskResult:
    """Judges an example's candidates together, so that its gold and equal answers run once."""
    examples = {example.example_id: example for example in shard.rows(command.examples, Example)}
    grouped: dict[str, list[Candidate]] = {}
    for candidate in shard.rows(command.candidates, Candidate):
        grouped.setdefault(candidate.example_id, []).append(candidate)
    judged: list[Judged] = []
    judge, names = worker_judge(shard, command.policy), list(grouped)
    opinions = Opinions(command, shard)
    around = neighbourhoods(shard.objects, examples.values(), grouped, command.neighbours)
    for begin in range(0, len(names), JUDGED_AT_ONCE):
        part = names[begin : begin + JUDGED_AT_ONCE]
        questions = [as_question(shard.objects, examples[name], grouped[name]) for name in part]
        found = SecondLook(judge).review(questions, judge.judge_many(questions), around)
        others = opinions.verdicts([examples[name] for name in part], questions)
        programs = find_programs(judge.pool, questions, found) if command.programs else {}
        for name, question, judgements, opinion in zip(part, questions, found, others, strict=True):
            judged += as_judged(grouped[name], question, judgements, opinion, programs)
        shard.progress(done=begin + len(part), total=len(names))
    verdicts = Counter(row.verdict.value for row in judged)
    counts = JudgedCounts(candidates=len(judged), by_chance=sum(row.neighbours_lost > 0 for row in judged), **verdicts)
    return TaskResult(counts, {"judged": shard.write_records("judged", judged)})


def neighbourhoods(
    objects: ObjectStore, examples: Iterable[Example], grouped: Mapping[str, Sequence[Candidate]], count: int
) -> dict[Path, Neighbourhood]:
    """Local database file -> its neighbours, made for all golds and candidates of the shard on it."""
    if not count:
        return {}
    sqls: dict[str, list[str]] = {}
    for example in examples:
        candidates = grouped.get(example.example_id, ())
        sqls.setdefault(example.database_id, []).append(example.gold)
        sqls[example.database_id] += [candidate.sql for candidate in candidates if candidate.sql]
    return {
        local_database(objects, database_id): neighbourhood(objects, database_id, texts, count)
        for database_id, texts in sqls.items()
    }


def as_question(objects: ObjectStore, example: Example, candidates: Sequence[Candidate]) -> Question:
    """The example as the judge takes it."""
    return Question(
        database=local_database(objects, example.database_id),
        gold=example.gold,
        candidates=tuple(candidate.sql for candidate in candidates),
        text=f"{example.question}\n{example.evidence or ''}",
        content=example.database_id,
    )


def outcome_of(judgement: Judgement) -> Outcome:
    """The run's outcome, or why there was none."""
    if judgement.execution is not None:
        return judgement.execution.outcome
    return Outcome.UNEXTRACTABLE if judgement.sql is None else Outcome.NOT_RUN


def as_judged(
    candidates: Sequence[Candidate],
    question: Question,
    judgements: Sequence[Judgement],
    others: Sequence[ByPolicy],
    programs: Programs,
) -> list[Judged]:
    """Rows for the object store, both results cut down for people. `others` are further policies' verdicts."""
    return [
        Judged(
            candidate=candidate,
            verdict=combined([judgement.verdict, *other.values()]),
            policy=judgement.policy,
            outcome=outcome_of(judgement),
            message=judgement.execution.message if judgement.execution else None,
            result_hash=judgement.execution.fingerprint if judgement.execution else None,
            gold_result_hash=judgement.gold.fingerprint,
            result=judgement.execution.view() if judgement.execution else None,
            gold_result=judgement.gold.view(),
            neighbours=judgement.neighbours,
            neighbours_lost=judgement.neighbours_lost,
            gold=question.gold,
            verdicts={judgement.policy: judgement.verdict, **other} if other else {},
            program=programs.get((question.database, judgement.sql or "")),
            depends_on=list(judgement.depends_on),
        )
        for candidate, judgement, other in zip(candidates, judgements, others, strict=True)
    ]


TASKS: dict[TaskContract, Work[Any]] = {
    BUILD_DATABASE: build_databases,
    VERIFY_EXAMPLES: verify_examples,
    JUDGE_CANDIDATES: judge_candidates,
}
