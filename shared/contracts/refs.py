"""How commands name data: by object key and hash, or by the stage that left it. Data itself never travels."""

from pydantic import BaseModel, ConfigDict


class ObjectRef(BaseModel):
    """A finished object: its key, the SHA-256 (hex) of its bytes, its size in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    sha256: str
    size: int


class StageRef(BaseModel):
    """All finished outputs of a stage, in shard order; `job_id` only where it is another job's stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    job_id: str | None = None


class Slice(BaseModel):
    """Rows `offset` to `offset + limit` of one named output of a single-shard stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: StageRef
    output: str
    offset: int
    limit: int
