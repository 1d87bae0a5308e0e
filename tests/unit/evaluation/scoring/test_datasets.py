"""Datasets in a report: everything counts, empties and failing golds as officially, strict and votes beside it."""

from services.evaluation.model import ArmResults, ArmSpec, BenchmarkInput, ReportInput
from services.evaluation.reports.build import build_report, per_question
from services.evaluation.reports.html import render_html
from services.evaluation.reports.text import render_markdown, render_terminal
from services.evaluation.scoring.datasets import elected, score_benchmark
from shared.contracts.records import Example, JudgedCandidate, Outcome, Policy, ResultView, Verdict
from tests.unit.evaluation.sample import example, judged, make_input

HARDNESS = ("easy", "extra", None)
LOST = ResultView(outcome=Outcome.ROW_LIMIT, row_count=9, message="the result has more than 8 rows")


def questions(count: int = 6) -> dict[str, Example]:
    found = [example(n, "test", f"db{n % 2}", index=n, hardness=HARDNESS[n % 3]) for n in range(count)]
    return {one.example_id: one for one in found}


def rows_of(examples: dict[str, Example], verdicts: list[Verdict], slot: int = 0) -> list[JudgedCandidate]:
    pairs = zip(examples, verdicts, strict=False)
    return [judged(name, verdict, slot, policy=Policy.SPIDER) for name, verdict in pairs]


def given(rows: list[JudgedCandidate], strict: list[JudgedCandidate], **arm: object) -> BenchmarkInput:
    spec = ArmSpec.model_validate({"id": "m", "title": "M", "model": "m", **arm})
    return BenchmarkInput(
        name="spider-dev/dev",
        dataset=f"spider-dev@{'0' * 16}",
        split="dev",
        policy=Policy.SPIDER,
        licence="CC",
        prompt="create-select/1",
        examples=questions(),
        arms=[ArmResults(arm=spec, rows=rows)],
        strict={"m": strict},
    )


GREEDY = [
    Verdict.CORRECT,
    Verdict.BOTH_EMPTY,
    Verdict.WRONG,
    Verdict.GOLD_FAILED,
    Verdict.ERROR,
]  # the sixth question is not answered


def greedy_input() -> BenchmarkInput:
    examples = questions()
    rows = rows_of(examples, GREEDY)
    failed = ResultView(outcome=Outcome.UNKNOWN_TABLE, message="no such table: x")
    rows[3] = rows[3].model_copy(update={"gold_result": failed})
    strict = rows_of(examples, [Verdict.WRONG, *GREEDY[1:]])
    return given(rows, strict)


def test_every_question_counts() -> None:
    board = score_benchmark(greedy_input())
    score = board.score()
    (arm,) = score.arms
    assert (score.questions, score.gold_empty, round(score.ceiling, 4)) == (6, 1, round(5 / 6, 4))
    assert score.gold_failed == ["question 3 (db1): unknown_table: no such table: x"]
    assert (arm.official.correct, arm.official.total) == (2, 6)
    assert (arm.strict.correct, arm.strict.total) == (1, 6)
    assert (arm.gold_not_empty.correct, arm.gold_not_empty.total) == (1, 5)
    assert {name: (one.correct, one.total) for name, one in arm.hardness.items()} == {
        "easy": (1, 2),
        "extra": (1, 2),
        "not stated": (0, 2),
    }
    assert arm.failures == {"gold_failed": 1, "unanswered": 1, "unknown_column": 1, "wrong_columns": 1}
    (total,) = board.scores(100, 0)
    assert (total.accuracy, total.questions, total.unanswered) == (round(2 / 6, 6), 6, 1)
    assert total.verdicts["both_empty"] == 1


def test_a_gold_that_the_sandbox_does_not_read_to_its_end_lowers_the_ceiling() -> None:
    rows = rows_of(questions(), [Verdict.DISPUTED] + [Verdict.CORRECT] * 5)
    rows[0] = rows[0].model_copy(update={"gold_result": LOST})
    score = score_benchmark(given(rows, rows)).score()
    assert (round(score.ceiling, 4), score.arms[0].failures) == (round(5 / 6, 4), {"disputed": 1})


def test_the_vote_goes_by_result_and_ties_by_the_first_seen() -> None:
    def row(slot: int, result: str | None, verdict: Verdict = Verdict.WRONG) -> JudgedCandidate:
        outcome = Outcome.OK if result else Outcome.SYNTAX_ERROR
        return judged("a", verdict, slot).model_copy(update={"result_hash": result, "outcome": outcome})

    assert elected([row(0, None), row(1, None)]) is None
    chosen = elected([row(0, "x"), row(1, "y"), row(2, None), row(3, None), row(4, "y")])
    assert chosen is not None and chosen.candidate.slot == 1
    tie = elected([row(0, "x"), row(1, "y"), row(2, "y"), row(3, "x")])
    assert tie is not None and tie.candidate.slot == 0


def test_samples_have_a_mean_a_vote_and_pass_at_k() -> None:
    examples = questions()
    rows = []
    for slot in range(3):
        verdicts = [Verdict.CORRECT if slot or n % 2 else Verdict.WRONG for n in range(6)]
        made = rows_of(examples, verdicts, slot)
        rows += [row.model_copy(update={"result_hash": row.verdict.value}) for row in made]
    board = score_benchmark(given(rows, rows, greedy=False, samples=3, temperature=1.0))
    (arm,) = board.score().arms
    assert (arm.official.correct, arm.official.total) == (15, 18)
    assert arm.majority is not None and (arm.majority.correct, arm.majority.total) == (6, 6)
    (total,) = board.scores(100, 0)
    assert (total.k, total.pass_at_k) == (3, 1.0)


def test_a_report_with_built_in_sets_and_a_data_set_shows_both() -> None:
    base = make_input()
    whole = base.model_copy(update={"benchmarks": [greedy_input()]})
    report = build_report(whole)
    plain = build_report(base)
    assert [one.name for one in report.sets] == ["held-out", "handwritten", "spider-dev/dev"]
    assert report.scores[: len(plain.scores)] == plain.scores and report.credit == plain.credit
    alone = build_report(
        ReportInput(job_id="j", job_name="n", examples={}, arms=[], benchmarks=[greedy_input()], resamples=100)
    )
    for data in (report, alone):
        for text in (render_terminal(data), render_markdown(data), render_html(data)):
            for words in ("spider-dev", "EX, strict", "33.3", "16.7", "no such table: x", "unanswered"):
                assert words in text, words
    lines = list(per_question(whole))
    assert [line["index"] for line in lines[-6:]] == list(range(6))
    assert lines[-5]["arms"]["m"][0]["ex"] == 1 and lines[-6]["arms"]["m"][0]["strict"] == "wrong"
