"""The tables of the report as cells of text, for every renderer."""

import json
from collections import Counter
from collections.abc import Sequence

from services.evaluation.model import (
    ArmComparison,
    ArmScore,
    BenchmarkScore,
    PairStats,
    ReportData,
    RoundFacts,
    SetFacts,
    WaveFacts,
)
from services.evaluation.reports.format import (
    NONE,
    accuracy_text,
    decimals,
    p_text,
    percent,
    points_text,
    rate_interval,
    seconds_text,
    tally_text,
)
from services.evaluation.scoring.arms import LEVELS
from shared.contracts.pairing import HistogramBin, ProfileLine
from shared.pages.render import TextTable


def set_title(one: SetFacts) -> str:
    if one.policy is not None:
        return one.name
    return "Held-out domains" if one.name == "held-out" else f"{one.name.capitalize()} questions"


def set_size(one: SetFacts) -> str:
    if one.policy is not None:
        return f"{one.scored} questions over {one.databases} databases, scored by the {one.policy} policy."
    return f"{one.scored} of {one.questions} questions count, over {one.databases} databases in {one.domains} domains."


def scores_of(data: ReportData, set_name: str, greedy: bool = True) -> list[ArmScore]:
    return [one for one in data.scores if one.set_name == set_name and one.arm.greedy is greedy]


def comparisons_of(data: ReportData, set_name: str) -> list[ArmComparison]:
    return [one for one in data.comparisons if one.set_name == set_name]


def score_table(data: ReportData, set_name: str) -> TextTable:
    header = ["Arm", "Shots", "Trained on", "Steps", "Execution accuracy", "95 % interval", "Invalid SQL"]
    rows = [
        [
            one.arm.title,
            str(one.arm.shots),
            str(one.arm.train_items or NONE),
            str(one.arm.train_steps or NONE),
            accuracy_text(one),
            rate_interval(one.interval),
            percent(one.invalid_sql),
        ]
        for one in scores_of(data, set_name)
    ]
    return TextTable(header, rows)


def sampled_table(data: ReportData, set_name: str) -> TextTable:
    scores = scores_of(data, set_name, greedy=False)
    passes = " / ".join(f"pass@{k}" for k in sorted({one.k for one in scores if one.k is not None}))
    header = ["Arm", "T", "Samples", "Questions", "Mean sample accuracy", "95 % interval", passes, "Invalid SQL"]
    rows = [
        [
            one.arm.title,
            f"{one.arm.temperature:g}",
            str(one.arm.samples),
            str(one.questions),
            accuracy_text(one),
            rate_interval(one.interval),
            percent(one.pass_at_k),
            percent(one.invalid_sql),
        ]
        for one in scores
    ]
    return TextTable(header, rows)


def comparison_table(data: ReportData, set_name: str) -> TextTable:
    header = ["Difference", "Points [95 %]", "Wins", "Losses", "McNemar p", "Smallest effect", "Reading"]
    rows = [
        [
            f"{one.arm_title} vs {one.other_title}",
            points_text(one),
            str(one.wins),
            str(one.losses),
            p_text(one.p_value),
            decimals(one.smallest_effect),
            one.conclusion,
        ]
        for one in comparisons_of(data, set_name)
    ]
    return TextTable(header, rows, last_is_text=True)


def level_table(data: ReportData, set_name: str) -> TextTable:
    rows = [
        [one.arm.title, *(tally_text(one.levels[level]) if level in one.levels else NONE for level in LEVELS)]
        for one in scores_of(data, set_name)
    ]
    return TextTable(["Arm", *(level.capitalize() for level in LEVELS)], rows)


def domain_table(data: ReportData, set_name: str) -> TextTable:
    scores = [one for one in scores_of(data, set_name) if one.questions]
    domains = sorted({domain for one in scores for domain in one.domains})
    rows = [
        [domain, *(f"{one.domains[domain].correct}/{one.domains[domain].total}" for one in scores)]
        for domain in domains
    ]
    return TextTable(["Domain", *(one.arm.title for one in scores)], rows)


def benchmark_of(data: ReportData, set_name: str) -> BenchmarkScore | None:
    """None for the built-in sets."""
    return next((one for one in data.benchmarks if one.set_name == set_name), None)


def benchmark_table(one: BenchmarkScore) -> TextTable:
    voted = any(arm.majority for arm in one.arms)
    columns = [f"EX, {one.policy} policy", *([] if one.policy == "strict" else ["EX, strict"]), "EX, gold not empty"]
    rows = []
    for arm in one.arms:
        cells = [arm.official, *([] if one.policy == "strict" else [arm.strict]), arm.gold_not_empty]
        vote = [tally_text(arm.majority) if arm.majority else NONE] if voted else []
        rows.append([arm.arm.title, *map(tally_text, cells), *vote])
    return TextTable(["Arm", *columns, *(["Majority vote"] if voted else [])], rows)


def hardness_table(one: BenchmarkScore) -> TextTable:
    # All arms have the same questions, and so the same levels.
    names = list(one.arms[0].hardness) if one.arms else []
    rows = [[arm.arm.title, *(tally_text(arm.hardness[name]) for name in names)] for arm in one.arms]
    return TextTable(["Arm", *names], rows)


def failure_table(one: BenchmarkScore) -> TextTable:
    total: Counter[str] = Counter()
    for arm in one.arms:
        total.update(arm.failures)
    names = sorted(total, key=lambda name: (-total[name], name))
    rows = [[name.replace("_", " "), *(str(arm.failures.get(name, 0)) for arm in one.arms)] for name in names]
    return TextTable(["Cause", *(arm.arm.title for arm in one.arms)], rows)


def promotion_table(data: ReportData) -> TextTable:
    rows = [
        [
            one.arm_id,
            one.model,
            f"{percent(one.accuracy)} ({one.correct}/{one.questions})" if one.questions else "no answers",
            "yes" if one.eligible else "no (control)",
        ]
        for one in (data.promotion.scores if data.promotion else [])
    ]
    return TextTable(["Arm", "Model", "Selection score", "Eligible"], rows, 2, last_is_text=True)


def training_table(data: ReportData) -> TextTable:
    rows = [
        [
            one.stage_id,
            one.method,
            str(one.rows),
            str(one.steps),
            decimals(one.final_loss, 4),
            seconds_text(one.seconds),
        ]
        for one in data.training
    ]
    return TextTable(["Stage", "Method", "Rows", "Steps", "Final loss", "Time"], rows, 2)


def stage_table(data: ReportData) -> TextTable:
    """In seconds since the job's first stage."""
    stages = data.timeline.stages if data.timeline else []
    rows = [
        [one.stage_id, str(one.shards), *(decimals(x) for x in (one.first_start, one.last_end, one.busy_seconds))]
        for one in stages
    ]
    return TextTable(["Stage", "Shards", "First start (s)", "Last end (s)", "Busy (s)"], rows)


def count_table(title: str, counts: dict[str, int], order: Sequence[str] = ()) -> TextTable:
    """The names of `order` first, then the largest counts."""
    rank = {name: place for place, name in enumerate(order)}
    ordered = sorted(counts.items(), key=lambda item: (rank.get(item[0], len(rank)), -item[1], item[0]))
    return TextTable([title, "Count"], [[name.replace("_", " "), str(count)] for name, count in ordered])


def error_tables(pairs: PairStats) -> list[TextTable]:
    if pairs.profile is None:
        return []
    lines = (("Outcome of the answer", pairs.profile.outcomes), ("The gold uses", pairs.profile.features))
    return [error_table(title, found) for title, found in lines if found]


def error_table(title: str, lines: Sequence[ProfileLine]) -> TextTable:
    rows = [
        [
            line.name.replace("_", " "),
            *map(str, (line.answers, line.wrong, line.error, line.timeout, line.unextractable)),
            percent(line.failed),
        ]
        for line in lines
    ]
    return TextTable([title, "Answers", "Wrong", "Error", "Timeout", "No SQL", "Not right"], rows)


def shape_tables(pairs: PairStats) -> list[TextTable]:
    shape = pairs.shape
    if shape is None or not shape.distances:
        return []
    distances = [[bin_name(one), str(one.count)] for one in shape.distances]
    lengths = [
        [bin_name(right), str(right.count), str(wrong.count)]
        for right, wrong in zip(shape.chosen, shape.rejected, strict=True)
    ]
    return [
        TextTable(["Distance, tokens", "Pairs"], distances),
        TextTable(["Length, characters", "Chosen", "Rejected"], lengths),
    ]


def bin_name(one: HistogramBin) -> str:
    # `high` is exclusive.
    return str(one.low) if one.high == one.low + 1 else f"{one.low} to {one.high - 1}"


def round_table(rounds: Sequence[RoundFacts]) -> TextTable:
    header = ["Round", "Sampled model", "Questions", "Right samples", "Pairs", "Steps", "Selection score", "Result"]
    rows = [
        [
            str(one.number),
            one.began_from,
            str(one.questions),
            share_text(one.right_samples, one.samples),
            str(one.pairs),
            str(one.steps or NONE),
            share_text(one.selection_correct, one.selection_questions),
            result_of(one),
        ]
        for one in rounds
    ]
    return TextTable(header, rows, 2, last_is_text=True)


def share_text(part: int, whole: int) -> str:
    return f"{percent(part / whole)} ({part}/{whole})" if whole else NONE


def result_of(one: RoundFacts) -> str:
    # Without training steps the round had too few pairs.
    if not one.selection_questions:
        return f"skipped: {one.pairs} pairs, {one.minimum} are needed" if not one.steps else "not scored"
    if one.best:
        return "kept, the best"
    return "kept" if one.kept else "not kept: no better than the best before"


def wave_table(wave: WaveFacts) -> TextTable:
    rows = [
        [
            line.name.replace("_", " "),
            str(line.answers),
            percent(line.failed / line.answers) if line.answers else NONE,
            percent(line.weight) if line.weight else NONE,
            f"{percent(line.written / wave.accepted)} ({line.written})" if wave.accepted else NONE,
        ]
        for line in wave.lines
    ]
    return TextTable(["The gold uses", "Answers", "Not right", "Share of the wishes", "In the second wave"], rows)


def environment_table(data: ReportData) -> TextTable:
    rows = [
        [name, value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)]
        for name, value in sorted(data.environment.items())
    ]
    return TextTable(["Environment", "Value"], rows, 2)
