"""On-policy rounds: the best model so far is sampled itself, its pairs train the next, the selection split decides.

The plan is static, the models are not: `choose.rN` scores all models so far on the selection split and records the
best, and stages of the next round name that stage (`model_from`, `parent_from`) where others name a model. A round that
does not beat the best before it changes nothing but the seed of the next: that one samples the same model anew.
"""

from services.orchestrator.planning.pairs import SWEEP_STAGE, pair_stages, pairs_needed
from services.orchestrator.planning.stages import (
    ANSWERED_PER_SHARD,
    SAMPLED_PER_SHARD,
    ModelNames,
    deploy_stage,
    judge_stage,
    prompt_params,
    release_stage,
    sampling_params,
    stage_ref,
    train_stage,
)
from shared.contracts.base import StageRef
from shared.contracts.evaluation import ArmPlan, RoundPlan
from shared.contracts.spec import PipelineSpec
from shared.jobs.plan import FixedShards, Need, Slices, StagePlan

ROUND_SEED_STEP = 11_000_027


def round_stage_id(stage: str, number: int) -> str:
    """A stage's name in a round: the first round's has no suffix."""
    return stage if number == 1 else f"{stage}.r{number}"


def round_plans(rounds: int) -> list[RoundPlan]:
    """Every round by the names of its stages."""
    return [
        RoundPlan(
            number=number,
            sample=round_stage_id("sample", number),
            judge=round_stage_id("judge", number),
            pair=round_stage_id("pair", number),
            collect=round_stage_id("collect.preferences", number),
            train=round_stage_id("dpo", number),
            choose=f"choose.r{number}",
        )
        for number in range(1, rounds + 1)
    ]


class Rounds:
    """The rounds of a pipeline; without a second one there are no stages here and the report alone promotes."""

    def __init__(self, spec: PipelineSpec, names: ModelNames, dataset: str) -> None:
        self.spec = spec
        self.names = names
        self.dataset = dataset
        self.plans = round_plans(spec.rounds) if spec.rounds > 1 else []
        self.arms: list[ArmPlan] = []

    @property
    def last_choice(self) -> str | None:
        """The stage that says which model is the best of all."""
        return self.plans[-1].choose if self.plans else None

    def stages(self) -> list[StagePlan]:
        """Selection scores of the first round, then every further round whole."""
        return [stage for plan in self.plans for stage in (*self._trained(plan), *self._chosen(plan))]

    def _trained(self, plan: RoundPlan) -> list[StagePlan]:
        """Everything up to the round's model; the first round's is planned like a pipeline's without rounds."""
        if plan.number == 1:
            return []
        chosen = stage_ref(self.plans[plan.number - 2].choose)
        seed = self.spec.seed + (plan.number - 1) * ROUND_SEED_STEP
        deploy = self._deploy(f"deploy.weak.r{plan.number}", "dpo", [chosen["stage"]], model_from=chosen)
        release = release_stage(f"release.weak.r{plan.number}", [plan.sample], self.names.device)
        dpo = train_stage(
            plan.train,
            method="dpo",
            recipe="dpo",
            model=self.names.model(plan.train),
            student=self.spec.student,
            data=stage_ref(plan.collect),
            prompt=prompt_params(self.spec),
            output="dpo",
            settings=self.spec.dpo,
            seed=seed,
            after=[plan.collect, release.id],
            device=self.names.device,
            need=pairs_needed(self.spec, plan.number),
        )
        dpo = dpo.model_copy(update={"params": {**dpo.params, "parent_from": chosen}})
        pairs = pair_stages(self.spec, self.dataset, seed, plan.number)
        return [deploy, self._sample(plan, chosen, deploy.id, seed), release, *pairs, dpo]

    def _sample(self, plan: RoundPlan, chosen: dict[str, object], deploy: str, seed: int) -> StagePlan:
        """The best model so far, asked as the weak model was, with seeds of the round."""
        weak = self.spec.weak.model_copy(update={"budget_usd": None, "budget_tokens": None})
        model, rows = self.names.model("dpo"), self.spec.prompt.rows
        params = sampling_params(weak, "engine", model, seed, rows, self.spec.style)
        params["model_from"] = chosen
        if weak.sweep is not None:
            params["chosen"] = stage_ref(SWEEP_STAGE)
        source = Slices(
            stage=self.dataset, output="examples", count="examples", size=SAMPLED_PER_SHARD, limit=weak.questions
        )
        return StagePlan(id=plan.sample, task="pairing.sample_candidates", source=source, after=[deploy], params=params)

    def _chosen(self, plan: RoundPlan) -> list[StagePlan]:
        """The round's model on the selection split, and the choice among all models so far."""
        trainings = ["sft", "dpo", "control"] if plan.number == 1 else [plan.train]
        stages: list[StagePlan] = []
        for which in ["sft", "dpo"] if plan.number == 1 else [plan.train]:
            need = None if which == "sft" else pairs_needed(self.spec, plan.number)
            deploy_id = f"deploy.{which}.r1" if plan.number == 1 else f"deploy.{which}"
            stages.append(self._deploy(deploy_id, which, trainings, need=need))
            stages += self._selection(which, plan.number, deploy_id, need)
        choice = StagePlan(
            id=plan.choose,
            task="evaluation.choose_model",
            source=FixedShards(shards=[{}]),
            after=[arm.judged.stage for arm in self.arms],
            params={"arms": [arm.model_dump() for arm in self.arms], "dataset": stage_ref("collect.train")},
        )
        return [*stages, choice]

    def _selection(self, which: str, number: int, deploy: str, need: Need | None) -> list[StagePlan]:
        """Greedy answers to the selection split and their verdicts."""
        arm_id = f"{which}.selection"
        title = "SFT" if which == "sft" else "DPO" if number == 1 else f"DPO, round {number}"
        arm = ArmPlan(
            id=arm_id,
            title=f"{title}, selection split",
            model=self.names.model(which),
            judged=StageRef(stage=f"judge.{arm_id}"),
            trained=StageRef(stage=which),
            selection=True,
            promotable=True,
        )
        self.arms.append(arm)
        answer = StagePlan(
            id=f"answer.{arm_id}",
            task="evaluation.answer_questions",
            source=Slices(stage="collect.train", output="selection", count="selection", size=ANSWERED_PER_SHARD),
            after=[deploy],
            need=need,
            params={
                "endpoint": "engine",
                "model": arm.model,
                "max_tokens": self.spec.answer_tokens,
                "seed": self.spec.seed,
                "prompt_rows": self.spec.prompt.rows,
                "style": self.spec.style.model_dump(),
            },
        )
        return [answer, judge_stage(f"judge.{arm_id}", answer.id)]

    def _deploy(
        self,
        stage: str,
        which: str,
        after: list[str],
        *,
        need: Need | None = None,
        model_from: dict[str, object] | None = None,
    ) -> StagePlan:
        plan = deploy_stage(
            stage,
            model=self.names.model(which),
            base=self.spec.student.base,
            adapter=True,
            after=after,
            device=self.names.device,
            need=need,
        )
        return plan if model_from is None else with_model_from(plan, model_from)


def with_model_from(plan: StagePlan, choice: dict[str, object]) -> StagePlan:
    """The same stage with the model that a stage of choice has recorded."""
    return plan.model_copy(update={"params": {**plan.params, "model_from": choice}})
