"""The stages that several parts of a plan have in common, and the parameters that they share."""

from dataclasses import dataclass
from typing import Any

from shared.contracts.base import StageRef
from shared.contracts.spec import (
    EvaluationSpec,
    PairingSpec,
    PipelineSpec,
    StrongModel,
    Student,
    SynthesisSpec,
    WeakModel,
)
from shared.contracts.training import TrainSettings
from shared.jobs.plan import DeviceLease, EachShard, FixedShards, Need, StagePlan

ANSWERED_PER_SHARD = 96  # one answer each: the embedded engine decodes 48 together, and more wait for a free row
SAMPLED_PER_SHARD = 24  # several answers each
# Only the calls of one shard run at the same time, and fewer and fewer run towards its end. So a shard is long compared
# with the number of calls at once.
ENDPOINT_SAMPLED_PER_SHARD = 240


def stage_ref(stage: str, job_id: str | None = None) -> dict[str, Any]:
    return StageRef(stage=stage, job_id=job_id).model_dump()


def base_name(base: str) -> str:
    """The name under which a base is served: the last part of its reference."""
    return base.rstrip("/").rsplit("/", 1)[-1].removeprefix("builtin:").lower()


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names of one job's models, and the device they share."""

    prefix: str
    base: str
    device: str

    def model(self, stage: str) -> str:
        return f"{self.prefix}-{stage}"


def name_models(job_id: str, base: str, device: str) -> ModelNames:
    """Names contain the base and the job, so that no two jobs train models of the same name."""
    short = base_name(base)
    return ModelNames(prefix=f"{short}-{job_id[:8]}", base=short, device=device)


def train_stage(
    stage: str,
    student: Student,
    names: ModelNames,
    *,
    method: str,
    data: dict[str, Any],
    prompt: dict[str, Any],
    output: str,
    settings: TrainSettings,
    seed: int,
    after: list[str],
    recipe: str | None = None,
    parent: str | None = None,
    need: Need | None = None,
) -> StagePlan:
    # the questions that score the run were set aside with the training examples, also for DPO
    questions = {**data, "stage": "collect.train"} if settings.score_steps else None
    params = {
        "method": method,
        "recipe": recipe or method,
        "mode": student.method,
        "model": names.model(stage),
        "base": student.base,
        "parent": parent,
        "data": data,
        "output": output,
        "settings": settings.model_dump(),
        "questions": questions,
        **prompt,
        "seed": seed,
    }
    return StagePlan(
        id=stage,
        task="training.train_model",
        source=FixedShards(shards=[{}]),
        after=after,
        need=need,
        params=params,
        device=DeviceLease(name=names.device, hold="shard"),
    )


def deploy_stage(
    stage: str, *, model: str, base: str, adapter: bool, after: list[str], device: str, need: Need | None = None
) -> StagePlan:
    """Deploys a model to the engine. The device stays with the job until a stage releases it."""
    return StagePlan(
        id=stage,
        task="serving.deploy_model",
        source=FixedShards(shards=[{}]),
        after=after,
        need=need,
        params={"model": model, "base": base, "adapter": adapter},
        device=DeviceLease(name=device, hold="job"),
    )


def undeploy_stage(model: str, device: str) -> StagePlan:
    """Removes a model from the engine once no other job holds the device: such a job may be using the model."""
    return StagePlan(
        id="undeploy",
        task="serving.undeploy_model",
        source=FixedShards(shards=[{}]),
        params={"model": model},
        device=DeviceLease(name=device, hold="shard"),
    )


def release_stage(stage: str, after: list[str], device: str) -> StagePlan:
    """Takes the engine off its device once no other job holds it."""
    return StagePlan(
        id=stage,
        task="serving.release",
        source=FixedShards(shards=[{}]),
        after=after,
        device=DeviceLease(name=device, hold="job"),
        frees=device,
    )


def prompt_params(spec: PipelineSpec | PairingSpec | SynthesisSpec | EvaluationSpec) -> dict[str, Any]:
    return {"sample_rows": spec.prompt.sample_rows, "style": spec.style.model_dump()}


def sampling_params(spec: PipelineSpec | PairingSpec, endpoint: str, model: str, seed: int) -> dict[str, Any]:
    weak = spec.weak
    return {
        "endpoint": endpoint,
        "model": model,
        "samples": weak.samples,
        "temperature": weak.temperature,
        "top_p": weak.top_p,
        "max_tokens": weak.max_tokens,
        "seed": seed,
        **prompt_params(spec),
        "budget_usd": weak.budget_usd,
        "budget_tokens": weak.budget_tokens,
    }


def budget_params(model: StrongModel | WeakModel, share: float) -> dict[str, Any]:
    """A share of the budgets; None where the spec sets none."""
    usd, tokens = model.budget_usd, model.budget_tokens
    return {
        "budget_usd": None if usd is None else usd * share,
        "budget_tokens": None if tokens is None else int(tokens * share),
    }


def judge_stage(name: str, asked: str, params: dict[str, Any] | None = None) -> StagePlan:
    source = EachShard(stage=asked, fields={"candidates": "candidates", "examples": "examples"})
    return StagePlan(id=name, task="sandbox.judge_candidates", source=source, params=params or {})
