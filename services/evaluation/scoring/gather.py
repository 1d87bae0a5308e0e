"""Collects the input of a report: judged answers, and facts that the stages of the job recorded."""

import os
import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import apsw

from services.evaluation.model import (
    ArmResults,
    ArmSpec,
    BenchmarkInput,
    DataStats,
    PairStats,
    PromotionCandidate,
    ReportInput,
    RoundFacts,
    ShardSpan,
    StageSpan,
    TrainingFacts,
    WaveFacts,
    WaveLine,
)
from shared.catalog.datasets import find_dataset
from shared.contracts.base import StageRef
from shared.contracts.evaluation import ArmPlan, BenchmarkPlan, PairingPlan, RoundPlan, Score
from shared.contracts.pairing import ErrorProfile, PairShape
from shared.contracts.records import Candidate, Example, JudgedCandidate, PromptStyle, RejectedExample, RoundScore, Wish
from shared.files import parse_json_lines
from shared.jobs.plan import JobPlan
from shared.jobs.state import StageState
from shared.models.manifest import ModelManifest, read_best_round
from shared.sampling import describe_endings
from shared.sql.features import sql_features
from shared.sql.prompt import prompt_version
from shared.tasks.task import Shard

# Why a question gave no pair, and why a pair was not kept: counts of the stages, and their names in the report.
NO_PAIR = {
    "all_correct": "all_correct",
    "none_correct": "none_correct",
    "gold_failed": "gold_failed",
    "gold_timeout": "gold_timeout",
    "both_empty": "both_empty",
    "suspect_gold": "suspect_gold",
    "filtered": "every_pairing_refused",
}
NOT_KEPT = {
    "outside": "outside_the_dataset",
    "duplicates": "repeated",
    "too_long": "too_long_for_the_trainer",
    "syntax_capped": "syntax_errors_above_their_share",
    "over_limit": "over_the_limit",
}
VERDICT_COUNTS = ("correct", "wrong", "error", "timeout", "gold_failed", "gold_timeout", "both_empty", "disputed")
# The first round starts from this arm unless the job samples another weak model.
BEFORE = "sft"
PACKAGES = ("torch", "transformers", "trl", "peft", "apsw", "celery")


class Gatherer:
    """Reads one job's outputs."""

    def __init__(self, command: Score, shard: Shard) -> None:
        self.command = command
        self.shard = shard
        self.plan = shard.jobs.plan(command.job_id) or JobPlan(stages=[])
        self.states = shard.jobs.stage_states(command.job_id, self.plan, members=False)

    def gather(self) -> ReportInput:
        command = self.command
        test_arms = [arm for arm in command.arms if not arm.selection]
        results = [found for arm in test_arms if (found := self.arm_results(arm)) is not None]
        return ReportInput(
            job_id=command.job_id,
            job_name=self.shard.jobs.job(command.job_id).name,
            examples=self.examples(),
            arms=results,
            benchmarks=self.benchmarks(),
            reference_arm="sft",
            baseline_arm="base",
            control_arm="control",
            treatment_arm="dpo",
            candidates=self.candidates(),
            pairs=self.pair_stats(),
            rounds=gather_rounds(command, self.shard, self.states),
            wave=gather_wave(command, self.shard, self.states),
            data=self.data_stats(),
            training=self.training(),
            endings=self.endings(),
            timeline=self.timeline(),
            environment=self.environment(),
            bootstrap_seed=command.seed,
        )

    def endings(self) -> list[str]:
        sentences: list[str] = []
        for task, setting in (
            ("pairing.sample_candidates", "weak.max_tokens"),
            ("evaluation.answer_questions", "answer_tokens"),
        ):
            sums: Counter[str] = Counter()
            for stage in self.plan.stages:
                if stage.task == task and stage.id in self.states:
                    sums.update(self.states[stage.id].counts)
            sentences += describe_endings(sums, setting)
        return sentences

    def examples(self) -> dict[str, Example]:
        found: dict[str, Example] = {}
        for stage in self.command.tests:
            found |= {row.example_id: row for row in self.shard.stage_records(stage, "examples", Example)}
        selection = self.shard.stage_records(self.command.dataset, "selection", Example)
        return found | {row.example_id: row for row in selection}

    def arm_results(self, arm: ArmPlan) -> ArmResults | None:
        """None where the arm was skipped."""
        rows = list(self.shard.stage_records(arm.judged, "judged", JudgedCandidate))
        if not rows:
            return None
        arm = self.chosen_arm(arm)
        counts = self.states[arm.trained.stage].counts if arm.trained else {}
        spec = ArmSpec(
            id=arm.id,
            title=arm.title,
            model=arm.model,
            shots=arm.shots,
            train_items=counts.get("rows", 0),
            train_steps=counts.get("steps", 0),
            greedy=arm.temperature == 0,
            samples=arm.samples,
            temperature=arm.temperature,
        )
        return ArmResults(arm=spec, rows=rows)

    def chosen_arm(self, arm: ArmPlan) -> ArmPlan:
        if arm.model_from is None:
            return arm
        best = read_best_round(self.shard, arm.model_from)
        named = {"id": best.arm_id, "title": f"DPO, round {best.round}", "model": best.model}
        return arm.model_copy(update={**named, "trained": StageRef(stage=best.arm_id)})

    def benchmarks(self) -> list[BenchmarkInput]:
        found: list[BenchmarkInput] = []
        for plan in self.command.benchmarks:
            one = self.benchmark(plan)
            # A split may be planned twice; a number keeps the names distinct.
            same = sum(other.name.partition(" #")[0] == one.name for other in found)
            found.append(one.model_copy(update={"name": f"{one.name} #{same + 1}"}) if same else one)
        return found

    def benchmark(self, plan: BenchmarkPlan) -> BenchmarkInput:
        manifest = find_dataset(self.shard.objects, plan.dataset)
        answered = [(arm.id, found) for arm in plan.arms if (found := self.arm_results(arm)) is not None]
        arms, names = [found for _, found in answered], {planned: found.arm.id for planned, found in answered}
        samples = max((arm.samples for arm in plan.arms), default=1)
        questions = {row.example_id: row for row in self.shard.stage_records(plan.examples, "examples", Example)}
        return BenchmarkInput(
            name=f"{manifest.name}/{plan.split}" + (f", {samples} samples" if samples > 1 else ""),
            dataset=plan.dataset,
            split=plan.split,
            policy=plan.policy,
            licence=manifest.licence,
            release=manifest.release,
            skipped=sum(manifest.skipped.values()),
            prompt=self.prompt_form(),
            examples=questions,
            arms=arms,
            strict={
                names[name]: list(self.shard.stage_records(stage, "judged", JudgedCandidate))
                for name, stage in plan.strict.items()
                if name in names
            },
            sqlite=apsw.sqlite_lib_version(),  # the sandbox has the same pin
        )

    def candidates(self) -> list[PromotionCandidate]:
        found = []
        for arm in self.command.arms:
            rows = list(self.shard.stage_records(arm.judged, "judged", JudgedCandidate)) if arm.selection else []
            if rows:
                arm_id = arm.id.removesuffix(".selection")
                found.append(PromotionCandidate(arm_id=arm_id, model=arm.model, eligible=arm.promotable, rows=rows))
        return found

    def pair_stats(self) -> PairStats | None:
        if (plan := self.command.pairing) is None:
            return None
        sample, judged, pairs, collected = (
            self.states[ref.stage].counts for ref in (plan.sample, plan.judge, plan.pair, plan.collect)
        )
        excluded = {name: pairs.get(reason, 0) for reason, name in NO_PAIR.items()}
        excluded |= {name: collected.get(reason, 0) for reason, name in NOT_KEPT.items()}
        questions = sample.get("questions", 0)
        return PairStats(
            questions=questions,
            samples_per_question=plan.samples,
            temperature=self.sampled_at(plan),
            verdicts={name: judged[name] for name in (*VERDICT_COUNTS, "unextractable") if judged.get(name)},
            pairs=collected.get("pairs", 0),
            excluded={name: count for name, count in excluded.items() if count},
            on_policy=self.command.on_policy,
            weak_model=self.command.weak_model or "",
            profile=self.error_profile(plan.collect),
            shape=self.pair_shape(plan.collect),
        )

    def sampled_at(self, plan: PairingPlan) -> float:
        chosen = self.states[plan.sweep.stage].counts.get("temperature_milli") if plan.sweep else None
        # Counts are whole numbers, so a sweep reports thousandths.
        return plan.temperature if chosen is None else chosen / 1000

    def error_profile(self, pairs: StageRef) -> ErrorProfile | None:
        found = self.shard.refs(pairs, "profile")
        return ErrorProfile.model_validate_json(self.shard.objects.get(found[0].key)) if found else None

    def pair_shape(self, pairs: StageRef) -> PairShape | None:
        found = self.shard.refs(pairs, "shape")
        return PairShape.model_validate_json(self.shard.objects.get(found[0].key)) if found else None

    def data_stats(self) -> DataStats | None:
        train = list(self.shard.stage_records(self.command.dataset, "examples", Example))
        if not train or train[0].split != "train":
            return None
        first = train[0].provenance
        refused = Counter(
            row.reason for row in self.shard.stage_records(self.command.dataset, "rejected", RejectedExample)
        )
        collected = self.states[self.command.dataset.stage].counts
        refused.update({"duplicate": collected.get("duplicates", 0), "leaked": collected.get("leaked", 0)})
        refused["on a database of the selection split"] = collected.get("held_back", 0) + self.loaded("held_back")
        refused["gold did not run at the import"] = self.loaded("gold_failed")
        written = sum(self.states[ref.stage].counts.get("written", 0) for ref in self.command.written)
        # Imported examples count as requested, also those that were left out.
        written += sum(self.loaded(name) for name in ("examples", "held_back", "gold_failed"))
        selection = self.shard.stage_records(self.command.dataset, "selection", Example)
        tests = [row for stage in self.test_stages() for row in self.shard.stage_records(stage, "examples", Example)]
        return DataStats(
            writer=first.writer,
            writer_version=first.writer_version,
            model=first.model,
            requested=written,
            accepted=len(train),
            rejected={name: count for name, count in refused.items() if count},
            levels=dict(Counter(row.level for row in train)),
            train_domains=sorted({row.domain for row in train}),
            selection_domains=sorted({row.domain for row in selection}),
            test_domains=sorted({row.domain for row in tests}),
            source=mixture(train),
        )

    def test_stages(self) -> list[StageRef]:
        return [*self.command.tests, *(plan.examples for plan in self.command.benchmarks)]

    def loaded(self, count: str) -> int:
        return sum(self.states[ref.stage].counts.get(count, 0) for ref in self.command.loaded)

    def training(self) -> list[TrainingFacts]:
        return [
            self.training_facts(stage.id)
            for stage in self.plan.stages
            if stage.task == "training.train_model" and self.states[stage.id].done
        ]

    def training_facts(self, stage: str) -> TrainingFacts:
        row = self.shard.jobs.shard(self.command.job_id, stage, 0)
        manifest = ModelManifest.model_validate_json(self.shard.objects.get(row.outputs["manifest"].key))
        lines = parse_json_lines(self.shard.objects.get(row.outputs["metrics"].key))
        curve = [(int(one["step"]), float(one["loss"])) for one in lines if "loss" in one]
        return TrainingFacts(
            stage_id=stage,
            method=manifest.method,
            rows=row.counts["rows"],
            steps=row.counts["steps"],
            final_loss=curve[-1][1] if curve else None,
            seconds=(row.finished_at or 0.0) - (row.started_at or 0.0),
            curve=curve,
        )

    def timeline(self) -> list[StageSpan]:
        """When each stage ran, in seconds since the job was submitted."""
        began = self.shard.jobs.job(self.command.job_id).created_at
        spans = [self.stage_span(stage.id, stage.task, began) for stage in self.plan.stages]
        return [span for span in spans if span is not None]

    def stage_span(self, stage: str, task: str, began: float) -> StageSpan | None:
        shards = [
            ShardSpan(shard=row.shard, start=row.started_at - began, end=row.finished_at - began)
            for row in self.shard.jobs.shards(self.command.job_id, stage)
            if row.started_at and row.finished_at
        ]
        if not shards:
            return None
        return StageSpan(
            stage_id=stage,
            task=task,
            shards=len(shards),
            first_start=min(span.start for span in shards),
            last_end=max(span.end for span in shards),
            busy_seconds=sum(span.end - span.start for span in shards),
            spans=shards,
        )

    def environment(self) -> dict[str, Any]:
        tests = [ref.sha256 for stage in self.test_stages() for ref in self.shard.refs(stage, "examples")]
        return {
            "sense": version("sense-sql"),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "prompt": self.prompt_form(),
            "prompt rows": self.sample_rows(),
            "seed": self.command.seed,
            "test set sha256": ", ".join(sha[:16] for sha in tests),
            **{name: installed(name) for name in PACKAGES},
        }

    def prompt_form(self) -> str:
        answers = [stage for stage in self.plan.stages if stage.task == "evaluation.answer_questions"]
        style = answers[0].params.get("style") if answers else None
        return prompt_version(self.sample_rows() or 0, PromptStyle.model_validate(style or {}))

    def sample_rows(self) -> int | None:
        answers = [stage for stage in self.plan.stages if stage.task == "evaluation.answer_questions"]
        rows = answers[0].params.get("sample_rows") if answers else None
        return int(rows) if rows is not None else None


def mixture(train: list[Example]) -> str:
    """Where training examples come from, if datasets take part; else empty."""
    sets = Counter(row.dataset for row in train if row.dataset)
    if not sets:
        return ""
    parts = [f"{count} from the dataset {name}" for name, count in sorted(sets.items())]
    written = Counter(row.provenance.writer_version for row in train if not row.dataset)
    parts += [f"{count} written by {writer}" for writer, count in sorted(written.items())]
    return f"Training examples: {', '.join(parts)}."


def installed(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "not installed here"


def gather_rounds(command: Score, shard: Shard, states: Mapping[str, StageState]) -> list[RoundFacts]:
    """Empty for a job of one round."""
    if not command.rounds:
        return []
    last = StageRef(stage=command.rounds[-1].choose)
    lines = {line.round: line for line in shard.stage_records(last, "choice", RoundScore)}
    found: list[RoundFacts] = []
    began_from = command.weak_model or BEFORE
    for plan in command.rounds:
        found.append(round_facts(plan, began_from, lines[plan.number], states, command.minimum_pairs))
        # After a round whose model is not kept, the next one starts from the last kept model.
        began_from = next(lines[n].arm_id for n in range(plan.number, -1, -1) if lines[n].kept or n == 0)
    return found


def round_facts(
    plan: RoundPlan, began_from: str, line: RoundScore, states: Mapping[str, StageState], minimum: int
) -> RoundFacts:
    sampled, judged, collected = (states[stage].counts for stage in (plan.sample, plan.judge, plan.collect))
    return RoundFacts(
        number=plan.number,
        arm_id=plan.train,
        began_from=began_from,
        questions=sampled.get("questions", 0),
        samples=sampled.get("candidates", 0),
        right_samples=judged.get("correct", 0),
        pairs=collected.get("pairs", 0),
        minimum=minimum,
        steps=states[plan.train].counts.get("steps", 0),
        selection_correct=line.correct,
        selection_questions=line.questions,
        kept=line.kept,
        best=line.best,
    )


def gather_wave(command: Score, shard: Shard, states: Mapping[str, StageState]) -> WaveFacts | None:
    if (plan := command.error_wave) is None:
        return None
    (ref,) = shard.refs(plan.profile, "profile")
    profile = ErrorProfile.model_validate_json(shard.objects.get(ref.key))
    wishes = shard.stage_records(plan.profile, "wishes", Wish)
    weights = {wish.name: wish.weight for wish in wishes if wish.kind == "feature"}
    used: Counter[str] = Counter()
    for example in shard.stage_records(plan.accepted, "examples", Example):
        used.update(sql_features(example.gold).used)
    first = next(shard.stage_records(plan.sample, "candidates", Candidate), None)
    profiled, written, accepted = (states[one.stage].counts for one in (plan.profile, plan.write, plan.accepted))
    return WaveFacts(
        weak_model=first.model if first else "",
        answers=profiled.get("answers", 0),
        failed=profiled.get("failed", 0),
        written=written.get("written", 0),
        followed=written.get("followed", 0),
        accepted=accepted.get("accepted", 0),
        lines=wave_lines(profile, weights, used),
    )


def wave_lines(profile: ErrorProfile, weights: Mapping[str, float], used: Mapping[str, int]) -> list[WaveLine]:
    lines = [
        WaveLine(
            name=line.name,
            answers=line.answers,
            failed=line.answers - line.correct,
            weight=weights.get(line.name, 0.0),
            written=used.get(line.name, 0),
        )
        for line in profile.features
    ]
    return sorted(lines, key=lambda line: (-line.weight, -line.failed / max(1, line.answers), line.name))
