"""Pieces of plans that several kinds of job share: each returns the stages it adds, in order."""

from dataclasses import dataclass
from typing import Any

from shared.contracts.base import StageRef
from shared.contracts.records import PromptStyle
from shared.contracts.spec import PairingSpec, PipelineSpec, StrongModel, Student, SynthesisSpec, WeakModel
from shared.contracts.training import TrainSettings
from shared.jobs.plan import DeviceLease, EachShard, FixedShards, Need, StagePlan

ANSWERED_PER_SHARD = 96  # one answer each: the embedded engine decodes 48 together, and more wait for a free row
SAMPLED_PER_SHARD = 24  # several answers each
# Only calls of one shard fly together, and at its end they run out: a shard is long against what flies at once.
ENDPOINT_SAMPLED_PER_SHARD = 240


def stage_ref(stage: str, job_id: str | None = None) -> dict[str, Any]:
    """A stage reference as a stage parameter."""
    return StageRef(stage=stage, job_id=job_id).model_dump()


def base_name(base: str) -> str:
    """The name under which a base is served: the last part of its reference."""
    return base.rstrip("/").rsplit("/", 1)[-1].removeprefix("builtin:").lower()


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The immutable names of one job's models, and the device they share."""

    prefix: str
    base: str
    device: str

    def model(self, stage: str) -> str:
        """A model of this job."""
        return f"{self.prefix}-{stage}"


def name_models(job_id: str, base: str, device: str) -> ModelNames:
    """Names hold the base and the job, so that none is ever used twice."""
    short = base_name(base)
    return ModelNames(prefix=f"{short}-{job_id[:8]}", base=short, device=device)


def train_stage(
    stage: str,
    *,
    method: str,
    recipe: str,
    model: str,
    student: Student,
    data: dict[str, Any],
    prompt: dict[str, Any],
    output: str,
    settings: TrainSettings,
    seed: int,
    after: list[str],
    device: str,
    parent: str | None = None,
    need: Need | None = None,
) -> StagePlan:
    """One training run, alone on its device. What it is scored on while it runs was set aside with its examples."""
    questions = {**data, "stage": "collect.train"} if settings.score_steps else None
    params = {
        "method": method,
        "recipe": recipe,
        "mode": student.method,
        "model": model,
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
        device=DeviceLease(name=device, hold="shard"),
    )


def deploy_stage(
    stage: str, *, model: str, base: str, adapter: bool, after: list[str], device: str, need: Need | None = None
) -> StagePlan:
    """A model on the engine; the device stays with the job until it is released."""
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
    """A model off the engine; waits while another job holds the device and may be asking it."""
    return StagePlan(
        id="undeploy",
        task="serving.undeploy_model",
        source=FixedShards(shards=[{}]),
        params={"model": model},
        device=DeviceLease(name=device, hold="shard"),
    )


def release_stage(stage: str, after: list[str], device: str) -> StagePlan:
    """The engine leaves its device; waits where another job still holds it."""
    return StagePlan(
        id=stage,
        task="serving.release",
        source=FixedShards(shards=[{}]),
        after=after,
        device=DeviceLease(name=device, hold="job"),
        frees=device,
    )


def prompt_params(spec: PipelineSpec | PairingSpec | SynthesisSpec) -> dict[str, Any]:
    """How prompts are written: sample rows of each table, and the style."""
    return {"prompt_rows": spec.prompt.rows, "style": spec.style.model_dump()}


def sampling_params(
    weak: WeakModel, endpoint: str, model: str, seed: int, rows: int, style: PromptStyle
) -> dict[str, Any]:
    """How the weak model is asked."""
    return {
        "endpoint": endpoint,
        "model": model,
        "samples": weak.samples,
        "temperature": weak.temperature,
        "top_p": weak.top_p,
        "max_tokens": weak.max_tokens,
        "seed": seed,
        "prompt_rows": rows,
        "style": style.model_dump(),
        "budget_usd": weak.budget_usd,
        "budget_tokens": weak.budget_tokens,
    }


def budget_params(model: StrongModel | WeakModel, share: float) -> dict[str, Any]:
    """A share of the budgets, where there are any."""
    usd, tokens = model.budget_usd, model.budget_tokens
    return {
        "budget_usd": None if usd is None else usd * share,
        "budget_tokens": None if tokens is None else int(tokens * share),
    }


def judge_stage(name: str, asked: str, params: dict[str, Any] | None = None) -> StagePlan:
    """Verdicts for a stage of candidates, shard by shard."""
    source = EachShard(stage=asked, fields={"candidates": "candidates", "examples": "examples"})
    return StagePlan(id=name, task="sandbox.judge_candidates", source=source, params=params or {})
