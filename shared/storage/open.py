"""The settings of the object store, and opening the store that they name."""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.errors import InvalidInputError
from shared.settings import BaseSettings
from shared.storage.directory import DirectoryStore
from shared.storage.store import ObjectStore


class StoreSettings(BaseSettings):
    """`root` is for the directory store, the rest for MinIO or another S3 server.

    `endpoint` is `host:port`; an `http://` or `https://` in front of it decides `secure`.
    """

    model_config = SettingsConfigDict(env_prefix="SENSE_STORE_", extra="ignore")

    kind: Literal["directory", "minio"] = "directory"
    root: Path = Path(".sense/objects")
    endpoint: str = "127.0.0.1:9000"
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


def read_credentials(path: Path) -> tuple[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return str(found["access_key"]), str(found["secret_key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"SENSE_STORE_CREDENTIALS names {path}, which holds no access_key and secret_key as JSON"
        raise InvalidInputError(f"{what} ({type(error).__name__})") from error


def open_store(settings: StoreSettings) -> ObjectStore:
    """Raises `InvalidInputError` if a MinIO store lacks its keys. Sends nothing over the network yet."""
    if settings.kind == "directory":
        return DirectoryStore(settings.root)
    if settings.credentials is not None:
        access_key, secret_key = read_credentials(settings.credentials)
    elif settings.access_key is not None and settings.secret_key is not None:
        access_key, secret_key = settings.access_key.get_secret_value(), settings.secret_key.get_secret_value()
    else:
        raise InvalidInputError(
            "the minio store needs keys; set SENSE_STORE_ACCESS_KEY and SENSE_STORE_SECRET_KEY, "
            "or SENSE_STORE_CREDENTIALS"
        )
    # Imported late: the directory store needs no S3 client.
    from shared.storage.minio_store import MinioStore

    return MinioStore(
        endpoint=settings.endpoint,
        access_key=access_key,
        secret_key=secret_key,
        bucket=settings.bucket,
        secure=settings.secure,
        region=settings.region,
    )
