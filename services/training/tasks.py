"""The training service's task: one supervised subprocess, its metrics live, its artefact published manifest last."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.training.config import TrainConfig
from services.training.presets import load_preset
from services.training.supervise import RunStatus, TrainingRun
from shared.contracts.base import TaskContract
from shared.contracts.records import PromptStyle
from shared.contracts.refs import ObjectRef
from shared.contracts.training import TRAIN_MODEL, TrainedCounts, TrainModel
from shared.errors import CancelledError, NotFoundError
from shared.models.chosen import model_of
from shared.models.find import find_base
from shared.models.manifest import ModelManifest, bring_model, publish_model
from shared.settings import PathSettings
from shared.sql.prompt import PROMPT_VERSION, prompt_version
from shared.tasks.run import Done, Work
from shared.tasks.shard import Shard

POLL_S = 0.5
STOP_GRACE_S = 10.0


def find_data(command: TrainModel, shard: Shard) -> ObjectRef:
    """The export to train on. Raises `NotFoundError` where its stage left none."""
    refs = shard.refs(command.data, command.output)
    if len(refs) != 1:
        raise NotFoundError(f"stage {command.data.stage} left no export {command.output}; did its job succeed?")
    return refs[0]


def make_config(command: TrainModel, shard: Shard, data: ObjectRef, folder: Path) -> TrainConfig:
    """The run's configuration: preset, then the spec's own values, then the paths of this attempt."""
    paths = PathSettings()
    shard.objects.get_file(data.key, folder / "data.jsonl")
    chosen = command.settings.model_dump(exclude={"preset"}, exclude_none=True)
    recipe = getattr(load_preset(command.settings.preset), command.recipe).model_dump() | chosen
    return TrainConfig.model_validate(
        {
            **recipe,
            "mode": command.mode,
            "seed": command.seed,
            "method": command.method,
            "name": command.model,
            "base_name": command.base,
            "base_dir": find_base(shard.objects, command.base),
            "parent_adapter": bring_model(shard.objects, command.parent, paths.adapters) if command.parent else None,
            "data": folder / "data.jsonl",
            "out_dir": folder / "run",
        }
    )


def watch(run: TrainingRun, shard: Shard) -> None:
    """Passes metrics on until the run ends; a lease that ends stops the run, kindly first."""
    while run.poll().status is RunStatus.RUNNING:
        for line in run.new_metrics():
            shard.progress(**line)
        if shard.abort.wait(POLL_S):
            run.stop(STOP_GRACE_S if shard.heartbeat.reason != "lost" else 0.0)
            raise CancelledError("the training was stopped with its lease")
    for line in run.new_metrics():
        shard.progress(**line)


def train_model(command: TrainModel, shard: Shard) -> Done:
    """Trains, publishes, and tells rows and steps."""
    if command.parent_from is not None:
        command = command.model_copy(update={"parent": model_of(shard, command.parent_from, command.parent or "")})
    name = f"{command.job_id}.{command.stage}.{command.attempt}"
    folder = PathSettings().work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return train_in(folder, command, shard)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def train_in(folder: Path, command: TrainModel, shard: Shard) -> Done:
    """One run in a folder of its own, which is gone afterwards: what counts lies in the object store."""
    data = find_data(command, shard)
    run = TrainingRun(make_config(command, shard, data, folder))
    run.start()
    try:
        watch(run, shard)
        facts = run.facts()
    finally:
        if run.poll().status is RunStatus.RUNNING:
            run.kill()
    outputs = {
        "manifest": publish_model(
            shard.objects, run.config.artefact_dir, make_manifest(command, data, facts, prompts_of(command, shard))
        ),
        "metrics": shard.write_file("metrics", run.config.metrics_file, "jsonl"),
    }
    return Done(TrainedCounts(rows=int(facts["data"]["kept"]), steps=int(facts["steps"])), outputs)


def prompts_of(command: TrainModel, shard: Shard) -> str:
    """How the training data's prompts are written, by the stage that wrote them: a model is asked as it was taught."""
    plan = shard.jobs.plan(command.data.job_id or command.job_id)
    params = plan.stage(command.data.stage).params if plan is not None else {}
    if "prompt_rows" not in params:
        return PROMPT_VERSION
    return prompt_version(params["prompt_rows"], PromptStyle.model_validate(params.get("style", {})))


def make_manifest(command: TrainModel, data: ObjectRef, facts: dict[str, Any], prompts: str) -> ModelManifest:
    """The manifest without its files, which are known when they are uploaded."""
    return ModelManifest(
        name=command.model,
        base=command.base,
        parent=command.parent,
        method=command.method,
        mode=command.mode,
        job_id=command.job_id,
        stage=command.stage,
        data=data,
        code_version=version("sense-sql"),
        prompt_version=prompts,
        files={},
        facts=facts,
    )


TASKS: dict[TaskContract, Work[Any]] = {TRAIN_MODEL: train_model}
