"""A spec becomes a plan: one function a kind."""

import re
from dataclasses import replace

from pydantic import ValidationError

from services.orchestrator.benchmarks import Arm, benchmark_stages, benchmarks_of, refused, score_params
from services.orchestrator.fragments import (
    base_name,
    deployed,
    judged,
    ref,
    released,
    test_sets,
    trained,
    undeployed,
)
from services.orchestrator.naming import name_models
from services.orchestrator.pipeline import (
    ANSWER_TOKENS,
    TEST_SEED,
    compile_pipeline,
    pair_source,
    sft_stages,
    synthesis_stages,
    weak_stages,
)
from services.orchestrator.sizes import ANSWERED_PER_SHARD
from shared.contracts.evaluation import ArmPlan
from shared.contracts.refs import StageRef
from shared.contracts.spec import (
    AnySpec,
    DeploymentSpec,
    DpoSpec,
    EvaluationSpec,
    PairingSpec,
    PipelineSpec,
    SftSpec,
    SynthesisSpec,
)
from shared.contracts.spec_models import EndpointModel
from shared.errors import InvalidInputError
from shared.jobs.plan import Fixed, Plan, Slices, StagePlan

MOST_STAGES = 1000  # every step of a job looks at all of them
MOST_SHARDS = 100_000  # that stand in the plan itself
DATASET_TOKENS = 512  # golds of BIRD are longer than those of the built-in sets
UNUSABLE = re.compile(r"[^a-z0-9_.-]+")


def compile_spec(job_id: str, spec: AnySpec, device: str) -> Plan:
    """The plan of a job; `device` is the name of what training and engine share.

    Raises `InvalidInputError` where names of the spec make no plan, such as a model's with a space in it.
    """
    try:
        plan = compile_kind(job_id, spec, device)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInputError(f"the spec makes no plan ({reason}); check the names of its models") from error
    shards = sum(len(stage.source.shards) for stage in plan.stages if isinstance(stage.source, Fixed))
    if len(plan.stages) > MOST_STAGES or shards > MOST_SHARDS:
        raise InvalidInputError(
            f"the spec makes a plan of {len(plan.stages)} stages with {shards} shards, above {MOST_STAGES} and "
            f"{MOST_SHARDS}; name fewer models, test sets or questions, or make it several jobs"
        )
    return plan


def compile_kind(job_id: str, spec: AnySpec, device: str) -> Plan:
    """One function a kind."""
    match spec:
        case PipelineSpec():
            return compile_pipeline(job_id, spec, device)
        case SynthesisSpec():
            return Plan(stages=synthesis_stages(spec, []), lost_allowed=spec.lost_allowed)
        case PairingSpec():
            return compile_pairing(job_id, spec, device)
        case SftSpec() | DpoSpec():
            return compile_training(job_id, spec, device)
        case DeploymentSpec(serve=False):
            return Plan(stages=[undeployed(spec.model, device)])
        case DeploymentSpec():
            stage = deployed("deploy", model=spec.model, base=spec.student.base, adapter=True, after=[], device=device)
            return Plan(stages=[stage])
        case EvaluationSpec():
            return compile_evaluation(spec, device)


def compile_pairing(job_id: str, spec: PairingSpec, device: str) -> Plan:
    """Synthesis, the weak model's SFT where it is wanted, and pairs."""
    names = name_models(job_id, spec.student.base, device)
    stages = synthesis_stages(spec, [])
    more, verified, dataset = pair_source(spec, [])
    stages += more
    if spec.weak.endpoint is None and spec.weak.sft_first:
        stages += sft_stages(spec, names)
    stages += weak_stages(spec, names, verified, dataset)
    return Plan(stages=stages, lost_allowed=spec.lost_allowed)


def compile_training(job_id: str, spec: SftSpec | DpoSpec, device: str) -> Plan:
    """One training run on a finished job's export."""
    names = name_models(job_id, spec.student.base, device)
    is_sft = isinstance(spec, SftSpec)
    source = "collect.train" if is_sft else "collect.preferences"
    release = released("release.before", [], device)
    stage = trained(
        spec.kind,
        method=spec.kind,
        recipe=spec.kind,
        model=names.model(spec.kind),
        student=spec.student,
        data=ref(source, spec.data.removeprefix("job:")),
        output=spec.kind,
        settings=spec.sft if isinstance(spec, SftSpec) else spec.dpo,
        seed=spec.seed,
        after=[release.id],
        device=device,
        parent=None if isinstance(spec, SftSpec) else spec.parent,
    )
    return Plan(stages=[release, stage])


def compile_evaluation(spec: EvaluationSpec, device: str) -> Plan:
    """Each model, and the base of those that are served here, on the test sets."""
    stages = test_sets(spec.evaluate, TEST_SEED, spec.prompt.rows, spec.style)
    builtin, benchmarks = bool(stages), benchmarks_of(spec.evaluate)
    stages += [one.load() for one in benchmarks]
    deploys, arms = scored_arms(spec, refused(benchmarks, builtin), device)
    stages += deploys
    if builtin:
        for arm in arms:
            stages += builtin_stages(spec, arm)
    more = benchmark_stages(benchmarks, [with_tokens(arm, spec.answer_tokens or DATASET_TOKENS) for arm in arms])
    judgings = [stage.id for stage in [*stages, *more] if stage.id.startswith("judge.")]
    score = StagePlan(
        id="report",
        task="evaluation.score",
        source=Fixed(shards=[{}]),
        after=judgings,
        params={
            "arms": [arm.plan.model_dump() for arm in arms] if builtin else [],
            "tests": [ref("collect.test")] if builtin else [],
            "dataset": ref(refused(benchmarks, builtin)[0]),
            "seed": spec.seed,
            **score_params(benchmarks, arms),
        },
    )
    return Plan(stages=[*stages, *more, score])


def scored_arms(spec: EvaluationSpec, ready: list[str], device: str) -> tuple[list[StagePlan], list[Arm]]:
    """The base and its adapters, deployed once the questions are there, and the models of endpoints."""
    base = base_name(spec.student.base)
    served = [model for model in spec.models if isinstance(model, str)]
    stages: list[StagePlan] = []
    arms: list[Arm] = []
    for name in dict.fromkeys([base, *served] if served else []):
        stages.append(
            deployed(
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
    """One model as it is asked, greedily."""
    asking = {
        "endpoint": endpoint,
        "model": model,
        "max_tokens": spec.answer_tokens or ANSWER_TOKENS,
        "seed": spec.seed,
        "prompt_rows": spec.prompt.rows,
        "style": spec.style.model_dump(),
        **({"budget_usd": budget} if budget is not None else {}),
        **({"budget_tokens": tokens} if tokens is not None else {}),
    }
    plan = ArmPlan(id=arm_id, title=title, model=model, judged=StageRef(stage=f"judge.{arm_id}"))
    return Arm(plan, asking, after=after or [])


def with_tokens(arm: Arm, tokens: int) -> Arm:
    """The same arm with another bound on its answers."""
    return replace(arm, asking={**arm.asking, "max_tokens": tokens})


def builtin_stages(spec: EvaluationSpec, arm: Arm) -> list[StagePlan]:
    """An arm's answers to the built-in sets, and their verdicts."""
    answer = StagePlan(
        id=f"answer.{arm.plan.id}",
        task="evaluation.answer_questions",
        source=Slices(stage="collect.test", output="examples", count="examples", size=ANSWERED_PER_SHARD),
        after=arm.after,
        params=arm.asking,
    )
    return [answer, judged(f"judge.{arm.plan.id}", answer.id)]
