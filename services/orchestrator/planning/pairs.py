"""Preference pairs: sample the weak model, judge its answers, build pairs and collect them."""

from collections.abc import Sequence
from typing import Any

from services.orchestrator.planning.stages import (
    ENDPOINT_SAMPLED_PER_SHARD,
    SAMPLED_PER_SHARD,
    ModelNames,
    base_name,
    budget_params,
    deploy_stage,
    judge_stage,
    prompt_params,
    release_stage,
    sampling_params,
    stage_ref,
)
from services.orchestrator.planning.synthesis import (
    SELECTION_SEED_OFFSET,
    accepted_stage_id,
    collect_stages,
    exact_total,
    source_stages,
)
from shared.contracts.base import StageRef
from shared.contracts.evaluation import PairingPlan
from shared.contracts.spec import DatasetSource, PairingSpec, PipelineSpec, SynthesisSource, WeakModel
from shared.contracts.training import PRESET_LENGTHS
from shared.jobs.plan import EachShard, FixedShards, Need, Slices, StagePlan

SWEEP_BUDGET_SHARE = 0.1  # of the weak model's budget, for each temperature of the sweep
SWEEP_STAGE = "sweep"


def pair_source(spec: PipelineSpec | PairingSpec, refuse: list[str]) -> tuple[list[StagePlan], str | None, str]:
    """Finds the questions that the weak model is sampled on.

    Returns the stages to add, the stage whose shards can be sampled one by one (None if there is no single one) and
    the stage that collects the questions.
    """
    if spec.train.pairs is None:
        accepted = accepted_stage_id("train", spec.strong)
        alone = None if spec.strong.follow_errors else streamable_stage(accepted, spec.train.sft)
        return [], alone, "collect.train"
    sources, seed = spec.train.pairs, spec.seed + 2 * SELECTION_SEED_OFFSET
    stages, ready = source_stages(spec, sources, "pairs", seed)
    total = exact_total(sources)
    stages = collect_stages(spec, stages, "pairs", ready, refuse=refuse, total=total, last="pairs")
    return stages, streamable_stage(ready[0].accepted.stage, sources), "collect.pairs"


def streamable_stage(accepted: str, sources: Sequence[SynthesisSource | DatasetSource]) -> str | None:
    """The stage whose shards can be sampled as they come. A dataset is one shard, so it is sampled in slices."""
    return accepted if len(sources) == 1 and isinstance(sources[0], SynthesisSource) else None


def sampling_stages(
    spec: PipelineSpec | PairingSpec, names: ModelNames, verified: str | None, dataset: str
) -> list[StagePlan]:
    """Sample, judge and pair. Without a fine-tuned weak model, sampling follows verification shard by shard."""
    weak, stages = spec.weak, []
    if weak.endpoint is not None and weak.model is not None:
        params = sampling_params(spec, weak.endpoint, weak.model, spec.seed)
        after: list[str] = []
    else:
        model = names.model("sft") if weak.sft_first else base_name(weak.base)
        # an untrained base model waits for the SFT too; otherwise it would hold the device that the SFT needs
        trained_before = ["sft"] if weak.sft_first or isinstance(spec, PipelineSpec) else []
        stages.append(
            deploy_stage(
                "deploy.weak",
                model=model,
                base=spec.student.base if weak.sft_first else weak.base,
                adapter=weak.sft_first,
                after=trained_before,
                device=names.device,
            )
        )
        params = sampling_params(spec, "engine", model, spec.seed)
        after = ["deploy.weak"]
    fine_tuned = weak.endpoint is None and weak.sft_first
    source: EachShard | Slices
    # a limit on questions holds for the whole set; a fine-tuned model must wait for its training anyway
    if verified is not None and weak.questions is None and not fine_tuned:
        source = EachShard(stage=verified, fields={"examples": "examples"})
    else:
        source = Slices(
            stage=dataset,
            output="examples",
            count="examples",
            size=SAMPLED_PER_SHARD if weak.endpoint is None else ENDPOINT_SAMPLED_PER_SHARD,
            limit=weak.questions,
        )
    ready = after
    if weak.sweep is not None:
        stages += sweep_stages(weak, params, dataset, after)
        left = 1 - SWEEP_BUDGET_SHARE * len(weak.sweep)
        params = {**params, "chosen": stage_ref(SWEEP_STAGE), **budget_params(weak, left)}
        ready = [*after, SWEEP_STAGE]
    stages.append(StagePlan(id="sample", task="pairing.sample_candidates", source=source, after=ready, params=params))
    stages += pair_stages(spec, dataset, spec.seed)
    if after:
        stages.append(release_stage("release.weak", ["sample"], names.device))
    return stages


def sweep_stages(weak: WeakModel, asking: dict[str, Any], dataset: str, after: list[str]) -> list[StagePlan]:
    """Sample and judge the same questions at each temperature, then choose one.

    The stage compares the share of questions with right and wrong answers, so test-suite databases are not needed.
    """
    stages: list[StagePlan] = []
    judgings: list[str] = []
    for number, temperature in enumerate(weak.sweep or [], start=1):
        source = Slices(
            stage=dataset,
            output="examples",
            count="examples",
            size=SAMPLED_PER_SHARD,
            limit=min(weak.sweep_questions, weak.questions or weak.sweep_questions),
        )
        params = {**asking, "temperature": temperature, **budget_params(weak, SWEEP_BUDGET_SHARE)}
        name = f"sample.{SWEEP_STAGE}-{number}"
        stages.append(StagePlan(id=name, task="pairing.sample_candidates", source=source, after=after, params=params))
        stages.append(judge_stage(f"judge.{SWEEP_STAGE}-{number}", name, {"official": True}))
        judgings.append(stages[-1].id)
    params = {"temperatures": list(weak.sweep or []), "judged": [stage_ref(stage) for stage in judgings]}
    stages.append(
        StagePlan(
            id=SWEEP_STAGE,
            task="pairing.choose_temperature",
            source=FixedShards(shards=[{}]),
            after=judgings,
            params=params,
        )
    )
    return stages


def pair_stages(spec: PipelineSpec | PairingSpec, dataset: str, seed: int, number: int = 1) -> list[StagePlan]:
    suffix = "" if number == 1 else f".r{number}"
    judging = {"suite_databases": spec.pairs.suite_databases, "official": True, "programs": True}
    pairs = StagePlan(
        id=f"pair{suffix}",
        task="pairing.build_pairs",
        source=EachShard(stage=f"judge{suffix}", fields={"judged": "judged"}),
        params={
            "policy": spec.pairs.policy,
            "seed": seed,
            "per_question": spec.pairs.per_question,
            "length_ratio": spec.pairs.length_ratio,
        },
    )
    collect = StagePlan(
        id=f"collect.preferences{suffix}",
        task="pairing.collect",
        source=FixedShards(shards=[{}]),
        after=[pairs.id, dataset],
        params={
            "pairs": stage_ref(pairs.id),
            "dataset": stage_ref(dataset),
            "limit": spec.pairs.limit,
            **prompt_params(spec),
            "seed": seed,
            "max_length": training_max_length(spec),
            "syntax_share": spec.pairs.syntax_share,
        },
    )
    return [judge_stage(f"judge{suffix}", f"sample{suffix}", judging), pairs, collect]


def pairing_plan(spec: PipelineSpec) -> PairingPlan:
    return PairingPlan(
        sample=StageRef(stage="sample"),
        judge=StageRef(stage="judge"),
        pair=StageRef(stage="pair"),
        collect=StageRef(stage="collect.preferences"),
        sweep=StageRef(stage=SWEEP_STAGE) if spec.weak.sweep is not None else None,
        samples=spec.weak.samples,
        temperature=spec.weak.temperature,
    )


def pairs_needed(spec: PipelineSpec, number: int = 1) -> Need:
    """With fewer pairs than this, the stages that train, deploy and score a round are skipped."""
    stage = "collect.preferences" if number == 1 else f"collect.preferences.r{number}"
    return Need(stage=stage, count="pairs", at_least=spec.pairs.minimum)


def training_max_length(spec: PipelineSpec | PairingSpec) -> int | None:
    """Returns None where the length of the training that follows is not known."""
    if spec.pairs.max_length is not None or not isinstance(spec, PipelineSpec):
        return spec.pairs.max_length
    return spec.dpo.max_length or PRESET_LENGTHS.get(spec.dpo.preset)
