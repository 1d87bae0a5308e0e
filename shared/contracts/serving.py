"""Serving: models onto the engine, and the engine off its device."""

from shared.contracts.base import Command, Counts, Queue, StageRef, TaskContract


class DeployModel(Command):
    """Makes `model` answer under its own immutable name; a base has the name of its folder and no adapter.

    `model_from` is a stage that has chosen the model; it goes before `model`.
    """

    model: str
    base: str
    adapter: bool
    model_from: StageRef | None = None


class DeployedCounts(Counts):
    """Always one: the fact is the point."""

    deployed: int


class UndeployModel(Command):
    """Has the engine forget `model`; its weights stay in the object store."""

    model: str


class UndeployedCounts(Counts):
    """One where it was served, none where it was not."""

    undeployed: int


class Release(Command):
    """Gives the engine's memory back, so that training has the device to itself."""


class ReleasedCounts(Counts):
    """Models that left the engine's memory."""

    released: int


DEPLOY_MODEL = TaskContract(
    name="serving.deploy_model",
    queue=Queue.SERVING,
    command=DeployModel,
    event="model.deployed",
    counts=DeployedCounts,
    outputs=(),
)
UNDEPLOY_MODEL = TaskContract(
    name="serving.undeploy_model",
    queue=Queue.SERVING,
    command=UndeployModel,
    event="model.undeployed",
    counts=UndeployedCounts,
    outputs=(),
    hard_limit_s=300,
)
RELEASE = TaskContract(
    name="serving.release",
    queue=Queue.SERVING,
    command=Release,
    event="device.released",
    counts=ReleasedCounts,
    outputs=(),
    hard_limit_s=300,
)
