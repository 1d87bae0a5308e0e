"""The typed Python client of the REST API: `SenseClient`."""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from shared.api.resources import (
    TERMINAL_EVENTS,
    Adapter,
    AdapterList,
    Artifact,
    ArtifactList,
    CreatedKey,
    Database,
    DatabaseList,
    DatabaseSummary,
    Dataset,
    DatasetExample,
    DatasetList,
    DatasetSummary,
    EventList,
    ExampleList,
    ExecutionResult,
    Fault,
    Job,
    JobEvent,
    JobList,
    JobSummary,
    KeyChange,
    KeyLimits,
    KeyList,
    KeyRequest,
    KeyRole,
    KeySummary,
    ModelList,
    Problem,
)
from shared.api.sql import SqlAnswer, SqlRequest
from shared.contracts.datasets import DatasetHeader
from shared.contracts.records import Example
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.files import iter_lines, read_chunks, write_atomically


class GatewayUnreachableError(UnavailableError):
    """No gateway answers at the address."""

    code = "gateway_unreachable"

    def __init__(self, url: str) -> None:
        super().__init__(f"no gateway answers at {url}; start the stack with: sense up")


class RejectedError(InvalidInputError):
    """The request cannot be used: `faults` holds every fault with its path."""

    def __init__(self, message: str, *, code: str, faults: list[Fault]) -> None:
        super().__init__(message, code=code)
        self.faults = faults


def read_error(answer: httpx.Response) -> SenseError:
    try:
        found = Problem.model_validate_json(answer.content)
    except ValidationError:
        return UnavailableError(
            f"{answer.url} answered {answer.status_code} and is no Sense gateway; check the URL", code="not_a_gateway"
        )
    match found.status:
        case 404:
            return NotFoundError(found.detail, code=found.code)
        case 409:
            return ConflictError(found.detail, code=found.code)
        # Temporary conditions: the caller may try again.
        case 429 | 502 | 503 | 504:
            return UnavailableError(found.detail, code=found.code)
        case status if status < 500:
            return RejectedError(found.detail, code=found.code, faults=found.errors)
    return SenseError(found.detail, code=found.code)


def read_events(lines: Iterable[str]) -> Iterator[JobEvent]:
    """Skips comments, `retry`, and an event that is cut off at the end."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield JobEvent.model_validate_json("\n".join(data))
            data = []


def save_artifact(answer: httpx.Response, path: Path) -> Path:
    """Writes the body of an open response; `path` may be a folder, which takes the server's file name.

    Raises `UnavailableError` if the bytes are not those that the server announced, or cannot be written.
    """
    if path.is_dir():
        path = path / served_file_name(answer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, verify_sha256(answer))
    return path


def served_file_name(answer: httpx.Response) -> str:
    _, _, quoted = answer.headers.get("content-disposition", "").partition('filename="')
    return Path(quoted.partition('"')[0]).name or "artifact"


def verify_sha256(answer: httpx.Response) -> Iterator[bytes]:
    """Yields the chunks. Raises `UnavailableError` at the end if their SHA-256 is not the `ETag`."""
    digest = hashlib.sha256()
    for chunk in answer.iter_bytes():
        digest.update(chunk)
        yield chunk
    expected = answer.headers.get("etag", "").strip('"')
    if expected and digest.hexdigest() != expected:
        raise UnavailableError(f"{answer.url} arrived damaged (its SHA-256 differs); fetch it again")


def batched_bytes(parts: Iterable[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    held: list[bytes] = []
    amount = 0
    for part in parts:
        held.append(part)
        amount += len(part)
        if amount >= size:
            yield b"".join(held)
            held, amount = [], 0
    if held:
        yield b"".join(held)


DEFAULT_URL = "http://127.0.0.1:8100"
# The largest pages that the gateway serves.
PAGE_SIZE = 100
EVENT_PAGE_SIZE = 500
RECONNECT_S = 0.5
# How long `events(follow=True)` waits for a gateway that has answered before.
RECONNECT_FOR_S = 30.0
UPLOAD_S = 600.0
JSON_TYPE = {"Content-Type": "application/json"}
Model = TypeVar("Model", bound=BaseModel)


class SenseClient:
    """Every call raises a `SenseError` with the gateway's code and message, or `GatewayUnreachableError`.

    A context manager. A proxy of the environment is not used for this machine's own addresses. `timeout_s` bounds
    a silent connection; a chat response may take ten minutes.
    """

    def __init__(self, base_url: str = DEFAULT_URL, *, api_key: str | None = None, timeout_s: float = 30.0) -> None:
        self.base_url = base_url.rstrip("/")
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        self._http = httpx.Client(
            base_url=self.base_url,
            timeout=timeout,
            trust_env=not is_local(self.base_url),
            headers=key_header(api_key),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # jobs

    def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Job:
        """Raises `RejectedError` with every fault of the spec."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._read(Job, "POST", "/v1/jobs", json=dict(spec), headers=headers)

    def jobs(
        self,
        *,
        kind: str | None = None,
        status: str | None = None,
        owner: str | None = None,
        limit: int | None = None,
    ) -> Iterator[JobSummary]:
        return self._pages(JobList, "/v1/jobs", limit, kind=kind, status=status, owner=owner)

    def job(self, job_id: str) -> Job:
        return self._read(Job, "GET", job_path(job_id))

    def cancel(self, job_id: str) -> Job:
        """The job, which is cancelling or had ended before."""
        return self._read(Job, "POST", job_path(job_id, "cancel"))

    def retry(self, job_id: str) -> Job:
        """Raises `ConflictError` for a job that is neither failed nor cancelled."""
        return self._read(Job, "POST", job_path(job_id, "retry"))

    # events

    def events(self, job_id: str, *, after: str = "0", follow: bool = False) -> Iterator[JobEvent]:
        """Events after that id, oldest first. With `follow` until the job ends, across lost connections."""
        if follow:
            return self._follow(job_id, after)
        return self._pages(EventList, job_path(job_id, "events"), None, after=after, size=EVENT_PAGE_SIZE)

    def _follow(self, job_id: str, after: str) -> Iterator[JobEvent]:
        """Waits half a minute for a gateway that has answered before."""
        # A gateway that has never answered is not waited for.
        last_name, heard = "", -math.inf
        while True:
            arrived = False
            try:
                for event in self._stream(job_id, after):
                    arrived, after, last_name, heard = True, event.id, event.name, time.monotonic()
                    yield event
                # The job may have ended after the stream broke off: its last events are still to be read.
                if self.job(job_id).terminal and (last_name in TERMINAL_EVENTS or not arrived):
                    return
                heard = time.monotonic()
            except UnavailableError:
                if time.monotonic() - heard > RECONNECT_FOR_S:
                    raise
            time.sleep(RECONNECT_S)

    def _stream(self, job_id: str, after: str) -> Iterator[JobEvent]:
        """Events of one connection; a lost connection ends them without an error."""
        headers = {"Last-Event-ID": after, "Accept": "text/event-stream"}
        with self._open("GET", job_path(job_id, "events", "stream"), headers=headers) as answer:
            try:
                yield from read_events(iter_lines(answer.iter_bytes()))
            except httpx.HTTPError:
                return

    # artifacts

    def artifacts(self, job_id: str) -> list[Artifact]:
        return self._read(ArtifactList, "GET", job_path(job_id, "artifacts")).data

    def download(self, job_id: str, name: str, path: Path) -> Path:
        """The path of the file; `path` may be a folder. Raises as `save_artifact`."""
        with self._open("GET", job_path(job_id, "artifacts", name)) as answer:
            return save_artifact(answer, path)

    # databases

    def execute(
        self, database_id: str, sql: str, *, deadline_s: float | None = None, max_rows: int | None = None
    ) -> ExecutionResult:
        """SQL that fails raises nothing: its result has another `outcome` than `ok`."""
        body = {"database_id": database_id, "sql": sql, "deadline_s": deadline_s, "max_rows": max_rows}
        return self._read(
            ExecutionResult,
            "POST",
            "/v1/execute",
            content=as_json(body),
            headers=JSON_TYPE,
            timeout=call_timeout(deadline_s or 0.0),
        )

    def upload_database(self, path: Path, name: str | None = None) -> DatabaseSummary:
        """Stores a SQLite file, by default under the file's name; the same bytes give the same id.

        Raises `RejectedError` for a file that cannot be a database, `NotFoundError` if there is no such file.
        """
        params = {"name": path.stem[:100] if name is None else name}
        return self._read(
            DatabaseSummary,
            "POST",
            "/v1/databases",
            params=params,
            content=read_chunks(path),
            headers={"Content-Type": "application/vnd.sqlite3"},
            timeout=httpx.Timeout(UPLOAD_S, connect=5.0),
        )

    def databases(self, *, limit: int | None = None) -> Iterator[DatabaseSummary]:
        return self._pages(DatabaseList, "/v1/databases", limit)

    def database(self, database_id: str) -> Database:
        return self._read(Database, "GET", f"/v1/databases/{quote(database_id, safe='')}")

    # datasets

    def add_dataset(self, head: DatasetHeader, examples: Iterable[Example]) -> Dataset:
        """Stores a dataset whose databases are uploaded already; equal content gives the version that exists.

        Raises `RejectedError` with faults by line, the header being line 1.
        """
        lines = (row.model_dump_json().encode() + b"\n" for row in chain([head], examples))
        return self._read(
            Dataset,
            "POST",
            "/v1/datasets",
            content=batched_bytes(lines),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=httpx.Timeout(UPLOAD_S, connect=5.0),
        )

    def datasets(self, *, limit: int | None = None) -> Iterator[DatasetSummary]:
        return self._pages(DatasetList, "/v1/datasets", limit)

    def dataset(self, name: str, *, version: str | None = None) -> Dataset:
        """The newest version by default. Raises `NotFoundError`."""
        asked = {"version": version} if version else {}
        return self._read(Dataset, "GET", f"/v1/datasets/{quote(name, safe='')}", params=asked)

    def dataset_examples(
        self,
        name: str,
        *,
        version: str | None = None,
        split: str | None = None,
        hardness: str | None = None,
        limit: int | None = None,
    ) -> Iterator[DatasetExample]:
        path = f"/v1/datasets/{quote(name, safe='')}/examples"
        return self._pages(ExampleList, path, limit, version=version, split=split, hardness=hardness)

    def remove_database(self, database_id: str) -> None:
        """Raises `NotFoundError`, and `ConflictError` (code in_use) while a dataset or a job names it."""
        self._send("DELETE", f"/v1/databases/{quote(database_id, safe='')}")

    def remove_dataset(self, name: str, *, version: str | None = None) -> None:
        """Removes all versions, or one. Raises `NotFoundError`, `ConflictError` while an unfinished job reads it."""
        self._send("DELETE", f"/v1/datasets/{quote(name, safe='')}", params={"version": version} if version else {})

    # keys

    def add_key(
        self,
        name: str,
        *,
        role: KeyRole = "submit",
        per_minute: int | None = None,
        limits: KeyLimits | None = None,
    ) -> CreatedKey:
        """The key's text is in this response only. Raises `ConflictError` if the name is taken."""
        asked = KeyRequest(name=name, role=role, per_minute=per_minute, limits=limits or KeyLimits())
        return self._read(CreatedKey, "POST", "/v1/keys", content=asked.model_dump_json(), headers=JSON_TYPE)

    def keys(self) -> list[KeySummary]:
        return self._read(KeyList, "GET", "/v1/keys").data

    def change_key(self, name: str, change: KeyChange) -> KeySummary:
        """Fields that `change` does not set stay. Raises `NotFoundError`."""
        body = change.model_dump_json(exclude_unset=True)
        return self._read(KeySummary, "PATCH", f"/v1/keys/{quote(name, safe='')}", content=body, headers=JSON_TYPE)

    def remove_key(self, name: str) -> None:
        """Raises `NotFoundError`, and `ConflictError` for the last admin's key."""
        self._send("DELETE", f"/v1/keys/{quote(name, safe='')}")

    # models

    def adapters(self, *, limit: int | None = None) -> Iterator[Adapter]:
        return self._pages(AdapterList, "/v1/adapters", limit)

    def adapter(self, name: str) -> Adapter:
        return self._read(Adapter, "GET", f"/v1/adapters/{quote(name, safe='')}")

    def undeploy(self, name: str) -> Job:
        return self._read(Job, "POST", f"/v1/adapters/{quote(name, safe='')}/undeploy")

    def deploy(self, name: str) -> Job:
        """The deployment job. The model answers under its name once the job has succeeded."""
        return self._read(Job, "POST", f"/v1/adapters/{quote(name, safe='')}/deploy")

    def models(self) -> list[str]:
        return [model.id for model in self._read(ModelList, "GET", "/v1/models").data]

    def chat(self, model: str, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The text of the answer; `options` as in OpenAI's chat completions."""
        body = {"model": model, "messages": [dict(message) for message in messages], **options}
        answer = self._send("POST", "/v1/chat/completions", json=body, timeout=httpx.Timeout(600.0, connect=5.0))
        try:
            return str(answer.json()["choices"][0]["message"]["content"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UnavailableError(
                f"the model {model} gave no answer that can be read; see the engine's log"
            ) from error

    def ask(self, asked: SqlRequest) -> SqlAnswer:
        body = asked.model_dump_json(exclude_none=True)
        return self._read(
            SqlAnswer, "POST", "/v1/sql", content=body, headers=JSON_TYPE, timeout=httpx.Timeout(UPLOAD_S, connect=5.0)
        )

    # transport

    def _pages(
        self,
        model: type[BaseModel],
        path: str,
        limit: int | None,
        *,
        after: str | None = None,
        size: int | None = None,
        **query: str | None,
    ) -> Iterator[Any]:
        left, size = limit, size or PAGE_SIZE
        while left is None or left > 0:
            asked = {**query, "after": after, "limit": min(left or size, size)}
            page: Any = self._read(model, "GET", path, params={k: v for k, v in asked.items() if v is not None})
            yield from page.data
            if not page.has_more:
                return
            after, left = page.last_id, None if left is None else left - len(page.data)

    def _read(self, model: type[Model], method: str, path: str, **options: Any) -> Model:
        answer = self._send(method, path, **options)
        try:
            return model.model_validate_json(answer.content)
        except ValidationError as error:
            message = f"{self.base_url} does not answer as a Sense gateway of this version; check the URL"
            raise UnavailableError(message, code="not_a_gateway") from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._lost(error) from error
        if answer.is_error:
            raise read_error(answer)
        return answer

    @contextmanager
    def _open(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **options) as answer:
                if answer.is_error:
                    # A streamed response has no body yet, and `read_error` needs it.
                    answer.read()
                    raise read_error(answer)
                yield answer
        except httpx.HTTPError as error:
            raise self._lost(error) from error

    def _lost(self, error: httpx.HTTPError) -> UnavailableError:
        if isinstance(error, httpx.ReadTimeout):
            return UnavailableError(f"{self.base_url} took too long to answer; see: sense status", code="timeout")
        return GatewayUnreachableError(self.base_url)


def key_header(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise InvalidInputError("the API key holds characters that no key has; copy it again")
    return {"Authorization": f"Bearer {api_key}"}


def is_local(url: str) -> bool:
    try:
        host, scheme = httpx.URL(url).host, httpx.URL(url).scheme
    except httpx.InvalidURL as error:
        raise InvalidInputError(f"{url!r} is no address ({error}); write it as {DEFAULT_URL}") from error
    if not host or scheme not in ("http", "https"):
        raise InvalidInputError(f"{url!r} is no address; write it as {DEFAULT_URL}")
    return host in ("localhost", "127.0.0.1", "::1")


def call_timeout(seconds: float) -> httpx.Timeout:
    sane = seconds if 0 < seconds < UPLOAD_S else 0.0  # NaN too: the gateway says what is wrong with it
    return httpx.Timeout(sane + RECONNECT_FOR_S, connect=5.0)


def as_json(value: Mapping[str, Any]) -> bytes:
    """Lets NaN through, which is not JSON, so that the gateway refuses it with its own message."""
    return json.dumps(value).encode()


def job_path(*parts: str) -> str:
    """Quotes ids and names, but keeps slashes in the names of artifacts."""
    return "/v1/jobs/" + "/".join(quote(part, safe="/" if place == 2 else "") for place, part in enumerate(parts))
