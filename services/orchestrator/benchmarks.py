"""Stages of evaluations on stored data sets: load a set, ask arms its questions, judge under each policy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.orchestrator.fragments import judged
from services.orchestrator.sizes import ANSWERED_PER_SHARD
from shared.contracts.evaluation import ArmPlan, BenchmarkPlan
from shared.contracts.records import Policy
from shared.contracts.refs import StageRef
from shared.contracts.spec_sources import TestSet
from shared.jobs.plan import Fixed, Need, Slices, StagePlan

SAMPLED_TEMPERATURE = 1.0


@dataclass(frozen=True)
class Arm:
    """A model that is asked: its row of the report, the parameters of asking it, and what it waits for."""

    plan: ArmPlan
    asking: dict[str, Any]
    after: list[str] = field(default_factory=list)
    need: Need | None = None


@dataclass(frozen=True)
class Benchmark:
    """A data set of `evaluate`; `id` names its stages."""

    id: str
    test: TestSet

    @property
    def stage(self) -> str:
        """The stage that loads its questions."""
        return f"load.{self.id}"

    @property
    def policy(self) -> Policy:
        """The rule of its official score."""
        return self.test.policy or Policy.STRICT

    def load(self) -> StagePlan:
        """Reads the questions; before anything is trained."""
        test = self.test
        params = {
            "dataset": test.dataset,
            "split": test.split or "dev",
            "use": "test",
            "questions": test.questions,
        }
        return StagePlan(id=self.stage, task="synthesis.load_dataset", source=Fixed(shards=[{}]), params=params)

    def ask(self, arm: Arm) -> list[StagePlan]:
        """An arm's answers, and their verdicts under the official policy and strictly."""
        name = f"{arm.plan.id}.{self.id}"
        answer = StagePlan(
            id=f"answer.{name}",
            task="evaluation.answer_questions",
            source=Slices(stage=self.stage, output="examples", count="examples", size=ANSWERED_PER_SHARD),
            after=arm.after,
            need=arm.need,
            params={**arm.asking, "samples": self.test.samples, "temperature": self.temperature},
        )
        policies = [judged(f"judge.{name}", answer.id, {"policy": self.policy.value})]
        if self.policy is not Policy.STRICT:
            policies.append(judged(f"judge.{name}.strict", answer.id, {"policy": "strict"}))
        return [answer, *policies]

    @property
    def temperature(self) -> float:
        """0 for one answer."""
        return 0.0 if self.test.samples == 1 else self.test.temperature or SAMPLED_TEMPERATURE

    def scored(self, arms: Sequence[Arm]) -> BenchmarkPlan:
        """What the report is told."""
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


def benchmarks_of(tests: Sequence[TestSet]) -> list[Benchmark]:
    """The data sets among the test sets, each with a name of its own for its stages."""
    found: list[Benchmark] = []
    for test in tests:
        if not test.builtin:
            name = f"{test.dataset.partition('@')[0]}.{test.split or 'dev'}"
            taken = sum(one.id == name or one.id.startswith(f"{name}-") for one in found)
            found.append(Benchmark(f"{name}-{taken + 1}" if taken else name, test))
    return found


def refused(benchmarks: Sequence[Benchmark], builtin: bool) -> list[str]:
    """Stages of test questions that no training export may hold."""
    return [*(["collect.test"] if builtin else []), *(one.stage for one in benchmarks)]


def benchmark_stages(benchmarks: Sequence[Benchmark], arms: Sequence[Arm]) -> list[StagePlan]:
    """Every arm on every data set, answers before verdicts."""
    stages = [stage for one in benchmarks for arm in arms for stage in one.ask(arm)]
    return sorted(stages, key=lambda stage: stage.task != "evaluation.answer_questions")


def score_params(benchmarks: Sequence[Benchmark], arms: Sequence[Arm]) -> dict[str, Any]:
    """The report's parameter for the data sets."""
    return {"benchmarks": [one.scored(arms).model_dump(mode="json") for one in benchmarks]}
