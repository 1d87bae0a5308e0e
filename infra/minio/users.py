"""Gives each kind of service its own user of the store, so that none but the gateway reaches its keys.

    python -m infra.minio.users FOLDER      # one-shot service `store-users` of the compose file

Writes FOLDER/gateway, FOLDER/work and FOLDER/sandbox, each with a `credentials.json` that SENSE_STORE_CREDENTIALS
names in the services. Users that are there and answer stay as they are. A server without MinIO's admin API
(SeaweedFS, a hosted S3) knows no such users: then every file holds the key of the environment, and that is said.
"""

import json
import os
import secrets
import sys
from pathlib import Path

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, MinioException

from shared.errors import SenseError
from shared.storage.open import StoreSettings, open_store, read_credentials

ROLES = ("gateway", "work", "sandbox")
POLICIES = Path(__file__).with_name("policies")
NO_ADMIN_API = frozenset({"400", "403", "404", "405", "501"})


def policy_of(role: str, bucket: str) -> dict[str, object]:
    """What a role may do in the bucket."""
    policy: dict[str, object] = json.loads((POLICIES / f"{role}.json").read_text().replace("BUCKET", bucket))
    return policy


def write_credentials(path: Path, access_key: str, secret_key: str) -> None:
    """For this user alone, and whole or not at all."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"access_key": access_key, "secret_key": secret_key}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def works(settings: StoreSettings, path: Path) -> bool:
    """Whether the credentials of an earlier start still open the bucket."""
    try:
        access_key, secret_key = read_credentials(path)
        client = Minio(settings.endpoint, access_key, secret_key, secure=settings.secure, region=settings.region)
        return bool(client.bucket_exists(settings.bucket))
    except (SenseError, MinioException, urllib3.exceptions.HTTPError):
        return False


def make_users(settings: StoreSettings, folder: Path) -> str:
    """Writes the files; a sentence that says what was done. Raises `MinioAdminException` for a server that refuses."""
    root, secret = settings.access_key, settings.secret_key
    assert root is not None and secret is not None  # open_store has checked
    provider = StaticProvider(root.get_secret_value(), secret.get_secret_value())
    admin = MinioAdmin(endpoint=settings.endpoint, credentials=provider, secure=settings.secure, region=settings.region)
    try:
        admin.user_list()
    except (MinioAdminException, ValueError) as error:  # ValueError: an answer that MinIO did not encrypt
        if isinstance(error, MinioAdminException) and error._code not in NO_ADMIN_API:
            raise
        for role in ROLES:
            write_credentials(folder / role / "credentials.json", root.get_secret_value(), secret.get_secret_value())
        return (
            f"the store at {settings.endpoint} has no admin API of MinIO's: all services share one key; "
            "make users by infra/minio/policies and write their credentials.json where that is not enough"
        )
    made = []
    for role in ROLES:
        admin.policy_add(f"sense-{role}", policy=policy_of(role, settings.bucket))
        path = folder / role / "credentials.json"
        if not works(settings, path):
            user, password = f"sense-{role}", secrets.token_hex(24)
            admin.user_add(user, password)
            admin.policy_set(f"sense-{role}", user=user)
            write_credentials(path, user, password)
            made.append(user)
    return f"made {', '.join(made)}" if made else "every user is there; nothing was changed"


def main(words: list[str]) -> int:
    """0, or 1 with the reason."""
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    settings = StoreSettings()
    try:
        open_store(settings).exists("sense/data-version")  # makes the bucket, which the other users may not
        print(make_users(settings, Path(words[0])))
    except (SenseError, MinioAdminException, urllib3.exceptions.HTTPError, OSError) as error:
        print(f"the store's users could not be made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
