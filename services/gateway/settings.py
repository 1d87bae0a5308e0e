"""Settings of the gateway (SENSE_GATEWAY_…) and of its keys."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class AuthSettings(BaseSettings):
    """With `disabled`, nobody needs a key. `admin_key` is the operator's, beside the keys of the store.

    `metrics_key` is for Prometheus and opens /metrics alone. `key_secret` signs the keys of the store; while it is
    rotated it holds several secrets, separated by commas, the newest first.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_", extra="ignore")

    auth: Literal["keys", "disabled"] = "keys"
    admin_key: SecretStr | None = None
    metrics_key: SecretStr | None = None
    key_secret: SecretStr | None = None


class GatewaySettings(BaseSettings):
    """Bounds on what callers send and on how long streams last. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="SENSE_GATEWAY_", extra="ignore")

    max_body_bytes: int = Field(default=1_000_000, ge=1)
    max_spec_bytes: int = Field(default=256_000, ge=1, description="the largest spec, as JSON or YAML")
    max_dataset_bytes: int = Field(default=256_000_000, ge=1)
    stream_s: float = Field(default=600.0, gt=0, description="an event stream ends after this long; clients resume")
    heartbeat_s: float = Field(default=15.0, gt=0)
    poll_s: float = Field(default=0.15, gt=0)
    engine_timeout_s: float = Field(default=600.0, gt=0)
    key_per_minute: int = Field(default=6000, ge=1, description="calls a minute of a key that says nothing else")
    key_jobs: int = Field(default=1000, ge=1, description="jobs of one key that are not over")
    key_examples: int = Field(default=1_000_000, ge=1, description="examples that one job of a key may ask for")
    key_usd_per_day: float = Field(default=1000.0, ge=0, description="what a key may spend at endpoints, by UTC's days")
    key_tokens_per_day: int = Field(default=1_000_000_000, ge=0)
    key_stored_bytes: int = Field(default=100_000_000_000, ge=0, description="databases and datasets of one key")
    dataset_uploads: int = Field(default=8, ge=1, description="datasets that are received at once")
    key_bodies: int = Field(default=64, ge=1, description="bodies of one key that are arriving at once")
    bodies: int = Field(default=512, ge=1, description="bodies that are arriving at once")
    body_s: float = Field(default=60.0, gt=0, description="a body that is no upload has arrived after this long")
    upload_s: float = Field(default=3600.0, gt=0, description="an upload has arrived after this long")
    silent_s: float = Field(default=30.0, gt=0, description="a sender who sends nothing for this long is cut off")
    key_streams: int = Field(default=32, ge=1, description="event streams of one key at once")
    streams: int = Field(default=128, ge=1, description="event streams at once")
    cors_origins: str = Field(default="", description="origins whose pages may call, separated by commas; none")
    hosts: str = Field(default="", description="names, beside this machine's own, that are answered without keys")

    @property
    def origins(self) -> frozenset[str]:
        return names(self.cors_origins)

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset(name.lower() for name in names(self.hosts))


def names(text: str) -> frozenset[str]:
    return frozenset(part.strip().rstrip("/") for part in text.split(",") if part.strip())
