"""Every kind of service has a user of the store that reaches what its work needs and not the gateway's keys."""

import json
import threading
from collections.abc import Iterator
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from minio.crypto import decrypt, encrypt
from pydantic import SecretStr

from infra.minio.users import ROLES, main, make_users, policy_of
from shared.errors import InvalidInputError
from shared.storage import keys
from shared.storage.minio_store import MinioStore, StoreDeniedError
from shared.storage.open import StoreSettings, open_store, read_credentials
from tests.support.s3_server import S3Server

ID = "ab" * 32
DATABASE, CARD, SUITE_DATABASE = keys.database_key(ID), keys.card_key(ID), keys.test_suite_database_key(ID, "set", 0)
DDL_DATABASE, DDL_CARD = keys.ddl_database_key(ID), keys.ddl_card_key(ID)
ROWS, UPLOAD, DATASET = (
    keys.shard_key("j", "s", 0, 1, "judged.jsonl"),
    keys.upload_key(1, ID),
    keys.dataset_key("d", "v", "f"),
)
KEY, MODEL, ANSWER, REPORT = (
    keys.api_key_key("boss"),
    keys.model_key("m", "w"),
    keys.answer_key(ID),
    keys.report_key("j", "s", "md"),
)
ALL = (DATABASE, CARD, DDL_DATABASE, DDL_CARD, SUITE_DATABASE, ROWS, UPLOAD, DATASET, KEY, MODEL, ANSWER, REPORT)


def allows(role: str, action: str, key: str) -> bool:
    """A policy as S3 servers read it: something allows, nothing denies."""
    target, found = f"arn:aws:s3:::sense/{key}", False
    for one in policy_of(role, "sense")["Statement"]:  # type: ignore[attr-defined]
        if action in one["Action"] and any(fnmatchcase(target, pattern) for pattern in one["Resource"]):
            if one["Effect"] == "Deny":
                return False
            found = True
    return found


def test_only_the_gateway_reaches_its_keys() -> None:
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert [role for role in ROLES if allows(role, action, KEY)] == ["gateway"]
        assert all(allows("work", action, key) for key in ALL if key != KEY)


def test_the_sandbox_reads_and_writes_its_own_and_deletes_nothing() -> None:
    assert {key for key in ALL if allows("sandbox", "s3:GetObject", key)} == {
        *(DATABASE, CARD, DDL_DATABASE, DDL_CARD, SUITE_DATABASE, ROWS, UPLOAD, DATASET)
    }
    assert {key for key in ALL if allows("sandbox", "s3:PutObject", key)} == {
        *(DATABASE, CARD, DDL_DATABASE, DDL_CARD, SUITE_DATABASE, ROWS, UPLOAD)
    }
    assert not any(allows("sandbox", "s3:DeleteObject", key) for key in ALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    actions = ["List:sense"]
    for one in policy_of("sandbox", "sense")["Statement"]:  # type: ignore[attr-defined]
        verb = {"s3:GetObject": "Read", "s3:PutObject": "Write"}.get(one["Action"][0])
        paths = [pattern.removeprefix("arn:aws:s3:::") for pattern in one["Resource"]]
        actions += [f"{verb}:{path}" for path in paths if verb]
    with S3Server(tmp_path_factory.mktemp("s3"), {"sense-sandbox": actions}) as running:
        yield running


def settings_of(server: S3Server, **more: Any) -> StoreSettings:
    return StoreSettings(kind="minio", endpoint=server.endpoint, **more)


def root_settings(server: S3Server) -> StoreSettings:
    return settings_of(server, access_key=SecretStr(server.access_key), secret_key=SecretStr(server.secret_key))


def test_the_policy_is_enough_for_the_sandbox_on_a_real_server(server: S3Server, tmp_path: Path) -> None:
    root = open_store(root_settings(server))
    for key in ALL:
        root.put(key, b"root's")
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"access_key": "sense-sandbox", "secret_key": server.secret_key}))
    own = open_store(settings_of(server, credentials=path))
    assert isinstance(own, MinioStore)
    for key in (DATABASE, CARD, DDL_DATABASE, DDL_CARD, SUITE_DATABASE, ROWS, UPLOAD):
        own.put(key + ".new", b"1")  # with the looks at its folders that a put takes
        assert own.get(key) == b"root's" and own.exists(key)
    assert not own.exists("readyz") and not own.exists("databases/none.json")
    assert list(own.list(keys.UPLOADS_PREFIX)) == [UPLOAD, UPLOAD + ".new"]
    for key in (KEY, MODEL, ANSWER, REPORT):
        with pytest.raises(StoreDeniedError):
            own.get(key)
        with pytest.raises(StoreDeniedError):
            own.put(key, b"mine")
        assert root.get(key) == b"root's"


def test_a_server_without_minios_api_gets_one_key_for_all_and_says_so(server: S3Server, tmp_path: Path) -> None:
    for role in ROLES:
        (tmp_path / role).mkdir()
    said = make_users(root_settings(server), tmp_path)
    assert "no admin API" in said
    for role in ROLES:
        path = tmp_path / role / "credentials.json"
        assert read_credentials(path) == (server.access_key, server.secret_key)
        assert path.stat().st_mode & 0o777 == 0o600


class Admin(BaseHTTPRequestHandler):
    """What MinIO's admin API answers to the four calls, as its client reads it; users and policies are kept."""

    secret = "root-secret-of-length"
    users: ClassVar[dict[str, str]]
    policies: ClassVar[dict[str, Any]]
    granted: ClassVar[dict[str, str]]

    def reply(self, body: bytes = b"", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path.startswith("/minio/admin/v3/list-users"):
            return self.reply(encrypt(b"{}", self.secret))
        user = self.headers["Authorization"].split("Credential=")[1].split("/")[0]
        return self.reply(b"<a/>", 200 if user in self.users else 403)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        url, body = urlsplit(self.path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path.rpartition("/")[2]:
            case "add-user":
                self.users[asked["accessKey"]] = json.loads(decrypt(Body(body), self.secret))["secretKey"]
            case "add-canned-policy":
                self.policies[asked["name"]] = json.loads(body)
            case "set-user-or-group-policy":
                self.granted[asked["userOrGroup"]] = asked["policyName"]
        self.reply()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Body:
    """Bytes as an answer that `decrypt` reads."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, amount: int | None = None, **_: object) -> bytes:
        found, self.data = self.data[:amount], self.data[len(self.data[:amount]) :]
        return found

    def close(self) -> None:
        pass

    def release_conn(self) -> None:
        pass


def test_minio_gets_a_user_a_policy_and_a_file_a_role_and_keeps_them(tmp_path: Path) -> None:
    class Fresh(Admin):
        users: ClassVar[dict[str, str]] = {}
        policies: ClassVar[dict[str, Any]] = {}
        granted: ClassVar[dict[str, str]] = {}

    for role in ROLES:
        (tmp_path / role).mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Fresh) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        settings = StoreSettings(
            kind="minio",
            endpoint=f"127.0.0.1:{running.server_address[1]}",
            access_key=SecretStr("root"),
            secret_key=SecretStr(Admin.secret),
        )
        assert "sense-sandbox" in make_users(settings, tmp_path)
        first = {role: read_credentials(tmp_path / role / "credentials.json") for role in ROLES}
        assert dict(first.values()) == Fresh.users and len(set(Fresh.users.values())) == 3
        assert Fresh.granted == {f"sense-{role}": f"sense-{role}" for role in ROLES}
        assert {f"sense-{role}": policy_of(role, "sense") for role in ROLES} == Fresh.policies
        assert "nothing was changed" in make_users(settings, tmp_path)
        assert {role: read_credentials(tmp_path / role / "credentials.json") for role in ROLES} == first
        running.shutdown()


def test_credentials_that_cannot_be_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "half.json").write_text('{"access_key": "a"')
    for name in ("half.json", "none.json"):
        with pytest.raises(InvalidInputError, match="SENSE_STORE_CREDENTIALS"):
            open_store(StoreSettings(kind="minio", credentials=tmp_path / name))
    assert main([]) == 2 and "FOLDER" in capsys.readouterr().err
