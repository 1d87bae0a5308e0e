"""Submits a job: reads its spec, checks what only the server knows, and records it within the caller's limits.

Whatever can be known is checked here: a job that fails later has been paid for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from services.gateway.backend import Backend, get_backend
from services.gateway.http.access import Caller
from services.gateway.http.limits import check_job_limits
from services.gateway.http.problems import JSON, BodyTooLargeError, require_media_type
from shared.catalog.datasets import choose_split, find_dataset
from shared.contracts.spec import BUILTIN_BASE, BUILTIN_TESTS, AnySpec, SpecError, parse_spec
from shared.errors import ConflictError, InvalidInputError, LimitError, NotFoundError
from shared.jobs.reading import JOB_ID, read_archived_job
from shared.jobs.state import JobRecord
from shared.llm.endpoints import EndpointProfile
from shared.models.manifest import ModelManifest, read_manifest
from shared.parsing import read_json, read_yaml
from shared.storage.keys import card_key, check_part, is_sha256
from shared.storage.store import ObjectStore

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
ENDPOINT_SECTIONS = ("strong", "weak")
MAX_LOOKUPS = 100  # entries of a list that are looked up; a longer list is refused anyway
SOURCE_KINDS = {"sft": ("synthesis", "pairing", "pipeline"), "dpo": ("pairing", "pipeline")}
Fault = dict[str, str]


def validate_spec(backend: Backend, data: object) -> AnySpec:
    """Raises `SpecError` with all faults at once: those of the spec's form and of what it names."""
    faults: list[Fault] = []
    spec: AnySpec | None = None
    more = 0
    try:
        spec = parse_spec(data)
    except SpecError as error:
        faults, more = list(error.faults), error.more
    # Names are looked up even if the form is wrong, so that one response lists every fault.
    if isinstance(data, dict):
        known = {fault["path"] for fault in faults}
        named = [
            *endpoint_faults(data, backend.endpoints),
            *source_job_faults(data, backend),
            *dataset_faults(data, backend.objects),
            *database_faults(data, backend.objects),
            *model_faults(data, backend.objects),
        ]
        # One fault a path is enough: a wrong form explains the failed look-up too.
        faults += [fault for fault in named if fault["path"] not in known]
    if spec is None or faults:
        raise SpecError(faults, more)
    return spec


def endpoint_faults(data: Mapping[str, Any], profiles: Mapping[str, EndpointProfile]) -> Iterator[Fault]:
    known = ", ".join(sorted(profiles)) or "none"
    for section, part in endpoint_sections(data):
        name, model = part.get("endpoint"), part.get("model")
        if not isinstance(name, str):
            continue
        profile = profiles.get(name)
        if profile is None:
            yield {
                "path": f"{section}.endpoint",
                "message": f"endpoint {name!r} is not set on this server (configured: {known})",
            }
        elif profile.models is not None and isinstance(model, str) and model not in profile.models:
            allowed = ", ".join(profile.models) or "none"
            yield {"path": f"{section}.model", "message": f"endpoint {name} does not allow {model!r} ({allowed})"}


def endpoint_sections(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    models = data.get("models")
    listed = [(f"models.{n}", one) for n, one in enumerate(models[:MAX_LOOKUPS])] if isinstance(models, list) else []
    for section, part in [*((section, data.get(section)) for section in ENDPOINT_SECTIONS), *listed]:
        if isinstance(part, dict):
            yield section, part


def dataset_faults(data: Mapping[str, Any], objects: ObjectStore) -> Iterator[Fault]:
    """Datasets, versions and splits that do not exist. Versions are pinned later, when the job is compiled."""
    for path, part, order in dataset_sections(data):
        name, split = part.get("dataset"), part.get("split")
        if not isinstance(name, str) or name in BUILTIN_TESTS:
            continue
        try:
            choose_split(find_dataset(objects, name), split if isinstance(split, str) else None, order)
        except NotFoundError as error:
            yield {"path": f"{path}.dataset", "message": error.message}
        except InvalidInputError as error:
            yield {"path": f"{path}.split" if split else f"{path}.dataset", "message": error.message}


def dataset_sections(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    """Sections that may name a dataset: path, section, and its default splits, in order of preference."""
    train = data.get("train")
    lists: list[tuple[str, Any, tuple[str, ...]]] = [("evaluate", data.get("evaluate"), ("dev", "test"))]
    if isinstance(train, dict):
        lists += [(f"train.{name}", train.get(name), ("train",)) for name in ("sft", "pairs")]
    strong = data.get("strong")
    if isinstance(strong, dict) and isinstance(strong.get("seeds"), dict):
        yield "strong.seeds", strong["seeds"], ("train",)
    for path, parts, order in lists:
        for number, part in enumerate(parts[:MAX_LOOKUPS] if isinstance(parts, list) else []):
            if isinstance(part, dict):
                yield f"{path}.{number}", part, order


def database_faults(data: Mapping[str, Any], objects: ObjectStore) -> Iterator[Fault]:
    listed = data.get("databases")
    for number, part in enumerate(listed[:MAX_LOOKUPS] if isinstance(listed, list) else []):
        name = part.get("id") if isinstance(part, dict) else None
        if isinstance(name, str) and is_sha256(name) and not objects.exists(card_key(name)):
            yield {
                "path": f"databases.{number}.id",
                "message": f"there is no database {name}; bring it with: sense databases add FILE.sqlite",
            }


def model_faults(data: Mapping[str, Any], objects: ObjectStore) -> Iterator[Fault]:
    student, weak = (part if isinstance(part := data.get(name), dict) else {} for name in ("student", "weak"))
    for path, section in (("student.base", student), ("weak.base", weak)):
        base = section.get("base")
        if isinstance(base, str) and section.get("endpoint") is None and (reason := base_fault(objects, base)):
            yield {"path": path, "message": reason}
    named: list[tuple[str, object]] = []
    match data.get("kind"):
        case "dpo":
            named = [("parent", data.get("parent"))]
        case "deployment" if data.get("serve", True):
            named = [("model", data.get("model"))]
        case "evaluation" if isinstance(models := data.get("models"), list):
            base = student.get("base")
            served = base_name(base if isinstance(base, str) else BUILTIN_BASE)
            # The base is served too, and has no manifest in the store.
            named = [(f"models.{n}", one) for n, one in enumerate(models[:MAX_LOOKUPS]) if one != served]
    for path, name in named:
        if isinstance(name, str) and find_manifest(objects, name) is None:
            yield {"path": path, "message": f"there is no trained model {name[:80]!r}; list them with: sense models"}


def base_fault(objects: ObjectStore, ref: str) -> str | None:
    """Why a trained model cannot be a base; None for bases that are not in the store."""
    if not ref.startswith("models/"):
        return None
    manifest = find_manifest(objects, ref.removeprefix("models/"))
    if manifest is None:
        return f"there is no trained model {ref[:80]!r}; list them with: sense models"
    if manifest.mode != "full":
        return f"{ref} is an adapter, not a base; name its base, {manifest.base}, instead"
    return None


def find_manifest(objects: ObjectStore, name: str) -> ModelManifest | None:
    """None if there is no such model, or no model can have this name."""
    try:
        check_part(name, name)
        return read_manifest(objects, name)
    except (NotFoundError, InvalidInputError):
        return None


def base_name(base: str) -> str:
    return base.rstrip("/").rsplit("/", 1)[-1].removeprefix("builtin:").lower()


def find_record(backend: Backend, job_id: str) -> JobRecord:
    """Reads Redis, then the archive. Raises `NotFoundError`."""
    try:
        return backend.jobs.job(job_id)
    except NotFoundError:
        return read_archived_job(backend.objects, job_id).job


def source_job_faults(data: Mapping[str, Any], backend: Backend) -> Iterator[Fault]:
    """A training's `data: job:ID` must name a job, archived or not, that succeeded and is of a kind with its data."""
    kinds, source = SOURCE_KINDS.get(str(data.get("kind"))), data.get("data")
    if kinds is None or not isinstance(source, str) or not source.startswith("job:"):
        return
    job_id = source.removeprefix("job:")
    if not JOB_ID.fullmatch(job_id):
        return
    try:
        job = find_record(backend, job_id)
    except NotFoundError:
        yield {"path": "data", "message": f"there is no job {job_id}; list them with: sense jobs"}
        return
    if job.kind not in kinds:
        yield {
            "path": "data",
            "message": f"job {job_id} is of kind {job.kind}; {data['kind']} needs {', '.join(kinds)}",
        }
    elif job.status != "succeeded":
        yield {"path": "data", "message": f"job {job_id} is {job.status.value}; only a succeeded job has all its data"}


async def read_spec_body(request: Request) -> object:
    kind = require_media_type(request, (JSON, *YAML_TYPES), f"a spec is {JSON} or {YAML_TYPES[0]}")
    body, most = await request.body(), get_backend(request).settings.max_spec_bytes
    if len(body) > most:
        raise BodyTooLargeError(f"the spec is above {most} bytes; send less")
    # Parsing a large spec would block the event loop.
    return await run_in_threadpool(read_json if kind == JSON else read_yaml, body)


def record_job(backend: Backend, caller: Caller, spec: AnySpec, request: str, key: str) -> tuple[str, bool]:
    """The job's id, and whether it is new.

    Raises `InvalidInputError` if the idempotency key came with another body before, `LimitError` above the limits.
    """
    try:
        check_job_limits(backend, caller, spec)
    except LimitError:
        # A repeated submission creates no job, so it succeeds even if a limit has been reached since.
        if key and (known := backend.jobs.submitted(spec, key, caller.owner)):
            return known, False
        raise
    try:
        most = caller.limits.jobs if caller.limits else None
        return backend.jobs.submit(spec, request_id=request, idempotency_key=key, owner=caller.owner, most=most)
    except ConflictError as error:
        raise InvalidInputError(error.message, code=error.code) from error
