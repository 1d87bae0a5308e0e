"""Where objects lie, and how much of them is kept near: settings with the prefixes SENSE_STORE_ and SENSE_CACHE_."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class CacheSettings(BaseSettings):
    """How much disk local copies may take: `bytes` for databases, `rows_bytes` for sets that are read in parts,
    `models_bytes` for models brought from the store. A copy
    asked for within `keep_s` seconds is never evicted: longer than any task that may hold its path.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_CACHE_", extra="ignore")

    bytes: int = Field(default=20_000_000_000, ge=0, description="0: no bound")
    rows_bytes: int = Field(default=5_000_000_000, ge=0, description="sets that are read in parts; 0: no bound")
    models_bytes: int = Field(default=100_000_000_000, ge=0, description="none goes within a day; 0: no bound")
    keep_s: float = Field(default=1800.0, ge=0)


class StoreSettings(BaseSettings):
    """`root` is used by the directory store, the rest by MinIO or another S3 server.

    `endpoint` is `host:port`; with `http://` or `https://` in front of it, the scheme decides `secure`.
    `public_endpoint` is the address under which browsers reach the same server, for presigned addresses.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_STORE_", extra="ignore")

    kind: Literal["directory", "minio"] = "directory"
    root: Path = Path(".sense/objects")
    endpoint: str = "127.0.0.1:9000"
    public_endpoint: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    credentials: Path | None = Field(
        default=None, description="JSON file with access_key and secret_key, in place of the two above"
    )
    bucket: str = "sense"
    region: str = "us-east-1"
    secure: bool = False

    @model_validator(mode="after")
    def _split_scheme(self) -> Self:
        scheme, separator, host = self.endpoint.rpartition("://")
        if separator:
            self.endpoint, self.secure = host.rstrip("/"), scheme == "https"
        return self
