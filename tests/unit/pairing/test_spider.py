"""The predictions of four systems for Spider dev as recorded candidates: pairs against the official evaluator."""

from collections.abc import Iterator
from functools import cache

import pytest

from services.pairing.decide import decide_pairs, make_pair
from services.pairing.policies import POLICIES
from services.pairing.style_probe import probe_style
from services.sandbox.execution.pool import SandboxPool
from services.sandbox.judging.judge import Judge, JudgeQuestion
from services.sandbox.judging.policies import ConfiguredPolicy
from services.sandbox.tasks import find_programs, judged_records
from shared.contracts.records import Candidate, JudgedCandidate, Pair, Policy
from shared.sql.extraction import extract_sql
from tests.support.benchmarks import needs_data, read_json, spider_database, spider_golds, spider_predictions
from tests.unit.pairing.builders import command

pytestmark = needs_data
SYSTEMS = ("c3_chatgpt", "dail_sql_gpt4", "din_sql_gpt4", "graphix_t5_3b")


def candidates() -> Iterator[list[Candidate]]:
    """Four a question, in the order of SYSTEMS, through the same extraction as answers of a model."""
    files = [spider_predictions(name) for name in SYSTEMS]
    for number in range(len(files[0])):
        yield [
            Candidate(
                example_id=f"q{number}",
                slot=slot,
                answer=texts[number],
                sql=extract_sql(texts[number]),
                model="recorded",
                answer_key=f"answers/{slot}.json",
            )
            for slot, texts in enumerate(files)
        ]


@cache
def judged() -> list[list[JudgedCandidate]]:
    """Every question's candidates, as `sandbox.judge_candidates` judges them for pairs (without neighbours)."""
    given = list(candidates())
    questions = [
        JudgeQuestion(spider_database(name), gold, tuple(one.sql for one in asked))
        for (gold, name), asked in zip(spider_golds(), given, strict=True)
    ]
    with SandboxPool(2) as pool:
        strict = Judge(pool, ConfiguredPolicy(Policy.STRICT)).judge_many(questions)
        spider = Judge(pool, ConfiguredPolicy(Policy.SPIDER)).judge_many(questions)
        programs = find_programs(pool, questions, strict)
    others = [[{Policy.SPIDER: one.verdict} for one in found] for found in spider]
    return [
        judged_records(*question_rows, programs) for question_rows in zip(given, questions, strict, others, strict=True)
    ]


def built(policy: str) -> list[Pair]:
    found = []
    for rows in judged():
        choices = decide_pairs(rows, command(policy)).pairings
        found += [make_pair(choice, rows[0], policy) for choice in choices]
    return found


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"gold_chosen"}))
def test_no_rejected_side_is_officially_right_and_no_chosen_one_wrong(policy: str) -> None:
    official = read_json("predictions/spider_dev/official_verdicts.json")
    pairs = built(policy)
    assert len(pairs) > 100
    for pair in pairs:
        number = int(pair.example_id[1:])
        says = [official[SYSTEMS[slot]]["ex"][number] for slot in (pair.chosen_slot, pair.rejected_slot)]
        assert says == ["1", "0"], (number, pair)


def test_pairs_in_plain_style_are_judged_as_their_answers_were() -> None:
    golds = spider_golds()
    pairs = built("one_per_question")
    questions = [
        JudgeQuestion(spider_database(golds[number][1]), golds[number][0], (pair.chosen, pair.rejected))
        for pair in pairs
        for number in [int(pair.example_id[1:])]
    ]
    with SandboxPool(2) as pool:
        for policy in (Policy.STRICT, Policy.SPIDER):
            for chosen, rejected in Judge(pool, policy).judge_many(questions):
                assert chosen.verdict == "correct"
                assert rejected.verdict in ("wrong", "error", "timeout")


def test_length_and_case_say_little() -> None:
    auc = probe_style(built("one_per_question"), 7).auc
    assert auc is not None and 0.2 < auc < 0.8
