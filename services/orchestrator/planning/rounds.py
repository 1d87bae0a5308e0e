"""On-policy rounds: sample the best model so far, train the next one on its pairs, let the selection split decide.

The plan is static, but the model of a round is known only when the job runs. `choose.rN` scores all models so far on
the selection split and records the best. Stages of the next round refer to it (`model_from`, `parent_from`) where other
stages name a model. If a round does not beat the best model, the next one samples that model again with a new seed.
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
    return stage if number == 1 else f"{stage}.r{number}"


def round_plans(rounds: int) -> list[RoundPlan]:
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
    """The rounds of a pipeline. With a single round there are no stages here, and the report promotes a model."""

    def __init__(self, spec: PipelineSpec, names: ModelNames, dataset: str) -> None:
        self.spec = spec
        self.names = names
        self.dataset = dataset
        self.plans = round_plans(spec.rounds) if spec.rounds > 1 else []
        self.arms: list[ArmPlan] = []

    @property
    def last_choice(self) -> str | None:
        return self.plans[-1].choose if self.plans else None

    def stages(self) -> list[StagePlan]:
        return [stage for plan in self.plans for stage in (*self._trained(plan), *self._chosen(plan))]

    def _trained(self, plan: RoundPlan) -> list[StagePlan]:
        """The first round is planned as in a pipeline without rounds, so nothing is added for it."""
        if plan.number == 1:
            return []
        # the choice of the round before; rounds count from 1
        chosen = stage_ref(self.plans[plan.number - 2].choose)
        seed = self.spec.seed + (plan.number - 1) * ROUND_SEED_STEP
        deploy = self._deploy(f"deploy.weak.r{plan.number}", "dpo", [chosen["stage"]], model_from=chosen)
        release = release_stage(f"release.weak.r{plan.number}", [plan.sample], self.names.device)
        dpo = train_stage(
            plan.train,
            self.spec.student,
            self.names,
            method="dpo",
            data=stage_ref(plan.collect),
            prompt=prompt_params(self.spec),
            output="dpo",
            settings=self.spec.dpo,
            seed=seed,
            after=[plan.collect, release.id],
            need=pairs_needed(self.spec, plan.number),
        )
        dpo = dpo.model_copy(update={"params": {**dpo.params, "parent_from": chosen}})
        pairs = pair_stages(self.spec, self.dataset, seed, plan.number)
        return [deploy, self._sample(plan, chosen, deploy.id, seed), release, *pairs, dpo]

    def _sample(self, plan: RoundPlan, chosen: dict[str, object], deploy: str, seed: int) -> StagePlan:
        """Samples the best model so far with the parameters of the weak model and the seeds of the round."""
        weak = self.spec.weak
        params = sampling_params(self.spec, "engine", self.names.model("dpo"), seed)
        # the model is served by the engine, so no budget applies
        params |= {"budget_usd": None, "budget_tokens": None, "model_from": chosen}
        if weak.sweep is not None:
            params["chosen"] = stage_ref(SWEEP_STAGE)
        source = Slices(
            stage=self.dataset, output="examples", count="examples", size=SAMPLED_PER_SHARD, limit=weak.questions
        )
        return StagePlan(id=plan.sample, task="pairing.sample_candidates", source=source, after=[deploy], params=params)

    def _chosen(self, plan: RoundPlan) -> list[StagePlan]:
        """Scores the model of a round on the selection split and chooses among all models so far."""
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
            # the arms of all rounds so far: an earlier model may still be the best
            after=[arm.judged.stage for arm in self.arms],
            params={"arms": [arm.model_dump() for arm in self.arms], "dataset": stage_ref("collect.train")},
        )
        return [*stages, choice]

    def _selection(self, which: str, number: int, deploy: str, need: Need | None) -> list[StagePlan]:
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
                **prompt_params(self.spec),
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
    return plan.model_copy(update={"params": {**plan.params, "model_from": choice}})
