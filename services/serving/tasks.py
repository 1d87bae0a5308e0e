"""The serving service's tasks: models onto the engine under immutable names, and the engine off its device."""

from typing import Any

from services.serving.client import EmbeddedEngine
from services.serving.protocol import Engine
from shared.contracts.base import TaskContract
from shared.contracts.serving import DEPLOY_MODEL, RELEASE, DeployedCounts, DeployModel, Release, ReleasedCounts
from shared.models.bases import resolve_base
from shared.models.manifest import bring_model
from shared.settings import EngineSettings, PathSettings
from shared.tasks.run import Done, Work
from shared.tasks.shard import Shard


def open_engine() -> Engine:
    """The engine of this installation."""
    return EmbeddedEngine(EngineSettings().url)


def deploy_model(command: DeployModel, shard: Shard) -> Done:
    """Brings base and adapter to this machine and has the engine answer under the model's name."""
    paths = PathSettings()
    base = resolve_base(command.base, paths.bases, paths.allowed_roots())
    adapter = bring_model(shard.objects, command.model, paths.adapters) if command.adapter else None
    open_engine().load(command.model, str(base.absolute()), str(adapter.absolute()) if adapter is not None else None)
    return Done(DeployedCounts(deployed=1))


def release(command: Release, shard: Shard) -> Done:
    """Gives the engine's memory back; its names stay and are loaded again when someone asks."""
    engine = open_engine()
    served = len(engine.models())
    engine.release()
    return Done(ReleasedCounts(released=served))


TASKS: dict[TaskContract, Work[Any]] = {DEPLOY_MODEL: deploy_model, RELEASE: release}
