"""What the gateway may be told: settings with the prefix SENSE_GATEWAY_."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """Bounds on what callers send and on how long streams last. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="SENSE_GATEWAY_", extra="ignore")

    max_body_bytes: int = Field(default=1_000_000, ge=1)
    max_dataset_bytes: int = Field(default=256_000_000, ge=1)
    stream_s: float = Field(default=600.0, gt=0, description="an event stream ends after this long; clients resume")
    heartbeat_s: float = Field(default=15.0, gt=0)
    poll_s: float = Field(default=0.15, gt=0)
    engine_timeout_s: float = Field(default=600.0, gt=0)
