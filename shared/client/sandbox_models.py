"""What the serving service asks of the sandbox's HTTP service: several SQL at once, a database from a script."""

from pydantic import BaseModel, ConfigDict, Field

from shared.client.models import ApiObject, Executed, Text


class RunRequest(BaseModel):
    """Several SQL for one stored database; equal ones run once. Budgets are each statement's, as in `/v1/execute`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_id: Text = Field(max_length=200)
    sqls: list[Text] = Field(min_length=1, max_length=64)
    deadline_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_rows: int | None = Field(default=None, ge=0)


class Run(Executed):
    """One of them; equal fingerprints are equal results, None where not all rows were seen."""

    fingerprint: str | None = None


class RunAnswer(ApiObject):
    """In the order of the request."""

    runs: list[Run]


class ScriptRequest(BaseModel):
    """SQL that makes a database: CREATE TABLE, CREATE INDEX, INSERT."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ddl: Text = Field(min_length=1)


class ScriptAnswer(ApiObject):
    """The stored database, and the beginnings of statements that were left out."""

    database_id: str
    skipped: list[str] = Field(default_factory=list)
