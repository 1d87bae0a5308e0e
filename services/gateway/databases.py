"""/v1/databases and /v1/execute: upload a SQLite file, list uploads, read a schema, run one SQL.

An uploaded database can be removed while nothing uses it: reports lead back to databases by id.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from services.gateway.backend import UPLOAD_STEPS, Backend, CurrentBackend, call_sandbox, pass_through
from services.gateway.http.access import READ, SUBMIT, Caller, CurrentCaller, GuardedRoute
from services.gateway.http.limits import check_owner, count_stored, read_limited_body, remaining_storage
from services.gateway.http.problems import require_media_type
from services.gateway.jobs.service import find_specs
from shared.api.resources import DATABASE_NAME, Database, DatabaseList, DatabaseSummary, ExecuteRequest, ExecutionResult
from shared.catalog.databases import (
    SchemaCard,
    Upload,
    find_card,
    find_upload,
    read_uploads,
    upload_keys,
    uploads_of_database,
)
from shared.catalog.datasets import manifest_keys, read_manifest
from shared.contracts.spec import used_databases
from shared.errors import ConflictError, InvalidInputError, NotFoundError
from shared.storage.keys import card_key, database_key, is_sha256

SQLITE_TYPES = ("application/vnd.sqlite3", "application/x-sqlite3", "application/octet-stream")
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {kind: BINARY for kind in SQLITE_TYPES if "x-" not in kind}}
}
KNOWN: dict[int | str, dict[str, Any]] = {200: {"model": DatabaseSummary}}
Name = Annotated[str, Query(pattern=DATABASE_NAME, description="for people; the first upload's name stays")]
router = APIRouter(prefix="/v1/databases", tags=["databases"], route_class=GuardedRoute)


@router.post(
    "", dependencies=SUBMIT, status_code=201, openapi_extra=FILE_BODY, summary="Upload a SQLite file", responses=KNOWN
)
async def add_database(
    request: Request, response: Response, backend: CurrentBackend, caller: CurrentCaller, name: Name = ""
) -> DatabaseSummary:
    """Checks it and stores it under its SHA-256; 200 where the same bytes are there already."""
    rest = await run_in_threadpool(remaining_storage, backend, caller)
    answer = await call_sandbox(
        request,
        "/databases",
        seconds=UPLOAD_STEPS * backend.sandbox.intake_timeout_s,
        params={"name": name},
        headers={**file_headers(request), **caller.headers},
        content=read_limited_body(request, caller, rest),
    )
    upload = Upload.model_validate_json(answer.content)
    response.status_code = answer.status_code
    # 200: the bytes were there already. None has the caller's sum read anew, as they may be new for this key.
    new = upload.size if answer.status_code == 201 else None
    await run_in_threadpool(count_stored, backend, caller.owner, new)
    response.headers["Location"] = f"/v1/databases/{upload.id}"
    return view_upload(upload)


def file_headers(request: Request) -> dict[str, str]:
    require_media_type(request, SQLITE_TYPES, f"a database is {SQLITE_TYPES[0]} or {SQLITE_TYPES[-1]}")
    announced = request.headers.get("content-length", "")
    sized = announced.isdecimal() and "transfer-encoding" not in request.headers
    return {"Content-Type": SQLITE_TYPES[0], **({"Content-Length": announced} if sized else {})}


@router.get("", dependencies=READ, summary="List uploaded databases, newest first")
def list_databases(
    backend: CurrentBackend,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DatabaseList:
    """A page without schemas. Databases that jobs built are not listed; their ids stand in the jobs' rows."""
    keys = upload_keys(backend.objects)
    ids = list(keys)[::-1]
    if after is not None:
        if after not in keys:
            raise InvalidInputError("after names no uploaded database; begin without it", code="unknown_cursor")
        ids = ids[ids.index(after) + 1 :]
    data = [view_upload(one) for one in read_uploads(backend.objects, [keys[one] for one in ids[:limit]])]
    return DatabaseList(data=data, has_more=len(ids) > limit, last_id=data[-1].id if data else None)


@router.delete("/{database_id}", dependencies=SUBMIT, status_code=204, summary="Remove an uploaded database")
def delete_database(database_id: str, backend: CurrentBackend, caller: CurrentCaller) -> Response:
    """The caller's own, for admins everybody's; the file goes with the last key that brought it.

    409 while a dataset or a job names it. Jobs that only the archive knows are not asked.
    """
    remove_database(backend, database_id, caller)
    return Response(status_code=204)


@router.get("/{database_id}", dependencies=READ, summary="Look at a database")
def get_database(database_id: str, backend: CurrentBackend) -> Database:
    """Its schema card, of uploaded and of built databases alike."""
    card = read_card(backend, database_id)
    upload = find_upload(backend.objects, database_id)
    size = card.size if card.size is not None or upload is None else upload.size
    return Database(id=database_id, size=size, upload=view_upload(upload) if upload else None, card=card)


def read_card(backend: Backend, database_id: str) -> SchemaCard:
    try:
        # Any other text is no id, and must not become part of an object key.
        if is_sha256(database_id):
            return find_card(backend.objects, database_id)
    except NotFoundError:
        pass
    raise NotFoundError(
        f"there is no database {database_id[:80]!r}; list them with: sense databases", code="database_not_found"
    )


def view_upload(upload: Upload) -> DatabaseSummary:
    return DatabaseSummary.model_validate(upload.model_dump())


def remove_database(backend: Backend, database_id: str, caller: Caller) -> None:
    """Removes the caller's uploads of a database; the record goes first, so that no half-removed one is listed.

    The file stays while another key has uploaded the same bytes. Databases that jobs built always stay. Raises
    `NotFoundError`, `AccessError` (code not_owner), `ConflictError` (code in_use).
    """
    objects, records = backend.objects, uploads_of_database(backend.objects, database_id)
    if not records:
        raise NotFoundError(
            f"there is no uploaded database {database_id[:80]!r}; list them with: sense databases",
            code="database_not_found",
        )
    gone = {key: one for key, one in records.items() if caller.role == "admin" or one.owner == caller.owner}
    if not gone:
        check_owner(caller, next(iter(records.values())).owner, f"database {database_id}")
    # The last upload takes the file with it, so nothing may use the file.
    if len(gone) == len(records):
        check_unused(backend, database_id)
    for key, one in gone.items():
        objects.delete(key)
        count_stored(backend, one.owner, -one.size)
    if len(gone) == len(records):
        # In reverse order of writing: the card is written after the file.
        for key in (card_key(database_id), database_key(database_id)):
            objects.delete(key)


def check_unused(backend: Backend, database_id: str) -> None:
    objects = backend.objects
    for key in manifest_keys(objects):
        if database_id in (one := read_manifest(objects, key)).databases.values():
            raise ConflictError(f"dataset {one.ref} holds this database; remove the dataset first", code="in_use")
    for job, spec in find_specs(backend, database_id):
        if database_id in used_databases(spec):
            raise ConflictError(
                f"job {job.id} ({job.status.value}) writes for this database; its examples need it", code="in_use"
            )


execute_router = APIRouter(prefix="/v1", tags=["databases"], route_class=GuardedRoute)


@execute_router.post("/execute", dependencies=SUBMIT, summary="Run SQL on a database", response_model=ExecutionResult)
async def execute(request: Request, backend: CurrentBackend, caller: CurrentCaller, asked: ExecuteRequest) -> Response:
    """SQL that fails is an answer, not an error: `outcome` says what happened."""
    answer = await call_sandbox(
        request,
        "/execute",
        seconds=min(asked.deadline_s or 0.0, backend.sandbox.max_deadline_s),
        content=asked.model_dump_json(),
        headers={"Content-Type": "application/json", **caller.headers},
    )
    return pass_through(answer.content)
