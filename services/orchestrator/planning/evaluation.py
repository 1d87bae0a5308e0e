"""Evaluation: load test sets, answer their questions with each arm, judge the answers and write the report."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.orchestrator.planning.pairs import pairing_plan, pairs_needed
from services.orchestrator.planning.rounds import Rounds, with_model_from
from services.orchestrator.planning.stages import (
    ANSWERED_PER_SHARD,
    ModelNames,
    base_name,
    deploy_stage,
    judge_stage,
    prompt_params,
    stage_ref,
)
from services.orchestrator.planning.synthesis import error_wave_plan, test_set_stages
from shared.contracts.base import StageRef
from shared.contracts.evaluation import ArmPlan, BenchmarkPlan
from shared.contracts.records import Policy
from shared.contracts.spec import EndpointModel, EvaluationSpec, PipelineSpec, TestSet
from shared.jobs.plan import FixedShards, JobPlan, Need, Slices, StagePlan

SAMPLED_TEMPERATURE = 1.0
ANSWER_TOKENS = 128
DATASET_TOKENS = 512  # gold queries of BIRD are longer than those of the built-in sets
UNUSABLE = re.compile(r"[^a-z0-9_.-]+")  # characters that the id of a stage must not contain


@dataclass(frozen=True)
class Arm:
    """A model under evaluation: its row of the report, the parameters of its calls, and what its answers wait for."""

    plan: ArmPlan
    asking: dict[str, Any]
    after: list[str] = field(default_factory=list)
    need: Need | None = None


@dataclass(frozen=True)
class Benchmark:
    """A dataset of `evaluate`; its stages are named by `id`."""

    id: str
    test: TestSet

    @property
    def stage(self) -> str:
        return f"load.{self.id}"

    @property
    def policy(self) -> Policy:
        return self.test.policy or Policy.STRICT

    def load_stage(self) -> StagePlan:
        test = self.test
        params = {
            "name": self.id,
            "dataset": test.dataset,
            "split": test.split or "dev",
            "use": "test",
            "questions": test.questions,
        }
        return StagePlan(id=self.stage, task="synthesis.load_dataset", source=FixedShards(shards=[{}]), params=params)

    def answer_stages(self, arm: Arm) -> list[StagePlan]:
        name = f"{arm.plan.id}.{self.id}"
        answer = StagePlan(
            id=f"answer.{name}",
            task="evaluation.answer_questions",
            source=Slices(stage=self.stage, output="examples", count="examples", size=ANSWERED_PER_SHARD),
            after=arm.after,
            need=arm.need,
            params={**arm.asking, "samples": self.test.samples, "temperature": self.temperature},
        )
        policies = [judge_stage(f"judge.{name}", answer.id, {"policy": self.policy.value})]
        if self.policy is not Policy.STRICT:
            policies.append(judge_stage(f"judge.{name}.strict", answer.id, {"policy": "strict"}))
        return [answer, *policies]

    @property
    def temperature(self) -> float:
        return 0.0 if self.test.samples == 1 else self.test.temperature or SAMPLED_TEMPERATURE

    def report_plan(self, arms: Sequence[Arm]) -> BenchmarkPlan:
        asked = {"samples": self.test.samples, "temperature": self.temperature}
        strict = {} if self.policy is Policy.STRICT else {arm.plan.id: f"judge.{arm.plan.id}.{self.id}" for arm in arms}
        return BenchmarkPlan(
            dataset=self.test.dataset,
            split=self.test.split or "dev",
            policy=self.policy,
            examples=StageRef(stage=self.stage),
            arms=[
                arm.plan.model_copy(update={**asked, "judged": StageRef(stage=f"judge.{arm.plan.id}.{self.id}")})
                for arm in arms
            ],
            strict={name: StageRef(stage=f"{stage}.strict") for name, stage in strict.items()},
        )


def find_benchmarks(tests: Sequence[TestSet]) -> list[Benchmark]:
    found: list[Benchmark] = []
    for test in tests:
        if not test.builtin:
            name = f"{test.dataset.partition('@')[0]}.{test.split or 'dev'}"
            # the same split may be listed more than once
            taken = sum(one.id == name or one.id.startswith(f"{name}-") for one in found)
            found.append(Benchmark(f"{name}-{taken + 1}" if taken else name, test))
    return found


def test_question_stages(benchmarks: Sequence[Benchmark], builtin: bool) -> list[str]:
    """No training export may contain a question of these stages."""
    return [*(["collect.test"] if builtin else []), *(one.stage for one in benchmarks)]


def benchmark_stages(benchmarks: Sequence[Benchmark], arms: Sequence[Arm]) -> list[StagePlan]:
    """Every arm on every dataset. All answers come before the verdicts."""
    stages = [stage for one in benchmarks for arm in arms for stage in one.answer_stages(arm)]
    return sorted(stages, key=lambda stage: stage.task != "evaluation.answer_questions")


def benchmark_params(benchmarks: Sequence[Benchmark], arms: Sequence[Arm]) -> dict[str, Any]:
    return {"benchmarks": [one.report_plan(arms).model_dump(mode="json") for one in benchmarks]}


class PipelineEvaluation:
    """The arms of a pipeline, from their deployment to the report."""

    def __init__(
        self,
        spec: PipelineSpec,
        names: ModelNames,
        benchmarks: list[Benchmark],
        training_data: list[StagePlan],
        rounds: Rounds,
    ) -> None:
        self.spec = spec
        self.training_data = training_data
        self.rounds = rounds
        self.names = names
        self.benchmarks = benchmarks
        self.builtin = any(test.builtin for test in spec.evaluate)
        self.asked: list[Arm] = []
        self.need = pairs_needed(spec)
        self.arms: list[ArmPlan] = []
        self.answers: list[StagePlan] = []

    def stages(self) -> list[StagePlan]:
        trainings = ["sft", "dpo", "control"]
        if (choice := self.rounds.last_choice) is not None:
            trainings.append(choice)
        deploys = [self._deploy(which, trainings) for which in ("base", "sft", "dpo", "control")]
        self._add_arms()
        if choice is not None:
            deploys.append(self._add_promoted(choice, trainings))
        judgings = [judge_stage(f"judge.{arm.id}", f"answer.{arm.id}") for arm in self.arms]
        self.arms += self.rounds.arms
        more = benchmark_stages(self.benchmarks, self.asked)
        return [*deploys, *self.answers, *judgings, *more, self._score([stage.id for stage in more])]

    def _deploy(self, which: str, after: list[str]) -> StagePlan:
        is_base = which == "base"
        return deploy_stage(
            f"deploy.{which}",
            model=self.names.base if is_base else self.names.model(which),
            base=self.spec.student.base,
            adapter=not is_base,
            after=after,
            device=self.names.device,
            need=self.need if which in ("dpo", "control") else None,
        )

    def _add_arms(self) -> None:
        self._arm("base", "Base, no examples shown", "base")
        self._arm("base-shots", "Base, two examples shown", "base", shots=2)
        for which, title in (("sft", "SFT"), ("control", "SFT + chosen (control)"), ("dpo", "DPO")):
            self._arm(which, title, which)
        for which, title in (("sft", "SFT"), ("dpo", "DPO")):
            # with rounds, `Rounds` scores the selection split itself
            if not self.rounds.plans:
                self._arm(f"{which}.selection", f"{title}, selection split", which, selection=True)
        if self.spec.sampling.questions:
            for which, title in (("sft", "SFT, sampled"), ("dpo", "DPO, sampled")):
                self._arm(f"{which}.sampled", title, which, samples=self.spec.sampling.samples)

    def _add_promoted(self, choice: str, after: list[str]) -> StagePlan:
        # a model of the first round already has an arm
        need, chosen = Need(stage=choice, count="later", at_least=1), stage_ref(choice)
        deploy = self._deploy("dpo", after).model_copy(update={"id": "deploy.promoted", "need": need})
        self._arm("promoted", "DPO, best round", "dpo", choice=choice)
        return with_model_from(deploy, chosen)

    def _arm(
        self,
        arm_id: str,
        title: str,
        which: str,
        *,
        shots: int = 0,
        samples: int = 1,
        selection: bool = False,
        choice: str | None = None,
    ) -> None:
        model = self.names.base if which == "base" else self.names.model(which)
        temperature = 1.0 if samples > 1 else 0.0
        plan = ArmPlan(
            id=arm_id,
            title=title,
            model=model,
            judged=StageRef(stage=f"judge.{arm_id}"),
            trained=None if which == "base" else StageRef(stage=which),
            shots=shots,
            samples=samples,
            temperature=temperature,
            selection=selection,
            promotable=which in ("sft", "dpo"),
            model_from=None if choice is None else StageRef(stage=choice),
        )
        asking = {
            "endpoint": "engine",
            "model": model,
            "samples": samples,
            "temperature": temperature,
            "max_tokens": self.spec.answer_tokens,
            "seed": self.spec.seed,
            **prompt_params(self.spec),
            "shots": shots,
            "shots_from": stage_ref("collect.train") if shots else None,
        }
        need = self.need if which in ("dpo", "control") else None
        after = [f"deploy.{which}"]
        if choice is not None:
            asking["model_from"] = stage_ref(choice)
            need, after = Need(stage=choice, count="later", at_least=1), ["deploy.promoted"]
        arm = Arm(plan, asking, after=after, need=need)
        # these arms also answer the datasets
        if samples == 1 and not selection:
            self.asked.append(arm)
        if self.builtin or selection:
            self._answer(arm)

    def _answer(self, arm: Arm) -> None:
        plan = arm.plan
        self.arms.append(plan)
        dataset, rows = ("collect.train", "selection") if plan.selection else ("collect.test", "examples")
        limit = self.spec.sampling.questions if plan.samples > 1 else None
        source = Slices(stage=dataset, output=rows, count=rows, size=ANSWERED_PER_SHARD, limit=limit)
        self.answers.append(
            StagePlan(
                id=f"answer.{plan.id}",
                task="evaluation.answer_questions",
                source=source,
                after=arm.after,
                need=arm.need,
                params=arm.asking,
            )
        )

    def _data_stages(self, task: str) -> list[StagePlan]:
        return [one for one in self.training_data if one.task == task and one.params.get("split") != "selection"]

    def _score(self, more: list[str]) -> StagePlan:
        weak = self.spec.weak
        on_policy = weak.endpoint is None and weak.sft_first
        wave = error_wave_plan(self.spec)
        return StagePlan(
            id="report",
            task="evaluation.score",
            source=FixedShards(shards=[{}]),
            after=[*(f"judge.{arm.id}" for arm in self.arms), *(one for one in more if one.startswith("judge."))],
            params={
                "arms": [arm.model_dump() for arm in self.arms],
                "tests": [stage_ref("collect.test")] if self.builtin else [],
                **benchmark_params(self.benchmarks, self.asked),
                "dataset": stage_ref("collect.train"),
                "written": [stage_ref(stage.id) for stage in self._data_stages("synthesis.write_examples")],
                "loaded": [stage_ref(stage.id) for stage in self._data_stages("synthesis.load_dataset")],
                "pairing": pairing_plan(self.spec).model_dump(),
                "rounds": [plan.model_dump() for plan in self.rounds.plans],
                "minimum_pairs": self.spec.pairs.minimum,
                "error_wave": None if wave is None else wave.model_dump(),
                "on_policy": on_policy,
                "weak_model": weak.model or (self.names.model("sft") if on_policy else base_name(weak.base)),
                "seed": self.spec.seed,
            },
        )


def compile_evaluation(spec: EvaluationSpec, device: str) -> JobPlan:
    stages = test_set_stages(spec)
    builtin, benchmarks = bool(stages), find_benchmarks(spec.evaluate)
    stages += [one.load_stage() for one in benchmarks]
    deploys, arms = scored_arms(spec, test_question_stages(benchmarks, builtin), device)
    stages += deploys
    if builtin:
        for arm in arms:
            stages += builtin_stages(spec, arm)
    tokens = {"max_tokens": spec.answer_tokens or DATASET_TOKENS}
    more = benchmark_stages(benchmarks, [replace(arm, asking={**arm.asking, **tokens}) for arm in arms])
    judgings = [stage.id for stage in [*stages, *more] if stage.id.startswith("judge.")]
    score = StagePlan(
        id="report",
        task="evaluation.score",
        source=FixedShards(shards=[{}]),
        after=judgings,
        params={
            "arms": [arm.plan.model_dump() for arm in arms] if builtin else [],
            "tests": [stage_ref("collect.test")] if builtin else [],
            "dataset": stage_ref(test_question_stages(benchmarks, builtin)[0]),
            "seed": spec.seed,
            **benchmark_params(benchmarks, arms),
        },
    )
    return JobPlan(stages=[*stages, *more, score])


def scored_arms(spec: EvaluationSpec, ready: list[str], device: str) -> tuple[list[StagePlan], list[Arm]]:
    """Models are deployed only once the test questions are loaded (`ready`); endpoints need no deployment."""
    base = base_name(spec.student.base)
    served = [model for model in spec.models if isinstance(model, str)]
    stages: list[StagePlan] = []
    arms: list[Arm] = []
    # the base is an arm next to its adapters, and only one if the spec names it too
    for name in dict.fromkeys([base, *served] if served else []):
        stages.append(
            deploy_stage(
                f"deploy.{name}",
                model=name,
                base=spec.student.base,
                adapter=name != base,
                after=ready,
                device=device,
            )
        )
        arms.append(scored_arm(spec, name, name, "engine", name, after=[f"deploy.{name}"]))
    for number, one in enumerate(model for model in spec.models if isinstance(model, EndpointModel)):
        arm_id = f"{UNUSABLE.sub('-', f'{one.endpoint}-{one.model}'.lower()).strip('-.')}-{number + 1}"
        title = f"{one.model} ({one.endpoint})"
        arms.append(
            scored_arm(spec, arm_id, title, one.endpoint, one.model, budget=one.budget_usd, tokens=one.budget_tokens)
        )
    return stages, arms


def scored_arm(
    spec: EvaluationSpec,
    arm_id: str,
    title: str,
    endpoint: str,
    model: str,
    *,
    after: list[str] | None = None,
    budget: float | None = None,
    tokens: int | None = None,
) -> Arm:
    asking = {
        "endpoint": endpoint,
        "model": model,
        "max_tokens": spec.answer_tokens or ANSWER_TOKENS,
        "seed": spec.seed,
        **prompt_params(spec),
        **({"budget_usd": budget} if budget is not None else {}),
        **({"budget_tokens": tokens} if tokens is not None else {}),
    }
    plan = ArmPlan(id=arm_id, title=title, model=model, judged=StageRef(stage=f"judge.{arm_id}"))
    return Arm(plan, asking, after=after or [])


def builtin_stages(spec: EvaluationSpec, arm: Arm) -> list[StagePlan]:
    answer = StagePlan(
        id=f"answer.{arm.plan.id}",
        task="evaluation.answer_questions",
        source=Slices(stage="collect.test", output="examples", count="examples", size=ANSWERED_PER_SHARD),
        after=arm.after,
        params=arm.asking,
    )
    return [answer, judge_stage(f"judge.{arm.plan.id}", answer.id)]
