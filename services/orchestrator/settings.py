"""How orchestrators share the work: settings with the prefix SENSE_ORCHESTRATOR_."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class OrchestratorSettings(BaseSettings):
    """Several may run; one leads and the others wait for its lease to run out."""

    model_config = SettingsConfigDict(env_prefix="SENSE_ORCHESTRATOR_", extra="ignore")

    lease_s: float = Field(
        default=5.0, ge=0.5, le=300, description="a leader that says nothing for so long is replaced"
    )
    most_jobs: int = Field(default=100, ge=1, le=10_000, description="jobs compiled and worked on at once; others wait")
