"""How long finished work stays where: settings with the prefix SENSE_RETENTION_."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

NEVER = -1.0


class RetentionSettings(BaseSettings):
    """Days count from a job's end; -1 means never. `every_s`: how often the orchestrator looks; 0 means not by itself.

    What is asked for by anyone but its job (models, data sets, databases, recorded answers, exports, reports, archives)
    is no matter of these settings: it stays.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_RETENTION_", extra="ignore")

    every_s: float = Field(default=3600.0, ge=0)
    rows_days: float = Field(default=7.0, ge=NEVER, description="a job's record, rows and events in Redis")
    orphans_days: float = Field(default=7.0, ge=NEVER, description="what attempts wrote that no finish recorded")
    checkpoints_days: float = Field(default=7.0, ge=NEVER, description="all checkpoints of a stage but the last")
    facts_days: float = Field(default=1.0, ge=NEVER, description="the common stream of facts, where it was read")
