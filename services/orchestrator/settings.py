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
    """Days count from a job's end; -1 means never. `every_s`: how often the orchestrator looks; 0 means not by itself.

    What is asked for by anyone but its job (finished models, data sets, databases, exports, reports, archives) is no
    matter of these settings: it stays. Recorded answers and uploads go only where an operator says after how long.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_RETENTION_", extra="ignore")

    every_s: float = Field(default=3600.0, ge=0)
    rows_days: float = Field(default=7.0, ge=NEVER, description="a job's record, rows and events in Redis")
    orphans_days: float = Field(default=7.0, ge=NEVER, description="what attempts wrote that no finish recorded")
    checkpoints_days: float = Field(default=7.0, ge=NEVER, description="all checkpoints of a stage but the last")
    unfinished_days: float = Field(
        default=30.0, ge=NEVER, description="parts of a data set or model whose manifest never came"
    )
    asked_days: float = Field(
        default=7.0, ge=NEVER, description="databases built from a question's DDL, since they were last asked for"
    )
    asked_bytes: int = Field(default=5_000_000_000, ge=0, description="all of them; the longest unused go; 0: no bound")
    neighbours_days: float = Field(default=30.0, ge=NEVER, description="varied databases, which are made again on need")
    answers_days: float = Field(
        default=NEVER, ge=NEVER, description="recorded answers; what goes is paid for again by a job that repeats it"
    )
    uploads_days: float = Field(
        default=NEVER, ge=NEVER, description="uploaded databases that no data set and no job, archived or not, names"
    )
    events_days: float = Field(default=1.0, ge=NEVER, description="the common stream of facts, where it was read")
