"""/v1/datasets: upload, list, read and remove datasets, and browse their examples."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from services.gateway.backend import Backend, CurrentBackend
from services.gateway.datasets.service import open_upload, remove_dataset
from services.gateway.http.access import READ, SUBMIT, CurrentCaller, GuardedRoute
from services.gateway.http.limits import count_stored, read_limited_body, remaining_storage
from services.gateway.http.problems import require_media_type
from shared.api.resources import Dataset, DatasetExample, DatasetList, DatasetSummary, DatasetVersion, ExampleList
from shared.catalog.datasets import dataset_versions, find_dataset, newest_datasets, read_examples
from shared.contracts.datasets import DatasetManifest, DatasetSplit
from shared.contracts.records import Example
from shared.errors import InvalidInputError, NotFoundError
from shared.http.slots import Slots

LINES_TYPES = ("application/x-ndjson", "application/jsonl", "application/octet-stream")
LINES_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON lines: a head (DatasetHeader), then one example a line",
        "content": {LINES_TYPES[0]: {"schema": {"type": "string", "format": "binary"}}},
    }
}
KNOWN: dict[int | str, dict[str, Any]] = {200: {"model": Dataset}}
Version = Annotated[str | None, Query(pattern=r"^[0-9a-f]{16}$", description="default: the newest")]
router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=GuardedRoute)


@router.post(
    "", dependencies=SUBMIT, status_code=201, openapi_extra=LINES_BODY, summary="Bring a dataset", responses=KNOWN
)
async def add_dataset(request: Request, response: Response, backend: CurrentBackend, caller: CurrentCaller) -> Dataset:
    """Checks line by line and stores under name and content; 200 where this version is there already."""
    require_media_type(request, LINES_TYPES, f"a dataset is {LINES_TYPES[0]}")
    rest = await run_in_threadpool(remaining_storage, backend, caller)
    slots: Slots = request.app.state.dataset_slots
    async with slots.taken(caller.id):
        with open_upload(backend.objects, caller.owner) as intake:
            async for data in read_limited_body(request, caller, rest):
                await run_in_threadpool(intake.add, data)
            manifest, new = await run_in_threadpool(intake.close)
    if new:
        await run_in_threadpool(count_stored, backend, caller.owner, manifest.examples.size)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/datasets/{manifest.name}"
    return await run_in_threadpool(view_dataset, backend, manifest)


@router.get("", dependencies=READ, summary="List datasets, newest first")
def list_datasets(
    backend: CurrentBackend,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DatasetList:
    """A page of the newest versions; `last_id` is a name."""
    found = newest_datasets(backend.objects)
    if after is not None:
        names = [one.name for one in found]
        if after not in names:
            raise InvalidInputError("after names no dataset; begin without it", code="unknown_cursor")
        found = found[names.index(after) + 1 :]
    data = [view_summary(one) for one in found[:limit]]
    return DatasetList(data=data, has_more=len(found) > limit, last_id=data[-1].name if data else None)


@router.get("/{name}", dependencies=READ, summary="Look at a dataset")
def get_dataset(name: str, backend: CurrentBackend, version: Version = None) -> Dataset:
    """Its manifest with the health of its golds, and the versions there are."""
    return view_dataset(backend, find_manifest(backend, name, version))


@router.delete("/{name}", dependencies=SUBMIT, status_code=204, summary="Remove a dataset")
def delete_dataset(name: str, backend: CurrentBackend, caller: CurrentCaller, version: Version = None) -> Response:
    """All its versions, or one: the caller's own, for admins everybody's. Its databases stay.

    409 while an unfinished job reads it.
    """
    find_manifest(backend, name, version)
    remove_dataset(backend, name, version, caller)
    return Response(status_code=204)


@router.get("/{name}/examples", dependencies=READ, summary="Browse the examples of a dataset")
def list_examples(
    name: str,
    backend: CurrentBackend,
    version: Version = None,
    split: DatasetSplit | None = None,
    hardness: Annotated[str | None, Query(max_length=40)] = None,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ExampleList:
    """Examples in the dataset's order."""
    manifest = find_manifest(backend, name, version)
    rows = examples_after(read_examples(backend.objects, manifest), after)
    wanted = (
        row
        for row in rows
        if (split is None or row.split == split) and (hardness is None or (row.hardness or "not stated") == hardness)
    )
    page = list(islice(wanted, limit + 1))
    data = [DatasetExample.model_validate(row.model_dump()) for row in page[:limit]]
    return ExampleList(
        data=data,
        has_more=len(page) > limit,
        last_id=data[-1].example_id if data else None,
        dataset=manifest.ref,
    )


def examples_after(rows: Iterator[Example], after: str | None) -> Iterator[Example]:
    # `any` stops at the example, so `rows` goes on right after it.
    if after is not None and not any(row.example_id == after for row in rows):
        raise InvalidInputError("after names no example of this dataset; begin without it", code="unknown_cursor")
    return rows


def find_manifest(backend: Backend, name: str, version: str | None) -> DatasetManifest:
    """Raises `NotFoundError` (code dataset_not_found), also for names that no dataset can have."""
    try:
        return find_dataset(backend.objects, f"{name}@{version}" if version else name)
    except InvalidInputError as error:
        raise NotFoundError(
            f"there is no dataset {name[:80]!r}; list them with: sense datasets", code="dataset_not_found"
        ) from error


def view_summary(manifest: DatasetManifest) -> DatasetSummary:
    return DatasetSummary.model_validate(summary_fields(manifest))


def view_dataset(backend: Backend, manifest: DatasetManifest) -> Dataset:
    known = [
        DatasetVersion(version=one.version, created_at=one.created_at, questions=one.questions)
        for one in dataset_versions(backend.objects, manifest.name)
    ]
    return Dataset.model_validate(
        {**manifest.model_dump(), **summary_fields(manifest), "database_ids": manifest.databases, "versions": known}
    )


def summary_fields(manifest: DatasetManifest) -> dict[str, Any]:
    return {
        **manifest.model_dump(exclude={"examples", "health"}),
        "databases": len(manifest.databases),
        "ceiling": round(manifest.health.ceiling, 6) if manifest.health else None,
    }
