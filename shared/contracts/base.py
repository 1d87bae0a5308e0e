"""What contracts consist of: references to data, queues, commands, counts and events. Data never travels."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ObjectRef(BaseModel):
    """A finished object: its key, the SHA-256 (hex) of its bytes, its size in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    sha256: str
    size: int


class Owner(BaseModel):
    """The key that made a thing. `id` is that key's alone; `name` is for people, and another key may take it later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str


class StageRef(BaseModel):
    """All finished outputs of a stage, in shard order; `job_id` only where it is another job's stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    job_id: str | None = None


class OutputRef(BaseModel):
    """One named output of all finished shards of a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: StageRef
    output: str


class RecordSlice(BaseModel):
    """Rows `offset` to `offset + limit` of one named output of a single-shard stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: StageRef
    output: str
    offset: int
    limit: int


class Queue(StrEnum):
    """Each service with shards has one queue of the same name."""

    SYNTHESIS = "synthesis"
    SANDBOX = "sandbox"
    PAIRING = "pairing"
    TRAINING = "training"
    SERVING = "serving"
    EVALUATION = "evaluation"


class Command(BaseModel):
    """What a service has to do to one shard. It carries ids and object keys only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str
    stage: str
    shard: int = Field(ge=0)
    attempt: int = Field(ge=1)
    correlation_id: str


class Counts(BaseModel):
    """Whole numbers that a finished shard adds to its stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardFinished(BaseModel):
    """The event of a finished shard, appended to the stream in the step that records it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    job_id: str
    stage: str
    shard: int
    attempt: int
    outputs: dict[str, ObjectRef]


class TaskContract(BaseModel):
    """All that others know of a task: dispatcher, reaper, docs and tests read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    queue: Queue
    command: type[Command]
    event: str = Field(pattern=r"^[a-z]+\.[a-z]+$")
    counts: type[Counts]
    outputs: tuple[str, ...]
    hard_limit_s: int | None = Field(default=900, description="None: the lease is the only limit")
    max_attempts: int = Field(default=3, ge=1, le=10)

    @model_validator(mode="after")
    def check_name(self) -> "TaskContract":
        """Makes the name begin with the queue, so that a misrouted task is visible."""
        if not self.name.startswith(f"{self.queue}."):
            raise ValueError(f"task {self.name} must be named {self.queue}.<verb_noun>")
        return self

    def static_fields(self) -> set[str]:
        return set(self.command.model_fields) - set(Command.model_fields)


def to_json(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")
