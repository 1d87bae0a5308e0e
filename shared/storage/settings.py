"""Where objects lie: settings with the prefix SENSE_STORE_."""

from pathlib import Path
from typing import Literal, Self

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    bucket: str = "sense"
    region: str = "us-east-1"
    secure: bool = False

    @model_validator(mode="after")
    def _split_scheme(self) -> Self:
        scheme, separator, host = self.endpoint.rpartition("://")
        if separator:
            self.endpoint, self.secure = host.rstrip("/"), scheme == "https"
        return self
