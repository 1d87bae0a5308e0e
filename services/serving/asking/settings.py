"""Settings of the HTTP service that answers questions; `SENSE_SERVING_<NAME>` in the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AskSettings(BaseSettings):
    """`at_once`: questions answered at a time, more are refused. `engine_s`: patience with one call to the engine."""

    model_config = SettingsConfigDict(env_prefix="SENSE_SERVING_", extra="ignore")

    at_once: int = Field(default=64, ge=1)
    engine_s: float = Field(default=600.0, gt=0)
