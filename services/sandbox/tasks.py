"""The sandbox's tasks: build the databases of written examples, verify golds, judge candidates."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.sandbox.building.databases import local_database
from services.sandbox.building.examples import ExampleBuilder
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.execution.requests import ExecutionRequest
from services.sandbox.judging.judge import GoldCache, Judge, JudgeQuestion
from services.sandbox.judging.suite_review import DatabaseSuite, SuiteReview
from services.sandbox.judging.verdicts import Judgement, combine_verdicts
from services.sandbox.judging.verification import CONSTANT, DISAGREES, UNREADABLE, Verifier
from services.sandbox.test_suites.generate import prepare_suites
from shared.catalog.datasets import find_dataset
from shared.contracts.base import TaskContract
from shared.contracts.records import Candidate, Example, JudgedCandidate, Outcome, Policy, Verdict, WrittenExample
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
from shared.settings import PathSettings, SandboxSettings
from shared.sql.spider.hardness import matches_level
from shared.storage.store import ObjectStore
from shared.tasks.task import Shard, TaskResult, Work

ByPolicy = dict[Policy, Verdict]
Programs = dict[tuple[Path, str], str | None]

JUDGED_AT_ONCE = 50  # questions between two reports of progress
# Verdicts of answers that compile and may be in a pair.
COMPILED_VERDICTS = frozenset({Verdict.CORRECT, Verdict.WRONG, Verdict.TIMEOUT})
# One pool and one cache for the process: children and golds outlive a shard.
_lock = threading.Lock()
_pools: list[SandboxPool] = []
_golds: list[GoldCache] = []


def shard_pool(shard: Shard) -> SandboxPool:
    """This process's pool. Its children die when the shard's lease ends; the next shard gets new ones."""
    with _lock:
        # an aborted shard has killed the pool of this process
        if not _pools or _pools[0].ended:
            _pools[:] = [SandboxPool(SandboxSettings().children)]
        pool = _pools[0]
    shard.on_abort(pool.kill)
    return pool


def shard_judge(shard: Shard, policy: Policy) -> Judge:
    pool = shard_pool(shard)
    with _lock:
        if not _golds:
            _golds.append(GoldCache(PathSettings().golds))
    return Judge(pool, policy, golds=_golds[0])


class FurtherPolicies:
    """Verdicts of the policies besides a command's main one: those it names, and a dataset's official one."""

    def __init__(self, command: JudgeCandidates, shard: Shard) -> None:
        self.command, self.shard = command, shard
        self._official: dict[str, Policy] = {}

    def policies(self, example: Example) -> list[Policy]:
        policies = list(self.command.also)
        if self.command.official and example.dataset:
            if example.dataset not in self._official:
                self._official[example.dataset] = find_dataset(self.shard.objects, example.dataset).policy
            policies.append(self._official[example.dataset])
        return [policy for policy in dict.fromkeys(policies) if policy is not self.command.policy]

    def verdicts(self, examples: Sequence[Example], questions: Sequence[JudgeQuestion]) -> list[list[ByPolicy]]:
        found: list[list[ByPolicy]] = [[{} for _ in question.candidates] for question in questions]
        wanted = [self.policies(example) for example in examples]
        for policy in dict.fromkeys(policy for policies in wanted for policy in policies):
            places = [place for place, policies in enumerate(wanted) if policy in policies]
            judged = shard_judge(self.shard, policy).judge_many([questions[place] for place in places])
            for place, judgements in zip(places, judged, strict=True):
                for number, judgement in enumerate(judgements):
                    found[place][number][policy] = judgement.verdict
        return found


def find_programs(
    pool: SandboxPool, questions: Sequence[JudgeQuestion], judged: Sequence[Sequence[Judgement]]
) -> Programs:
    """Bytecode hashes of candidates that compile and may be in a pair, to recognise two spellings of one query."""
    compiled = {
        (question.database, judgement.sql): None
        for question, judgements in zip(questions, judged, strict=True)
        for judgement in judgements
        if judgement.sql is not None and judgement.verdict in COMPILED_VERDICTS
    }
    keys = list(compiled)
    ran = pool.execute_many([ExecutionRequest(database, sql, keep_rows=0, program=True) for database, sql in keys])
    return {key: execution.program for key, execution in zip(keys, ran, strict=True)}


def build_databases(command: BuildDatabase, shard: Shard) -> TaskResult:
    """Build the database of every written example; a script that does not build rejects its example.

    Invented examples get additional rows if theirs are missing, cannot be inserted, or leave the gold nothing to find.
    """
    found = ExampleBuilder(shard.objects, shard_pool(shard)).build(shard.rows(command.written, WrittenExample))
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
    found = Verifier(command, shard.objects, shard_pool(shard)).verify(shard.rows(command.written, WrittenExample))
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
    """Judge an example's candidates together, so that its gold and equal answers run once."""
    examples = {example.example_id: example for example in shard.rows(command.examples, Example)}
    grouped: dict[str, list[Candidate]] = {}
    for candidate in shard.rows(command.candidates, Candidate):
        grouped.setdefault(candidate.example_id, []).append(candidate)
    judged: list[JudgedCandidate] = []
    judge, names = shard_judge(shard, command.policy), list(grouped)
    further = FurtherPolicies(command, shard)
    suites = suites_of_shard(shard.objects, examples.values(), grouped, command.suite_databases)
    for begin in range(0, len(names), JUDGED_AT_ONCE):
        part = names[begin : begin + JUDGED_AT_ONCE]
        questions = [
            JudgeQuestion(
                database=local_database(shard.objects, example.database_id),
                gold=example.gold,
                candidates=tuple(candidate.sql for candidate in grouped[example.example_id]),
                text=f"{example.question}\n{example.evidence or ''}",
                content=example.database_id,
            )
            for example in (examples[name] for name in part)
        ]
        found = SuiteReview(judge).review(questions, judge.judge_many(questions), suites)
        others = further.verdicts([examples[name] for name in part], questions)
        programs = find_programs(judge.pool, questions, found) if command.programs else {}
        for name, question, judgements, other in zip(part, questions, found, others, strict=True):
            judged += judged_records(grouped[name], question, judgements, other, programs)
        shard.progress(done=begin + len(part), total=len(names))
    verdicts = Counter(row.verdict.value for row in judged)
    counts = JudgedCounts(
        candidates=len(judged), by_chance=sum(row.suite_databases_lost > 0 for row in judged), **verdicts
    )
    return TaskResult(counts, {"judged": shard.write_records("judged", judged)})


def suites_of_shard(
    objects: ObjectStore, examples: Iterable[Example], grouped: Mapping[str, Sequence[Candidate]], count: int
) -> dict[Path, DatabaseSuite]:
    if not count:
        return {}
    sqls: dict[str, list[str]] = {}
    for example in examples:
        candidates = grouped.get(example.example_id, ())
        sqls.setdefault(example.database_id, []).append(example.gold)
        sqls[example.database_id] += [candidate.sql for candidate in candidates if candidate.sql]
    return prepare_suites(objects, sqls, count)


def judged_records(
    candidates: Sequence[Candidate],
    question: JudgeQuestion,
    judgements: Sequence[Judgement],
    others: Sequence[ByPolicy],
    programs: Programs,
) -> list[JudgedCandidate]:
    found = []
    for candidate, judgement, other in zip(candidates, judgements, others, strict=True):
        run, gold = judgement.execution, judgement.gold
        not_run = Outcome.UNEXTRACTABLE if judgement.sql is None else Outcome.NOT_RUN
        found.append(
            JudgedCandidate(
                candidate=candidate,
                verdict=combine_verdicts([judgement.verdict, *other.values()]),
                policy=judgement.policy,
                outcome=run.outcome if run else not_run,
                message=run.message if run else None,
                result_hash=run.fingerprint if run else None,
                gold_result_hash=gold.fingerprint,
                result=run.view() if run else None,
                gold_result=gold.view(),
                suite_databases=judgement.suite_databases,
                suite_databases_lost=judgement.suite_databases_lost,
                gold=question.gold,
                verdicts={judgement.policy: judgement.verdict, **other} if other else {},
                program=programs.get((question.database, judgement.sql or "")),
                depends_on=list(judgement.depends_on),
            )
        )
    return found


TASKS: dict[TaskContract, Work[Any]] = {
    BUILD_DATABASE: build_databases,
    VERIFY_EXAMPLES: verify_examples,
    JUDGE_CANDIDATES: judge_candidates,
}
