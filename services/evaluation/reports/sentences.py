"""The sentences of the report. Each says what was counted; none claims more than its interval."""

from collections.abc import Sequence

from services.evaluation.metrics.failures import DEPENDS
from services.evaluation.model import (
    ArmComparison,
    ArmScore,
    BenchmarkScore,
    DataStats,
    PairStats,
    Promotion,
    ReportInput,
    RoundFacts,
    SetFacts,
    SetName,
    WaveFacts,
)
from services.evaluation.reports.format import accuracy_text, decimals, percent, points_text, tally_text
from services.evaluation.reports.tables import result_of, share_text
from services.evaluation.scoring.comparisons import ABOVE, BELOW, find

ON_POLICY = "The weak model is the student after SFT: on-policy, not the paper's weak model."
MAIN_SET: SetName = "held-out"


def compared(comparison: ArmComparison) -> str:
    counts = f"wins {comparison.wins}, losses {comparison.losses}"
    names = f"{comparison.arm_title} vs {comparison.other_title}"
    return f"{names}: {points_text(comparison)} points, {counts}: {comparison.conclusion}."


def credit_sentence(given: ReportInput, comparisons: list[ArmComparison], set_name: SetName = MAIN_SET) -> str:
    """Preference training gets credit only against the control of the same steps."""
    results = [*given.arms, *(arm for one in given.benchmarks for arm in one.arms)]
    arms = {one.arm.id for one in results if one.rows}
    if given.treatment_arm not in arms:
        built = "" if given.pairs is None else f" ({given.pairs.pairs} pairs were built)"
        return f"There is no DPO arm{built}, so nothing is credited to preference training."
    if given.control_arm not in arms:
        return "There is no control arm, so a difference of DPO to SFT may come from more training: none is credited."
    against = find(comparisons, set_name, given.treatment_arm, given.control_arm)
    if against is None:
        return "DPO and the control have no question in common, so nothing is credited to preference training."
    over_reference = find(comparisons, set_name, given.treatment_arm, given.reference_arm)
    return (
        f"{against.arm_title} vs {against.other_title}: {points_text(against)} points{verdict(against, over_reference)}"
    )


def verdict(against: ArmComparison, over_reference: ArmComparison | None) -> str:
    if against.conclusion == BELOW:
        return ", clear of zero: preference training did worse than the same steps of SFT on the chosen SQL."
    if against.conclusion != ABOVE:
        return f": {against.conclusion}, so no gain is credited to preference training."
    # Above the control is not enough: the control itself may have fallen below the SFT model.
    if over_reference is not None and over_reference.conclusion == ABOVE:
        return ", clear of zero: on this set and training seed the gain is credited to preference training."
    return ", clear of zero: above the control, but a gain over the SFT model itself is not shown."


def findings(
    given: ReportInput,
    *,
    sets: list[SetFacts],
    scores: list[ArmScore],
    benchmarks: list[BenchmarkScore],
    comparisons: list[ArmComparison],
    credit: str,
    promotion: Promotion | None,
) -> list[str]:
    # A built-in set leads where there is one; a job may also have datasets only.
    main = next((one for one in sets if one.scored and one.policy is None), None)
    lines = [] if main is None else [set_sentence(main)]
    if main is not None:
        greedy = [one for one in scores if one.set_name == main.name and one.arm.greedy]
        lines.append(
            "Execution accuracy: " + "; ".join(f"{one.arm.title} {accuracy_text(one)}" for one in greedy) + "."
        )
        pairs = [(given.reference_arm, given.baseline_arm), (given.treatment_arm, given.reference_arm)]
        found = [find(comparisons, main.name, arm, other) for arm, other in pairs]
        lines += [compared(one) for one in found if one is not None]
        lines += [smallest_sentence(one) for one in found[1:] if one is not None and one.smallest_effect is not None]
    lines += [benchmark_sentence(one) for one in benchmarks]
    if main is None:
        lines += [compared(one) for one in comparisons]
    lines.append(credit)
    if given.rounds:
        lines.append(round_sentence(given.rounds))
    return [*lines, promotion.reason] if promotion else lines


def benchmark_sentence(one: BenchmarkScore) -> str:
    arms = "; ".join(
        f"{arm.arm.title} {tally_text(arm.official)}"
        + ("" if one.policy == "strict" else f", strict {percent(arm.strict.correct / max(1, arm.strict.total))}")
        for arm in one.arms
    )
    return f"{one.set_name} ({one.questions} questions, {one.policy} policy): {arms or 'no arm was asked'}."


def set_sentence(main: SetFacts) -> str:
    return f"{main.scored} {main.name} questions count, over {main.databases} databases in {main.domains} domains."


def smallest_sentence(comparison: ArmComparison) -> str:
    error = f"{decimals(comparison.standard_error, 2)} points"
    return (
        # 2.8: see SMALLEST_EFFECT_ERRORS
        "The smallest difference that this size would show 8 times in 10 is "
        f"{decimals(comparison.smallest_effect)} points (2.8 x the clustered bootstrap's standard error of {error})."
    )


def caveats(given: ReportInput, sets: list[SetFacts], scores: list[ArmScore]) -> list[str]:
    seeds = "One training seed" if given.training_seeds == 1 else f"{given.training_seeds} training seeds"
    lines = [f"{seeds}: intervals cover the choice of databases, not the spread between training runs."]
    lines.append(
        f"Intervals are 95 % percentile intervals of {given.resamples} bootstrap resamples of whole databases "
        f"(seed {given.bootstrap_seed}); with few databases they are somewhat too narrow. "
        "Comparisons are not corrected for their number."
    )
    lines += [set_caveat(one) for one in sets if one.gold_failed or one.gold_empty]
    lines += [f"{one.name}: fewer than two databases, so no interval is given." for one in sets if one.databases == 1]
    lines += [answer_caveat(one) for one in scores if one.unanswered or (one.accuracy is None and one.arm.greedy)]
    if given.pairs is not None and given.pairs.on_policy:
        lines.append(ON_POLICY)
    lines += [f"{one}." for one in given.endings]
    lines += round_caveats(given.rounds)
    if control_unsampled(given):
        lines.append("The control was not sampled, so no difference between sampled answers is credited to DPO.")
    return lines


def control_unsampled(given: ReportInput) -> bool:
    models = {one.arm.id: one.arm.model for one in given.arms}
    sampled = {one.arm.model for one in given.arms if one.rows and not one.arm.greedy}
    return models.get(given.treatment_arm) in sampled and models.get(given.control_arm) not in sampled


def set_caveat(one: SetFacts) -> str:
    if one.policy is not None:
        return (
            f"{one.name}: every question counts. {one.gold_failed} golds did not run, so these questions are wrong for "
            f"every arm; {one.gold_empty} golds give no row, and there any empty result is right."
        )
    return (
        f"{one.name}: {one.gold_failed} of {one.questions} questions left out because the gold failed, "
        f"{one.gold_empty} because the gold gave no row; an empty result is never counted as correct."
    )


def answer_caveat(score: ArmScore) -> str:
    if score.accuracy is None:
        return f"{score.set_name}: {score.arm.title} has no answers, so it has no score."
    return (
        f"{score.set_name}: {score.arm.title} left {score.unanswered} questions unanswered; they count as not correct."
    )


def data_source(data: DataStats) -> str:
    if data.source:
        return data.source
    if data.writer == "grammar":
        version = data.writer_version.removeprefix("grammar/")
        return f"The examples were written by the offline grammar writer (grammar/{version}), not by a language model."
    if data.writer == "llm":
        return f"The examples were written by {data.model or 'an unnamed language model'} ({data.writer_version})."
    return f"The examples come from {data.writer} ({data.writer_version})."


def pair_note(pairs: PairStats) -> str:
    return ON_POLICY if pairs.on_policy else f"The weak model is {pairs.weak_model}, another model than the student."


SHOWN_GOLDS = 10


def data_sentences(data: DataStats) -> list[str]:
    yielded = f"{data.accepted} of {data.requested} requested examples were accepted"
    lists = (("training", data.train_domains), ("selection", data.selection_domains), ("test", data.test_domains))
    domains = "; ".join(f"{len(names)} {name}" for name, names in lists)
    shared = sorted(set(data.test_domains) & {*data.train_domains, *data.selection_domains})
    unseen = f"shared between test and the others: {', '.join(shared)}" if shared else "no test domain is in the others"
    return [f"{yielded}; {sum(data.rejected.values())} were rejected.", f"Domains: {domains}; {unseen}."]


def pair_sentences(pairs: PairStats) -> list[str]:
    total = sum(pairs.verdicts.values())
    right = pairs.verdicts.get("correct", 0)
    share = f" ({percent(right / total)} of them correct)" if total else ""
    sampling = (
        f"{pairs.questions} questions, {pairs.samples_per_question} samples each at temperature {pairs.temperature:g}"
    )
    built = f"{pairs.pairs} pairs were built" if pairs.pairs else "No pair could be built"
    return [
        f"{pairs.weak_model} was asked {sampling}: {total} answers{share}.",
        f"{built}.",
    ]


def benchmark_sentences(one: BenchmarkScore) -> list[str]:
    skipped = f" {one.skipped} questions were left out at the import, their databases missing." if one.skipped else ""
    lines = [
        f"Dataset {one.dataset}, split {one.split}; licence: {one.licence}; "
        f"published version: {one.release or 'unknown'}.{skipped}",
        f"Policy {one.policy}, metric {one.metric_version}, prompt {one.prompt}"
        + (f", SQLite {one.sqlite}: another version may give other results." if one.sqlite else "."),
        f"Ceiling {one.ceiling * 100:.2f} %: {len(one.gold_failed)} golds did not run here; "
        f"{one.gold_empty} of {one.questions} give no row.",
    ]
    lines += [f"{count} of {one.questions} questions {DEPENDS[name]}." for name, count in one.depends.items()]
    lines += [f"Gold of {line}" for line in one.gold_failed[:SHOWN_GOLDS]]
    if len(one.gold_failed) > SHOWN_GOLDS:
        lines.append(f"… and {len(one.gold_failed) - SHOWN_GOLDS} more; the JSON report has all.")
    return lines


def round_sentence(rounds: Sequence[RoundFacts]) -> str:
    parts = [
        f"round {one.number} {share_text(one.selection_correct, one.selection_questions)}, {result_of(one)}"
        if one.selection_questions
        else f"round {one.number} {result_of(one)}"
        for one in rounds
    ]
    return f"Rounds of preference training, on the selection split: {'; '.join(parts)}."


def round_caveats(rounds: Sequence[RoundFacts]) -> list[str]:
    tried = sum(one.selection_questions > 0 for one in rounds)
    questions = max((one.selection_questions for one in rounds), default=0)
    lines = []
    if tried > 1:
        lines.append(
            f"{tried} rounds were held against the SFT model on {questions} selection questions; where the best of "
            "several is taken, its score there is somewhat too high. Test sets take no part in this, and of the later "
            "rounds only the best one is tested."
        )
    if any(one.number > 1 and one.best for one in rounds):
        lines.append("The control has the steps of the first round, not those of all rounds.")
    return lines


def wave_sentence(wave: WaveFacts) -> str:
    failed = f"{wave.failed} of {wave.answers} answers of {wave.weak_model} to the first wave were not right"
    if not any(line.weight for line in wave.lines):
        return f"{failed}; no feature failed more than others, so the second wave was written like the first."
    return (
        f"{failed}. The second wave of {wave.written} examples was asked for what failed more often than the average "
        f"answer: {wave.followed} use the feature drawn for them, {wave.accepted} were accepted and joined the "
        "training data."
    )
