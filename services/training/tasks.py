"""The training task: one supervised subprocess, live metrics, and an artefact whose manifest is published last."""

import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from services.training.accuracy import AccuracyScorer, selection_questions
from services.training.checkpoints import CheckpointStore, CheckpointUploader, recipe_hash
from services.training.config import TrainConfig, load_preset
from services.training.scores import QUESTIONS, write_file
from services.training.supervisor import RunStatus, TrainingProcess
from shared.contracts.base import ObjectRef, TaskContract
from shared.contracts.records import PromptStyle
from shared.contracts.training import TRAIN_MODEL, TrainedCounts, TrainModel
from shared.errors import CancelledError, InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.logging import get_logger
from shared.models.bases import fetch_model_folders
from shared.models.manifest import ModelManifest, chosen_model, manifest_ref, publish_model, read_manifest
from shared.settings import LeaseSettings, PathSettings
from shared.sql.prompt import PROMPT_VERSION, prompt_version
from shared.tasks.task import Shard, TaskResult, Work

POLL_S = 0.5  # seconds between looks at the metrics
DRAIN_GRACE_S = 8.0
GRACE_LEASES = 0.6  # share of a lease that a stopping run may use
STORE_PATIENCE_S = 300.0
# Files of the artefact folder that are also outputs of the task.
OUTPUT_FILES = {"metrics": "metrics.jsonl", "tensorboard": "curve.tfevents"}
# These do not change the loss curve, or only name places on one machine.
NOT_IN_RECIPE_HASH = {"base_dir", "parent_adapter", "data", "out_dir", "questions"}
NOT_IN_RECIPE_HASH |= {"threads", "save_steps", "save_minutes", "score_steps", "score_questions", "report_to"}
T = TypeVar("T")
log = get_logger()


def train_model(command: TrainModel, shard: Shard) -> TaskResult:
    """Trains and publishes a model, unless an earlier attempt of this stage has published it already."""
    if command.parent_from is not None:
        command = command.model_copy(update={"parent": chosen_model(shard, command.parent_from, command.parent or "")})
    work = PathSettings().work
    stage = f"{command.job_id}.{command.stage}."
    for left in work.glob(f"{stage}*"):
        shutil.rmtree(left, ignore_errors=True)  # of workers that were killed
    data = find_data(command, shard)
    # an earlier attempt may have published the model and died before it reported
    if (done := find_published(command, shard, data)) is not None:
        return done
    folder = work / f"{stage}{command.attempt}"
    folder.mkdir(parents=True)
    try:
        return run_training(folder, command, shard, data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_data(command: TrainModel, shard: Shard) -> ObjectRef:
    refs = shard.refs(command.data, command.output)
    if len(refs) != 1:
        raise NotFoundError(f"stage {command.data.stage} left no export {command.output}; did its job succeed?")
    return refs[0]


def find_published(command: TrainModel, shard: Shard, data: ObjectRef) -> TaskResult | None:
    try:
        manifest = read_manifest(shard.objects, command.model)
    except NotFoundError:
        return None
    same = (manifest.job_id, manifest.stage, manifest.data) == (command.job_id, command.stage, data)
    return result_of(shard, manifest) if same and set(OUTPUT_FILES.values()) <= set(manifest.files) else None


def run_training(folder: Path, command: TrainModel, shard: Shard, data: ObjectRef) -> TaskResult:
    config = make_config(command, shard, data, folder)
    store = checkpoint_store(command, shard, config, data)
    step = store.restore(config.out_dir)
    if step:
        log.info("training.resumed", step=step)
    run, accuracy = TrainingProcess(config), make_scorer(command, shard, config)
    uploader = CheckpointUploader(config, store, since=step, stored=lambda _: reset_attempts(shard))
    run.start()
    uploader.start()
    if accuracy is not None:
        accuracy.start()
    try:
        watch_run(run, shard)
    finally:
        if run.poll().status is RunStatus.RUNNING:
            run.kill()
        if accuracy is not None:
            accuracy.close()
        # whoever has the lease now writes the checkpoints, so a worker that lost it writes nothing more
        uploader.close(keep=shard.heartbeat.reason not in ("lost", "orphaned"))
    manifest = make_manifest(command, data, run.facts(), prompt_version_of(command))
    retry_while_unavailable(lambda: publish_model(shard.objects, config.artefact_dir, manifest), shard)
    done = result_of(shard, read_manifest(shard.objects, command.model))
    try:
        # a published model needs no checkpoints
        store.prune(keep=0)
    except SenseError as error:  # checkpoints that stay do no harm
        log.warning("checkpoint.not_deleted", error=error.message)
    return done


def make_config(command: TrainModel, shard: Shard, data: ObjectRef, folder: Path) -> TrainConfig:
    """Merges the preset, the values of the spec, and the paths of this attempt.

    Raises `InvalidInputError` if values exclude each other.
    """
    base, parent = fetch_model_folders(shard.objects, command.base, command.parent)
    shard.objects.get_file(data.key, folder / "data.jsonl")
    chosen = command.settings.model_dump(exclude={"preset"}, exclude_none=True)
    recipe = getattr(load_preset(command.settings.preset), command.recipe).model_dump() | chosen
    if recipe["mode"] == "full" and command.mode != "full":
        raise InvalidInputError(f"preset {command.settings.preset} trains all weights: set student.method: full")
    values = {
        **recipe,
        "mode": command.mode,
        "seed": command.seed,
        "method": command.method,
        "name": command.model,
        "base_name": command.base,
        "base_dir": base,
        "parent_adapter": parent,
        "data": folder / "data.jsonl",
        "out_dir": folder / "run",
        "questions": folder / "questions.json" if recipe["score_steps"] else None,
    }
    try:
        return TrainConfig.model_validate(values)
    except ValueError as error:
        raise InvalidInputError(f"the settings of stage {command.stage} do not fit together: {error}") from error


def checkpoint_store(command: TrainModel, shard: Shard, config: TrainConfig, data: ObjectRef) -> CheckpointStore:
    """Returns the checkpoints of this stage. The recipe hash keeps out those of another base, parent or export."""
    facts = config.model_dump(mode="json", exclude=NOT_IN_RECIPE_HASH) | {"data": data.sha256, "parent": command.parent}
    writer = f"{command.attempt}-{shard.heartbeat.token[:8]}"
    return CheckpointStore(shard.objects, command.job_id, command.stage, recipe=recipe_hash(facts), writer=writer)


def reset_attempts(shard: Shard) -> None:
    try:
        # a stored checkpoint restarts the shard's attempts; without that, three lost workers would end a long training
        shard.checkpointed()
    except SenseError as error:
        log.warning("checkpoint.not_reported", error=error.message)


def make_scorer(command: TrainModel, shard: Shard, config: TrainConfig) -> AccuracyScorer | None:
    if config.questions is None or command.questions is None:
        return None
    style = command.style or PromptStyle()
    questions = selection_questions(command, shard, config.score_questions, command.sample_rows or 0, style)
    write_file(config.questions, QUESTIONS.dump_json(questions))
    return AccuracyScorer(config, questions, style)


def watch_run(run: TrainingProcess, shard: Shard) -> None:
    """Reports metrics until the run ends.

    When the lease ends, stops the run and leaves it time to save a checkpoint.
    """
    while run.poll().status is RunStatus.RUNNING:
        report_progress(run, shard)
        if shard.abort.wait(POLL_S):
            run.stop(stop_grace(shard.heartbeat.reason))
            raise CancelledError("the training was stopped with its lease")
    report_progress(run, shard)


def report_progress(run: TrainingProcess, shard: Shard) -> None:
    for line in run.new_metrics():
        try:
            shard.progress(**line)
        except SenseError as error:  # watchers miss some lines, the training goes on
            log.warning("progress.not_reported", error=error.message)
            return


def stop_grace(reason: str | None) -> float:
    """Seconds for the last step and its checkpoint, within the lease: it is no longer renewed."""
    if reason in ("lost", "orphaned"):
        return 0.0
    within = GRACE_LEASES * LeaseSettings().seconds
    return min(DRAIN_GRACE_S, within) if reason == "draining" else within


def prompt_version_of(command: TrainModel) -> str:
    if command.sample_rows is None:
        return PROMPT_VERSION
    return prompt_version(command.sample_rows, command.style or PromptStyle())


def make_manifest(command: TrainModel, data: ObjectRef, facts: dict[str, Any], prompts: str) -> ModelManifest:
    """Returns the manifest without its files, which `publish_model` adds; `prompts` is the prompt version."""
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


def retry_while_unavailable(action: Callable[[], T], shard: Shard) -> T:
    """Waits a few minutes for a store that is down rather than lose hours of training."""
    ends, pause = time.monotonic() + STORE_PATIENCE_S, 1.0
    while True:
        try:
            return action()
        except UnavailableError as error:
            if time.monotonic() > ends:
                raise
            log.warning("store.waiting", error=error.message)
        if shard.abort.wait(pause):
            raise CancelledError("the training was stopped with its lease")
        pause = min(30.0, 2 * pause)


def result_of(shard: Shard, manifest: ModelManifest) -> TaskResult:
    outputs = {name: manifest.files[file] for name, file in OUTPUT_FILES.items()}
    outputs["manifest"] = manifest_ref(shard.objects, manifest.name)
    counts = TrainedCounts(rows=int(manifest.facts["data"]["kept"]), steps=int(manifest.facts["steps"]))
    return TaskResult(counts, outputs)


TASKS: dict[TaskContract, Work[Any]] = {TRAIN_MODEL: train_model}
