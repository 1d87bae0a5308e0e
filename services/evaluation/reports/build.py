"""From judged answers to a report. Pure: equal input gives equal bytes."""

from collections.abc import Iterator
from typing import Any

from services.evaluation.model import ArmScore, Promotion, ReportData, ReportInput, StageSpan, Timeline
from services.evaluation.reports.format import seconds_text
from services.evaluation.reports.sentences import MAIN_SET, caveats, credit_sentence, data_source, findings, pair_note
from services.evaluation.scoring.arms import (
    SET_NAMES,
    TEST_SETS,
    QuestionSet,
    ScoredArm,
    index_arms,
    index_rows,
    question_set,
    score_arm,
)
from services.evaluation.scoring.comparisons import compare_all, pick_cases
from services.evaluation.scoring.datasets import ScoredBenchmark, is_right, score_benchmark
from services.evaluation.scoring.promotion import promote
from shared.contracts.records import Example, JudgedCandidate, Verdict

WRITE, VERIFY = "synthesis.write_examples", "sandbox.verify_examples"
SAMPLE, JUDGE, TRAIN = "pairing.sample_candidates", "sandbox.judge_candidates", "training.train_model"


def build_report(given: ReportInput) -> ReportData:
    """Raises InvalidInputError for an arm or slot that comes twice, and for answers to unknown or training examples."""
    arms = index_arms(given)
    sets = scored_sets(given)
    datasets = [score_benchmark(one) for one in given.benchmarks]
    scores = score_all(given, arms, sets)
    scores += [score for dataset in datasets for score in dataset.scores(given.resamples, given.bootstrap_seed)]
    comparisons = [one for questions in sets for one in compare_all(given, arms, questions)]
    comparisons += [
        one
        for dataset in datasets
        for one in compare_all(with_reference(given, dataset), dataset.arms, dataset.questions)
    ]
    facts = [*(questions.facts() for questions in sets), *(dataset.facts() for dataset in datasets)]
    main = next((one.name for one in facts if one.scored), MAIN_SET)
    credit = credit_sentence(given, comparisons, main)
    promotion = promote(given, arms)
    benchmarks = [dataset.score() for dataset in datasets]
    case_arms = choose_case_arms(given, arms, promotion)
    return ReportData(
        job_id=given.job_id,
        job_name=given.job_name,
        reference_arm=given.reference_arm,
        findings=findings(
            given,
            sets=facts,
            scores=scores,
            benchmarks=benchmarks,
            comparisons=comparisons,
            credit=credit,
            promotion=promotion,
        ),
        caveats=caveats(given, facts, scores),
        sets=facts,
        scores=scores,
        benchmarks=benchmarks,
        comparisons=comparisons,
        credit=credit,
        promotion=promotion,
        case_arms=case_arms and (arms[case_arms[0]].results.arm.title, arms[case_arms[1]].results.arm.title),
        cases=pick_cases(arms[case_arms[0]], arms[case_arms[1]], sets) if case_arms else [],
        data=given.data,
        data_source=data_source(given.data) if given.data else None,
        pairs=given.pairs,
        pair_note=pair_note(given.pairs) if given.pairs else None,
        rounds=given.rounds,
        wave=given.wave,
        training=given.training,
        timeline=build_timeline(given.timeline),
        environment=given.environment,
        training_seeds=given.training_seeds,
        bootstrap_seed=given.bootstrap_seed,
        resamples=given.resamples,
    )


def with_reference(given: ReportInput, dataset: ScoredBenchmark) -> ReportInput:
    """The input with the dataset's first arm as reference where the usual one has no answers."""
    if given.reference_arm in dataset.arms or not dataset.arms:
        return given
    return given.model_copy(update={"reference_arm": next(iter(dataset.arms))})


def scored_sets(given: ReportInput) -> list[QuestionSet]:
    rows = [row for results in given.arms for row in results.rows]
    found = [question_set(name, given.examples.values(), rows) for name in TEST_SETS]
    return [questions for questions in found if questions.questions]


def score_all(given: ReportInput, arms: dict[str, ScoredArm], sets: list[QuestionSet]) -> list[ArmScore]:
    """Every arm on every set; sampled arms only where they answered."""
    found = [score_arm(arm, one, given.resamples, given.bootstrap_seed) for one in sets for arm in arms.values()]
    return [score for score in found if score.arm.greedy or score.questions]


def choose_case_arms(
    given: ReportInput, arms: dict[str, ScoredArm], promotion: Promotion | None
) -> tuple[str, str] | None:
    """DPO against the reference; else the promoted arm, then the control, then reference against baseline."""
    reference = given.reference_arm
    promoted = promotion.arm_id if promotion else None
    wanted = [(name, reference) for name in (given.treatment_arm, promoted, given.control_arm) if name]
    wanted.append((reference, given.baseline_arm))
    answered = {name for name, arm in arms.items() if arm.by_example and arm.results.arm.greedy}
    return next(((a, b) for a, b in wanted if a != b and a in answered and b in answered), None)


def per_question(given: ReportInput) -> Iterator[dict[str, Any]]:
    """One line for each question of every set: each arm's answers, and whether it counts (`ex` is 0 or 1)."""
    arms = index_arms(given)
    rows = [row for results in given.arms for row in results.rows]
    index = 0
    for split_name in SET_NAMES.values():
        questions = question_set(split_name, given.examples.values(), rows)
        left_out = questions.gold_failed | questions.gold_empty
        for example in questions.questions:
            yield question_line(index, questions, example, arms, example.example_id not in left_out)
            index += 1
    for dataset in map(score_benchmark, given.benchmarks):
        yield from benchmark_lines(dataset)


def benchmark_lines(dataset: ScoredBenchmark) -> Iterator[dict[str, Any]]:
    """One line for each question of a dataset; `index` is its number there, `strict` the strict verdict."""
    given = dataset.given
    official = {one.arm.id: index_rows(one.rows) for one in given.arms}
    strict = {name: index_rows(rows) for name, rows in given.strict.items()}
    for example in dataset.questions.questions:
        # Without arms: theirs follow below, by the official verdicts.
        line = question_line(example.index or 0, dataset.questions, example, {}, True)
        arms = {
            name: [
                {**answer_line(row), "ex": int(is_right(row)), **strict_part(strict.get(name, {}), row)}
                for row in rows[example.example_id]
            ]
            for name, rows in official.items()
            if example.example_id in rows
        }
        yield {**line, "hardness": example.hardness, "dataset": given.dataset, "arms": arms}


def strict_part(rows: dict[str, list[JudgedCandidate]], row: JudgedCandidate) -> dict[str, str]:
    same = (one for one in rows.get(row.candidate.example_id, ()) if one.candidate.slot == row.candidate.slot)
    found = next(same, None)
    return {} if found is None else {"strict": found.verdict.value}


def question_line(
    index: int, questions: QuestionSet, example: Example, arms: dict[str, ScoredArm], scored: bool
) -> dict[str, Any]:
    answers = {
        name: arm.by_example[example.example_id] for name, arm in arms.items() if example.example_id in arm.by_example
    }
    return {
        "index": index,
        "example_id": example.example_id,
        "db_id": example.database_id,
        "domain": example.domain,
        "level": example.level,
        "set": questions.name,
        "question": example.question,
        "evidence": example.evidence,
        "gold": example.gold,
        "scored": scored,
        "arms": {name: [answer_line(row) for row in rows] for name, rows in answers.items()},
    }


def answer_line(row: JudgedCandidate) -> dict[str, Any]:
    return {
        "slot": row.candidate.slot,
        "sql": row.candidate.sql,
        "verdict": row.verdict.value,
        "outcome": row.outcome.value,
        "ex": int(row.verdict is Verdict.CORRECT),
    }


def build_timeline(stages: list[StageSpan]) -> Timeline | None:
    """Stages by first start on a clock from 0; None without stages."""
    if not stages:
        return None
    origin = min(stage.first_start for stage in stages)
    moved = sorted((shifted(stage, origin) for stage in stages), key=lambda one: (one.first_start, one.stage_id))
    wall = max(stage.last_end for stage in moved)
    busy = round(sum(stage.busy_seconds for stage in moved), 3)
    text = f"The stages were busy for {seconds_text(busy)} in all, within {seconds_text(wall)} of wall clock."
    sentences = [text, *overlap_sentences(moved)]
    return Timeline(stages=moved, wall_seconds=wall, busy_seconds=busy, sentences=sentences)


def shifted(stage: StageSpan, origin: float) -> StageSpan:
    spans = [
        one.model_copy(update={"start": round(one.start - origin, 3), "end": round(one.end - origin, 3)})
        for one in sorted(stage.spans, key=lambda one: (one.start, one.shard))
    ]
    moved = {"first_start": round(stage.first_start - origin, 3), "last_end": round(stage.last_end - origin, 3)}
    return stage.model_copy(update={**moved, "spans": spans, "busy_seconds": round(stage.busy_seconds, 3)})


def overlap_sentences(stages: list[StageSpan]) -> list[str]:
    writing, verifying, sampling = first(stages, WRITE), first(stages, VERIFY), first(stages, SAMPLE)
    sentences: list[str] = []
    if writing and verifying:
        sentences.append(relation("verification", verifying, writing, "the last example was written"))
    if writing and sampling:
        sentences.append(sampling_sentence(stages, sampling, writing))
    if sampling and (judging := judging_of(stages, sampling)):
        sentences.append(relation("judging", judging, sampling, "the last candidate was sampled"))
    return sentences


def first(stages: list[StageSpan], task: str) -> StageSpan | None:
    return next((stage for stage in stages if stage.task == task), None)


def judging_of(stages: list[StageSpan], sampling: StageSpan) -> StageSpan | None:
    return next((one for one in stages if one.task == JUDGE and one.first_start >= sampling.first_start), None)


def sampling_sentence(stages: list[StageSpan], sampling: StageSpan, writing: StageSpan) -> str:
    # With weak.sft_first the sampled model is trained first, so sampling cannot overlap with writing.
    trained = [one for one in stages if one.task == TRAIN and one.last_end <= sampling.first_start]
    if trained and sampling.first_start >= writing.last_end:
        last = max(trained, key=lambda one: (one.last_end, one.stage_id))
        gap = seconds_text(sampling.first_start - last.last_end)
        return f"Sampling waited for SFT (weak.sft_first): it began {gap} after {last.stage_id} ended."
    return relation("sampling", sampling, writing, "the last example was written")


def relation(what: str, later: StageSpan, earlier: StageSpan, event: str) -> str:
    lead = earlier.last_end - later.first_start
    if lead > 0:
        return f"{what.capitalize()} began {seconds_text(lead)} before {event}."
    return f"{what.capitalize()} began {seconds_text(-lead)} after {event}: no overlap."
