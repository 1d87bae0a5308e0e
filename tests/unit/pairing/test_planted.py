"""Planted cases: answers that others' pairs get wrong, through judge, neighbours, policies and pairing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.pairing.decide import Decision, decide_pairs
from services.sandbox.execution.limits import Limits
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.judge import Judge, JudgeQuestion
from services.sandbox.judging.suite_review import DatabaseSuite, SuiteReview
from services.sandbox.tasks import find_programs, judged_records
from services.sandbox.test_suites.constants import extract_constants
from services.sandbox.test_suites.generate import generate_suite
from shared.contracts.records import Candidate, JudgedCandidate, Policy, Verdict
from shared.sql.extraction import extract_sql
from tests.support.datasets import make_file
from tests.unit.pairing.builders import command

CONCERTS = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, age INTEGER, country TEXT);
INSERT INTO singer VALUES (1, 'Ann', 41, 'France'), (2, 'Bo', 29, 'Norway'), (3, 'Cy', 35, 'France'),
  (4, 'Di', 52, 'Spain'), (5, 'Eve', 23, 'Norway'), (6, 'Flo', 47, 'Spain');
"""
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
OLD = "SELECT name FROM singer WHERE age > 30"
WRONG = "SELECT name FROM singer WHERE age < 30"


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(1, Limits(deadline_s=0.5, gold_deadline_s=0.8)) as pool:
        yield pool


@pytest.fixture(scope="module")
def concerts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("planted") / "concerts.sqlite", CONCERTS)


def candidate(slot: int, answer: str) -> Candidate:
    """An answer as sampling leaves it."""
    sql = extract_sql(answer)
    return Candidate(example_id="e", slot=slot, answer=answer, sql=sql, model="w", answer_key="answers/x.json")


def judge_all(
    pool: SandboxPool,
    database: Path,
    gold: str,
    answers: Sequence[str],
    policy: Policy,
    suite_databases: int,
    folder: Path,
) -> list[JudgedCandidate]:
    """What `sandbox.judge_candidates` does, with the official `policy` beside strict."""
    given = [candidate(slot, answer) for slot, answer in enumerate(answers)]
    question = JudgeQuestion(database, gold, tuple(one.sql for one in given))
    judge = Judge(pool, Policy.STRICT)
    judged = judge.judge_many([question])
    if suite_databases:
        constants = extract_constants([gold, *(one.sql for one in given if one.sql)])
        files = generate_suite(database, folder, count=suite_databases, seed=0, constants=constants)
        judged = SuiteReview(judge).review(
            [question], judged, {database: DatabaseSuite(files, {"singer": frozenset({"id"})})}
        )
    others = [
        {policy: one.verdict} if policy is not Policy.STRICT else {}
        for one in Judge(pool, policy).judge_many([question])[0]
    ]
    return judged_records(given, question, judged[0], others, find_programs(pool, [question], judged))


@pytest.mark.parametrize(
    ("gold", "answer", "policy", "verdict", "reason"),
    [
        # Two columns exchanged: the same to people and to Spider, not to BIRD.
        ("SELECT name, age FROM singer", "SELECT age, name FROM singer", Policy.SPIDER, Verdict.CORRECT, "pair"),
        ("SELECT name, age FROM singer", "SELECT age, name FROM singer", Policy.BIRD, Verdict.DISPUTED, "none_correct"),
        ("SELECT name, age FROM singer", "SELECT age, name FROM singer", Policy.STRICT, Verdict.CORRECT, "pair"),
        # Duplicates: BIRD and (it takes DISTINCT away) Spider accept what strict refuses; one's own sets have strict.
        (
            "SELECT country FROM singer",
            "SELECT DISTINCT country FROM singer",
            Policy.BIRD,
            Verdict.DISPUTED,
            "none_correct",
        ),
        (
            "SELECT country FROM singer",
            "SELECT DISTINCT country FROM singer",
            Policy.SPIDER,
            Verdict.DISPUTED,
            "none_correct",
        ),
        (
            "SELECT country FROM singer",
            "SELECT DISTINCT country FROM singer",
            Policy.STRICT,
            Verdict.WRONG,
            "none_correct",
        ),
        # Nothing against nothing.
        (
            f"{OLD} AND age < 0",
            "SELECT name FROM singer WHERE age > 99",
            Policy.SPIDER,
            Verdict.BOTH_EMPTY,
            "both_empty",
        ),
        # Golds that cannot tell.
        ("SELECT nam FROM singer", OLD, Policy.SPIDER, Verdict.GOLD_FAILED, "gold_failed"),
        (ENDLESS, OLD, Policy.STRICT, Verdict.GOLD_TIMEOUT, "gold_timeout"),
        # The right answer, dressed up.
        (OLD, f"{OLD};", Policy.BIRD, Verdict.CORRECT, "pair"),
        (OLD, f"{OLD} ;;", Policy.SPIDER, Verdict.CORRECT, "pair"),
        (OLD, f"```sql\n{OLD} -- grown up\n```", Policy.BIRD, Verdict.CORRECT, "pair"),
        (OLD, "SELECT name /* ; it's */ FROM singer WHERE age > 30", Policy.SPIDER, Verdict.CORRECT, "pair"),
    ],
)
def test_planted(
    pool: SandboxPool,
    concerts: Path,
    tmp_path: Path,
    gold: str,
    answer: str,
    policy: Policy,
    verdict: Verdict,
    reason: str,
) -> None:
    judged = judge_all(pool, concerts, gold, [answer, WRONG], policy, 0, tmp_path)
    assert judged[0].verdict is verdict
    decision = decide_pairs(judged, command())
    assert decision.reason == reason
    for choice in decision.pairings:
        assert choice.rejected.text == WRONG
        assert all(mark not in choice.chosen.text for mark in (";", "--", "/*", "`"))


def test_equal_by_chance_is_disputed_and_takes_no_side(pool: SandboxPool, concerts: Path, tmp_path: Path) -> None:
    chance = "SELECT name FROM singer WHERE age >= 35"
    judged = judge_all(pool, concerts, OLD, [chance, WRONG, OLD], Policy.SPIDER, 8, tmp_path)
    assert [row.verdict for row in judged] == [Verdict.DISPUTED, Verdict.WRONG, Verdict.CORRECT]
    assert judged[0].suite_databases_lost > 0 and judged[2].suite_databases > 0 == judged[2].suite_databases_lost
    (choice,) = decide_pairs(judged, command("all_capped")).pairings
    assert (choice.chosen.text, choice.rejected.text) == (OLD, WRONG)


def test_a_right_answer_in_two_forms_is_one_side(pool: SandboxPool, concerts: Path, tmp_path: Path) -> None:
    forms = [OLD, f"{OLD};", OLD.lower(), f"{OLD} -- x", OLD.replace(" ", "  ")]
    decision: Decision = decide_pairs(
        judge_all(pool, concerts, OLD, [*forms, WRONG], Policy.BIRD, 0, tmp_path), command()
    )
    (choice,) = decision.pairings
    assert (choice.chosen.slot, choice.chosen.samples) == (0, 5)


def test_a_right_answer_that_is_too_slow_is_no_mistake_of_sql(
    pool: SandboxPool, concerts: Path, tmp_path: Path
) -> None:
    crossed = ", ".join(f"singer {letter}" for letter in "abcdefghij")
    slow = f"{OLD} AND (SELECT count(*) FROM {crossed}) > 0"
    judged = judge_all(pool, concerts, OLD, [OLD, slow], Policy.BIRD, 0, tmp_path)
    assert judged[1].verdict is Verdict.TIMEOUT and judged[1].program not in (None, judged[0].program)
    assert (
        decide_pairs([judged[0], judged[1].model_copy(update={"program": judged[0].program})], command()).reason
        == "filtered"
    )
