"""Hostile SQL: building invented databases, verifying examples, judging candidates."""

from pydantic import Field

from shared.contracts.base import Command, Counts, ObjectRef, Queue, TaskContract
from shared.contracts.records import Policy


class BuildDatabase(Command):
    """Builds, seals and stores the databases that written examples bring along."""

    written: ObjectRef


class BuiltCounts(Counts):
    """`databases` counts distinct files, `rejected` the examples whose script did not build.

    `rows_added`: examples on a database that has rows of ours.
    """

    built: int
    databases: int
    rejected: int
    rows_added: int = 0


class VerifyExamples(Command):
    """Runs every gold: what fails, is empty or holds only NULL is rejected with its reason.

    So is a gold that its parser cannot read or that reads no table, with `agreement` one that speaks of other values
    than its question, and with `suite_databases` one whose result is the same on all of so many variants of its
    database.
    """

    written: ObjectRef
    agreement: bool = True
    suite_databases: int = Field(default=0, ge=0, le=32)


class VerifiedCounts(Counts):
    """Examples that passed, and the rest; some reasons of the rest by themselves.

    `as_asked`: accepted ones whose hardness, by Spider's rule, is the level that was asked for.
    """

    accepted: int
    rejected: int
    empty: int = 0
    unreadable: int = 0
    disagree: int = 0
    constant: int = 0
    as_asked: int = 0


class JudgeCandidates(Command):
    """Compares every candidate's result with its gold's under a named policy.

    With `suite_databases`, right answers are also compared with their gold on so many variants of the database.
    `also` names further policies, and `official` adds the one of the dataset that an example comes from: a
    verdict is then what all of them say together. `programs` records what SQLite compiles a candidate into.
    """

    candidates: ObjectRef
    examples: ObjectRef
    policy: Policy = Policy.STRICT
    suite_databases: int = Field(default=0, ge=0, le=32)
    also: list[Policy] = Field(default_factory=list)
    official: bool = False
    programs: bool = False


class JudgedCounts(Counts):
    """One number a verdict; `by_chance` counts answers that were right here and disputed on a test-suite database."""

    candidates: int
    correct: int = 0
    wrong: int = 0
    error: int = 0
    timeout: int = 0
    gold_failed: int = 0
    gold_timeout: int = 0
    both_empty: int = 0
    disputed: int = 0
    unextractable: int = 0
    by_chance: int = 0


BUILD_DATABASE = TaskContract(
    name="sandbox.build_database",
    queue=Queue.SANDBOX,
    command=BuildDatabase,
    event="databases.built",
    counts=BuiltCounts,
    outputs=("written", "rejected"),
)
VERIFY_EXAMPLES = TaskContract(
    name="sandbox.verify_examples",
    queue=Queue.SANDBOX,
    command=VerifyExamples,
    event="examples.verified",
    counts=VerifiedCounts,
    outputs=("examples", "rejected"),
)
JUDGE_CANDIDATES = TaskContract(
    name="sandbox.judge_candidates",
    queue=Queue.SANDBOX,
    command=JudgeCandidates,
    event="candidates.judged",
    counts=JudgedCounts,
    outputs=("judged",),
)
