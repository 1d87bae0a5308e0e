"""Settings that several processes share: one class per concern, read from the environment, prefix `SENSE_`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic_settings
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.errors import InvalidInputError

# Old environment variable -> its new name; None for a setting that no longer exists.
RENAMED: dict[str, str | None] = {
    "SENSE_CACHE_ROWS_BYTES": "SENSE_CACHE_RECORDS_BYTES",
    "SENSE_ENGINE_ROWS": "SENSE_ENGINE_MAX_SEQUENCES",
    "SENSE_RETENTION_ASKED_BYTES": "SENSE_RETENTION_DDL_DATABASES_BYTES",
    "SENSE_RETENTION_ASKED_DAYS": "SENSE_RETENTION_DDL_DATABASES_DAYS",
    "SENSE_RETENTION_FACTS_DAYS": "SENSE_RETENTION_EVENTS_DAYS",
    "SENSE_RETENTION_NEIGHBOURS_DAYS": "SENSE_RETENTION_TEST_SUITES_DAYS",
    "SENSE_SANDBOX_INTAKE_S": "SENSE_SANDBOX_INTAKE_TIMEOUT_S",
    "SENSE_SANDBOX_LONGEST_S": "SENSE_SANDBOX_MAX_DEADLINE_S",
    "SENSE_SANDBOX_MOST_ROWS": "SENSE_SANDBOX_MAX_ROWS",
    "SENSE_SANDBOX_UPLOAD_BYTES": "SENSE_SANDBOX_MAX_UPLOAD_BYTES",
    "SENSE_STORE_PUBLIC_ENDPOINT": None,
}


def find_renamed(environ: Mapping[str, str] = os.environ) -> Iterator[tuple[str, str]]:
    """Variables of the environment that have an old name, each with its remedy."""
    for name in environ:
        if (old := name.upper()) in RENAMED:  # pydantic-settings ignores case too
            new = RENAMED[old]
            yield name, f"rename it to {new}" if new else "remove it: this setting no longer exists"


class BaseSettings(pydantic_settings.BaseSettings):
    """Refuses an environment with an old name; the process would otherwise run with the default, unnoticed."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, values: Any) -> Any:
        for name, remedy in find_renamed():
            raise InvalidInputError(f"the environment variable {name} is no longer read; {remedy}", code="old_setting")
        return values


class RedisSettings(BaseSettings):
    """One Redis database holds broker and job store under one key prefix."""

    model_config = SettingsConfigDict(env_prefix="SENSE_REDIS_", extra="ignore")

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    prefix: str = "sense:"


class LeaseSettings(BaseSettings):
    """How long a worker may be silent, in seconds."""

    model_config = SettingsConfigDict(env_prefix="SENSE_LEASE_", extra="ignore")

    seconds: float = Field(default=30.0, gt=0.5)
    retry_pause_s: float = Field(default=2.0, ge=0)

    @property
    def renew_s(self) -> float:
        """Three renewals per lease, of which two may be lost."""
        return self.seconds / 3

    @property
    def reap_s(self) -> float:
        """Six sweeps per lease."""
        return self.seconds / 6


class PathSettings(BaseSettings):
    """Local folders of one process: caches only, nothing that must survive."""

    model_config = SettingsConfigDict(env_prefix="SENSE_", extra="ignore")

    state: Path = Path(".sense")
    models: Path | None = Field(default=None, description="folder of converted bases; None: `models` in the state")
    model_dirs: str = Field(default="", description="folders, separated by ':', from which a spec may name a base")

    @property
    def databases(self) -> Path:
        return self.state / "cache" / "databases"

    @property
    def records(self) -> Path:
        return self.state / "cache" / "records"

    @property
    def golds(self) -> Path:
        return self.state / "cache" / "golds.sqlite"

    @property
    def adapters(self) -> Path:
        return self.state / "cache" / "models"

    @property
    def bases(self) -> Path:
        return self.models or self.state / "models"

    @property
    def work(self) -> Path:
        return self.state / "work"

    def allowed_roots(self) -> list[Path]:
        return [Path(part) for part in self.model_dirs.split(":") if part]


class EngineSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SENSE_ENGINE_", extra="ignore")

    url: str = "http://127.0.0.1:8101"
    device: str = "cpu:0"
    kind: Literal["embedded", "vllm"] = Field(default="embedded", description="which one the local stack starts")


class MetricsSettings(BaseSettings):
    """Where a worker or the orchestrator serves its metrics; without a port, nowhere. The gateway has /metrics."""

    model_config = SettingsConfigDict(env_prefix="SENSE_METRICS_", extra="ignore")

    port: int | None = Field(default=None, ge=1, le=65535)
    host: str = "127.0.0.1"


class InternalSettings(BaseSettings):
    """How our services trust each other. `hosts`: names of this machine that are served beside its addresses."""

    model_config = SettingsConfigDict(env_prefix="SENSE_INTERNAL_", extra="ignore")

    token: SecretStr | None = Field(default=None, description="secret: the same for all services")
    hosts: str = ""

    @property
    def secret(self) -> str | None:
        """The token; None also for an empty one."""
        return (self.token.get_secret_value() or None) if self.token is not None else None

    @property
    def host_names(self) -> frozenset[str]:
        """Lower case, without ports."""
        return frozenset(name.strip().lower() for name in self.hosts.split(",") if name.strip())


class HealthSettings(BaseSettings):
    """`alive`: a file that workers and the orchestrator touch every few seconds, for a container's health check."""

    model_config = SettingsConfigDict(env_prefix="SENSE_HEALTH_", extra="ignore")

    alive: Path | None = None


class ServingSettings(BaseSettings):
    """Where the serving service's HTTP process is."""

    model_config = SettingsConfigDict(env_prefix="SENSE_SERVING_", extra="ignore")

    url: str = "http://127.0.0.1:8103"


class LogSettings(BaseSettings):
    """`text` for people, `json` for machines."""

    model_config = SettingsConfigDict(env_prefix="SENSE_LOG_", extra="ignore")

    level: str = "INFO"
    format: str = "text"


class ProcessSettings(BaseSettings):
    """What other programs of this machine may see of our processes."""

    model_config = SettingsConfigDict(env_prefix="SENSE_PROCESS_", extra="ignore")

    dumpable: bool = Field(default=False, description="let py-spy, debuggers and core dumps in without root")


class SandboxSettings(BaseSettings):
    """Where the sandbox's HTTP service is, and its limits. Times in seconds, sizes in bytes.

    `children` are those of one sandbox worker, `http_children` those of the HTTP service. A call waits up to `wait_s`
    for a free one, at most `waiting` calls at once; others get a retryable error. `intake_timeout_s` limits each step
    of checking an uploaded database.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_SANDBOX_", extra="ignore")

    children: int = Field(default=2, ge=1, le=64)
    url: str = "http://127.0.0.1:8102"
    http_children: int = Field(default=2, ge=1, le=64)
    wait_s: float = Field(default=2.0, ge=0)
    waiting: int = Field(default=32, ge=0)
    max_deadline_s: float = Field(default=30.0, gt=0, description="the longest deadline that a caller may ask for")
    max_rows: int = Field(default=10_000, ge=0, description="the most rows that a caller may ask for")
    uploads: int = Field(default=2, ge=1, le=16, description="uploads received or checked at once")
    max_upload_bytes: int = Field(default=1_000_000_000, ge=1, description="the largest database that is taken in")
    intake_timeout_s: float = Field(default=120.0, gt=0)
    require_walls: bool = Field(default=False, description="serve nothing where the kernel lacks seccomp or Landlock")
