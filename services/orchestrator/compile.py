"""A spec becomes a plan: one function a kind."""

from pydantic import ValidationError

from services.orchestrator.fragments import base_name, deployed, judged, ref, released, test_sets, trained
from services.orchestrator.pipeline import (
    ANSWER_QUESTIONS_PER_SHARD,
    ANSWER_TOKENS,
    TEST_SEED,
    compile_pipeline,
    name_models,
    pair_source,
    sft_stages,
    synthesis_stages,
    weak_stages,
)
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
from shared.errors import InvalidInputError
from shared.jobs.plan import Fixed, Plan, Slices, StagePlan


def compile_spec(job_id: str, spec: AnySpec, device: str) -> Plan:
    """The plan of a job; `device` is the name of what training and engine share.

    Raises `InvalidInputError` where names of the spec make no plan, such as a model's with a space in it.
    """
    try:
        return compile_kind(job_id, spec, device)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInputError(f"the spec makes no plan ({reason}); check the names of its models") from error


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
    """Each model, and the base, on the test sets."""
    base = base_name(spec.student.base)
    stages = test_sets(spec.evaluate, TEST_SEED, spec.prompt.rows)
    arms: list[ArmPlan] = []
    for model in dict.fromkeys([base, *spec.models]):
        arms.append(ArmPlan(id=model, title=model, model=model, judged=StageRef(stage=f"judge.{model}")))
        stages.append(
            deployed(
                f"deploy.{model}",
                model=model,
                base=spec.student.base,
                adapter=model != base,
                after=["collect.test"],
                device=device,
            )
        )
    for arm in arms:
        params = {
            "endpoint": "engine",
            "model": arm.model,
            "max_tokens": ANSWER_TOKENS,
            "seed": spec.seed,
            "prompt_rows": spec.prompt.rows,
        }
        stages.append(
            StagePlan(
                id=f"answer.{arm.id}",
                task="evaluation.answer_questions",
                source=Slices(
                    stage="collect.test", output="examples", count="examples", size=ANSWER_QUESTIONS_PER_SHARD
                ),
                after=[f"deploy.{arm.id}"],
                params=params,
            )
        )
        stages.append(judged(f"judge.{arm.id}", f"answer.{arm.id}"))
    score = StagePlan(
        id="report",
        task="evaluation.score",
        source=Fixed(shards=[{}]),
        after=[f"judge.{arm.id}" for arm in arms],
        params={
            "arms": [arm.model_dump() for arm in arms],
            "tests": [ref("collect.test")],
            "dataset": ref("collect.test"),
            "seed": spec.seed,
        },
    )
    return Plan(stages=[*stages, score])
