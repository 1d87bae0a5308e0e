"""The tasks of the pairing service: sample the weak model, choose its temperature, build pairs, collect them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from services.pairing.card import PairCardData, render_markdown
from services.pairing.card_html import render_html
from services.pairing.collect import (
    LengthEstimator,
    SelectionRules,
    completion_texts,
    export_pairs,
    measure_shape,
    select_pairs,
)
from services.pairing.decide import BAD_GOLD_VERDICTS, decide_pairs, make_pair
from services.pairing.error_profile import ErrorTally, count_answers, derive_wishes
from services.pairing.policies import PAIR_FILTERS, REJECTED_VERDICTS
from services.pairing.style_probe import probe_style
from shared.catalog.databases import CardCache
from shared.contracts.base import TaskContract
from shared.contracts.pairing import (
    BUILD_PAIRS,
    CHOOSE_TEMPERATURE,
    COLLECT_PAIRS,
    PROFILE_ERRORS,
    SAMPLE_CANDIDATES,
    BuildPairs,
    ChooseTemperature,
    CollectedPairCounts,
    CollectPairs,
    PairCounts,
    ProfiledCounts,
    ProfileErrors,
    SampleCandidates,
    SampledCounts,
    TemperatureCounts,
)
from shared.contracts.records import (
    Example,
    JudgedCandidate,
    Pair,
    ProfileCount,
    SuspectGold,
    TriedTemperature,
    Verdict,
)
from shared.llm.endpoints import load_profile
from shared.llm.errors import LlmContentFilterError, LlmContextLengthError, LlmMalformedError
from shared.models.manifest import chosen_model
from shared.sampling import SamplingParams, candidate_outputs, draw_candidates, stage_budget
from shared.storage.records import dump_records
from shared.tasks.task import Shard, TaskResult, Work

# What an endpoint refuses for one question, which then gives no pairs. Any other error concerns all questions.
REFUSALS = (LlmContentFilterError, LlmContextLengthError, LlmMalformedError)
UNPAIRED_VERDICTS = (Verdict.DISPUTED, Verdict.UNEXTRACTABLE)


def sample_candidates(command: SampleCandidates, shard: Shard) -> TaskResult:
    """`samples` answers a question, from any endpoint, through the common client."""
    examples = shard.rows(command.examples, Example)
    asking = SamplingParams(
        model=chosen_model(shard, command.model_from, command.model),
        samples=command.samples,
        temperature=chosen_temperature(command, shard),
        top_p=command.top_p,
        max_tokens=command.max_tokens,
        seed=command.seed,
        sample_rows=command.sample_rows,
        style=command.style,
    )
    budget = stage_budget(shard, command.endpoint, command.budget_usd, command.budget_tokens)
    profile = load_profile(command.endpoint)
    candidates, tokens, endings = draw_candidates(shard, profile, examples, asking, budget, skip=REFUSALS)
    counts = SampledCounts(
        questions=len(examples),
        candidates=len(candidates),
        unextractable=sum(candidate.sql is None for candidate in candidates),
        # A refused question has no candidate at all.
        refused=len(examples) - len({candidate.example_id for candidate in candidates}),
        **tokens.counts(),
        **endings,
    )
    return TaskResult(counts, candidate_outputs(shard, examples, candidates))


def chosen_temperature(command: SampleCandidates, shard: Shard) -> float:
    """The temperature that a sweep chose; without a sweep, the command's."""
    tried = shard.stage_records(command.chosen, "choice", TriedTemperature) if command.chosen is not None else ()
    return next((one.temperature for one in tried if one.chosen), command.temperature)


def choose_temperature(command: ChooseTemperature, shard: Shard) -> TaskResult:
    """Chooses the temperature at which the largest share of questions can give a pair."""
    tried = compare_temperatures(
        command.temperatures, [shard.stage_records(stage, "judged", JudgedCandidate) for stage in command.judged]
    )
    best = next(one for one in tried if one.chosen)
    counts = TemperatureCounts(
        questions=best.questions, mixed=best.mixed, temperature_milli=round(1000 * best.temperature)
    )
    return TaskResult(counts, {"choice": shard.write_records("choice", tried)})


def count_mixed_questions(judged: Iterable[JudgedCandidate]) -> tuple[int, int]:
    """(questions, those with a right and a wrong answer)."""
    right: set[str] = set()
    wrong: set[str] = set()
    every: set[str] = set()
    for row in judged:
        name = row.candidate.example_id
        every.add(name)
        if row.verdict is Verdict.CORRECT:
            right.add(name)
        elif row.verdict in REJECTED_VERDICTS:
            wrong.add(name)
    return len(every), len(right & wrong)


def compare_temperatures(
    temperatures: Sequence[float], judged: Iterable[Iterable[JudgedCandidate]]
) -> list[TriedTemperature]:
    """One record a temperature, in their order, one of them chosen.

    Of equally good temperatures the lowest is chosen: its answers are nearest to what the model says when it is served.
    """
    counts = [count_mixed_questions(rows) for rows in judged]
    shares = [mixed / questions if questions else 0.0 for questions, mixed in counts]
    best = min(range(len(shares)), key=lambda place: (-shares[place], temperatures[place]))
    return [
        TriedTemperature(temperature=temperature, questions=questions, mixed=mixed, chosen=place == best)
        for place, (temperature, (questions, mixed)) in enumerate(zip(temperatures, counts, strict=True))
    ]


def build_pairs(command: BuildPairs, shard: Shard) -> TaskResult:
    """One decision a question. Questions without a pair and refused pairings are counted by reason."""
    # Pairs are decided by question, so its candidates have to be together.
    grouped: dict[str, list[JudgedCandidate]] = {}
    for row in shard.rows(command.judged, JudgedCandidate):
        grouped.setdefault(row.candidate.example_id, []).append(row)
    pairs: list[Pair] = []
    suspects: list[SuspectGold] = []
    tally = ErrorTally()
    for judged in grouped.values():
        decision = decide_pairs(judged, command)
        tally.add(judged, decision)
        pairs += [make_pair(pairing, judged[0], command.policy) for pairing in decision.pairings]
        suspects += [decision.suspect] if decision.suspect is not None else []
    outputs = {
        "pairs": shard.write_records("pairs", pairs),
        "suspects": shard.write_records("suspects", suspects),
        "profile": shard.write_records("profile", tally.rows()),
    }
    return TaskResult(pair_counts(tally, pairs, len(grouped)), outputs)


def pair_counts(tally: ErrorTally, pairs: Sequence[Pair], questions: int) -> PairCounts:
    reasons, verdicts = Counter(tally.named("reason")), Counter(tally.verdicts())
    # A bad gold ends the decision with the verdict as its reason.
    bad = {verdict.value: reasons[verdict.value] for verdict in BAD_GOLD_VERDICTS}
    return PairCounts(
        questions=questions,
        pairs=len(pairs),
        all_correct=reasons["all_correct"],
        none_correct=reasons["none_correct"],
        excluded_gold=sum(bad.values()),
        suspect_gold=reasons["suspect_gold"],
        filtered=reasons["filtered"],
        gold_chosen=sum(pair.gold_chosen for pair in pairs),
        unpaired=sum(verdicts[verdict.value] for verdict in UNPAIRED_VERDICTS),
        **bad,
        **{name: tally.named("filter").get(name, 0) for name in PAIR_FILTERS},
    )


def collect_pairs(command: CollectPairs, shard: Shard) -> TaskResult:
    """Reads pair shards in order. Writes the DPO records, the control's (SFT on the same chosen SQL) and the card."""
    examples = {row.example_id: row for row in shard.stage_records(command.dataset, "examples", Example)}
    catalog = CardCache(shard.objects)
    lengths = LengthEstimator(catalog, command.sample_rows, command.style)

    def too_long(example: Example, pair: Pair) -> bool:
        # The trainer's length is not known.
        if command.max_length is None:
            return False
        return lengths.longest(example, completion_texts(example, pair, command.style.target)) > command.max_length

    rules = SelectionRules(seed=command.seed, limit=command.limit, syntax_share=command.syntax_share)
    selected = select_pairs(shard.stage_records(command.pairs, "pairs", Pair), examples, too_long, rules)
    suspects = [with_question(one, examples) for one in shard.stage_records(command.pairs, "suspects", SuspectGold)]
    tally = ErrorTally()
    tally.merge(shard.stage_records(command.pairs, "profile", ProfileCount))
    probe = probe_style(selected.pairs, command.seed)
    card = PairCardData(command, selected, tally, probe, suspects, examples)
    shape = measure_shape(selected.pairs)
    outputs = {
        **export_pairs(shard, selected.pairs, examples, catalog, command),
        "suspects": shard.export("suspect_golds.jsonl", dump_records(suspects)),
        "profile": shard.export("profile.json", tally.profile().model_dump_json().encode()),
        "shape": shard.export("shape.json", shape.model_dump_json().encode()),
        "card": shard.export("card.md", render_markdown(card).encode()),
        "page": shard.export("card.html", render_html(card, shape).encode()),
    }
    counts = CollectedPairCounts(
        pairs=len(selected.pairs),
        outside=selected.outside,
        duplicates=selected.duplicates,
        too_long=selected.too_long,
        syntax_capped=selected.syntax_capped,
        over_limit=selected.over_limit,
        suspect_golds=len(suspects),
    )
    return TaskResult(counts, outputs)


def with_question(suspect: SuspectGold, examples: dict[str, Example]) -> SuspectGold:
    example = examples.get(suspect.example_id)
    if example is None:
        return suspect
    return suspect.model_copy(update={"question": example.question, "database_id": example.database_id})


def profile_errors(command: ProfileErrors, shard: Shard) -> TaskResult:
    """What a stage's answers get wrong, and what to write more of because of it."""
    levels = {row.example_id: row.level for row in shard.stage_records(command.asked, "examples", Example)}
    tally = ErrorTally()
    for row in shard.stage_records(command.judged, "judged", JudgedCandidate):
        tally.add_answers([row], levels.get(row.candidate.example_id))
    profile = tally.profile()
    wishes = derive_wishes(profile, command.levels)
    answers, failed = count_answers(profile.outcomes)
    counts = ProfiledCounts(answers=answers, failed=failed, wishes=sum(wish.kind == "feature" for wish in wishes))
    outputs = {
        "profile": shard.export("profile.json", profile.model_dump_json().encode()),
        "wishes": shard.write_records("wishes", wishes),
    }
    return TaskResult(counts, outputs)


TASKS: dict[TaskContract, Work[Any]] = {
    PROFILE_ERRORS: profile_errors,
    SAMPLE_CANDIDATES: sample_candidates,
    CHOOSE_TEMPERATURE: choose_temperature,
    BUILD_PAIRS: build_pairs,
    COLLECT_PAIRS: collect_pairs,
}
