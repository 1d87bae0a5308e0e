"""How data is named: by object key and hash, by the stage that left it, by whose it is. Data itself never travels."""

from pydantic import BaseModel, ConfigDict


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


class Slice(BaseModel):
    """Rows `offset` to `offset + limit` of one named output of a single-shard stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: StageRef
    output: str
    offset: int
    limit: int
