"""Settings of the orchestrator (SENSE_ORCHESTRATOR_) and of retention (SENSE_RETENTION_)."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class OrchestratorSettings(BaseSettings):
    """Several orchestrators may run. One leads; the others wait until its lease runs out."""

    model_config = SettingsConfigDict(env_prefix="SENSE_ORCHESTRATOR_", extra="ignore")

    lease_s: float = Field(default=5.0, ge=0.5, le=300, description="a leader that is silent for so long is replaced")
    most_jobs: int = Field(default=100, ge=1, le=10_000, description="jobs worked on at once; the others wait")


NEVER = -1.0


class RetentionSettings(BaseSettings):
    """Days since a job ended, or since the last use; -1 means never. `every_s` is 0 to remove nothing by itself.

    Finished models, datasets, databases, exports, reports and archives always stay. Recorded answers and uploads go
    only if you set after how many days.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_RETENTION_", extra="ignore")

    every_s: float = Field(default=3600.0, ge=0)
    rows_days: float = Field(default=7.0, ge=NEVER, description="a job's record, shards and events in Redis")
    orphans_days: float = Field(default=7.0, ge=NEVER, description="outputs of attempts that did not finish")
    checkpoints_days: float = Field(default=7.0, ge=NEVER, description="all checkpoints of a stage but the last")
    unfinished_days: float = Field(default=30.0, ge=NEVER, description="parts of a dataset or model without a manifest")
    ddl_databases_days: float = Field(
        default=7.0, ge=NEVER, description="databases built from the DDL of a question, since their last use"
    )
    ddl_databases_bytes: int = Field(default=5_000_000_000, ge=0, description="all of them together; 0: no limit")
    test_suites_days: float = Field(default=30.0, ge=NEVER, description="test-suite databases; built again when needed")
    answers_days: float = Field(
        default=NEVER, ge=NEVER, description="recorded answers; a job that repeats a call pays for it again"
    )
    uploads_days: float = Field(
        default=NEVER, ge=NEVER, description="uploaded databases that no dataset and no job names"
    )
    events_days: float = Field(default=1.0, ge=NEVER, description="what was read of the stream of all events")
