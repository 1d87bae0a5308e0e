"""What a trained model's manifest says: lineage by ids alone."""

from importlib.metadata import version
from typing import Any

from shared.contracts.refs import ObjectRef
from shared.contracts.training import TrainModel
from shared.models.manifest import ModelManifest


def make_manifest(command: TrainModel, data: ObjectRef, facts: dict[str, Any], prompts: str) -> ModelManifest:
    """The manifest without its files, known when they are uploaded; `prompts` says how prompts were written."""
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
