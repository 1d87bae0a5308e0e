"""/v1/adapters: trained models with their lineage; deploying one and taking it off the engine are jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway.access import READ, SUBMIT, AskedBy, Caller, GuardedRoute
from services.gateway.backend import Backend
from services.gateway.jobs_reader import JobReader
from services.gateway.jobs_routes import Back, record_job
from services.gateway.problems import request_id
from shared.client.models import Adapter, AdapterList, Job, Lineage
from shared.contracts.spec import parse_spec
from shared.errors import InvalidInputError, NotFoundError
from shared.models.manifest import ModelManifest, read_manifest
from shared.storage.keys import MODELS_PREFIX, check_part

router = APIRouter(prefix="/v1/adapters", tags=["models"], route_class=GuardedRoute)
MANIFEST = "/manifest.json"


@router.get("", dependencies=READ, summary="List trained models by name")
def list_adapters(
    backend: Back,
    after: Annotated[str | None, Query(description="the `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> AdapterList:
    """Adapters and full models that are finished; `last_id` is a name."""
    names = sorted(
        key.removeprefix(MODELS_PREFIX).removesuffix(MANIFEST)
        for key in backend.objects.list(MODELS_PREFIX)
        if key.endswith(MANIFEST) and key.count("/") == 2
    )
    if after is not None:
        if after not in names:
            raise InvalidInputError("after names no model; begin without it", code="unknown_cursor")
        names = names[names.index(after) + 1 :]
    data = [view(read_manifest(backend.objects, name)) for name in names[:limit]]
    return AdapterList(data=data, has_more=len(names) > limit, last_id=data[-1].id if data else None)


@router.get("/{name}", dependencies=READ, summary="Look at a trained model")
def get_adapter(name: str, backend: Back) -> Adapter:
    """Base, parents up to the base, the job and the data that made it, and what its training told."""
    return view(find(backend, name), parents=lineage(backend, name))


@router.post("/{name}/deploy", dependencies=SUBMIT, status_code=202, summary="Serve a trained model")
def deploy_adapter(name: str, request: Request, response: Response, backend: Back, caller: AskedBy) -> Job:
    """A deployment job; the model answers under its own name when the job has succeeded."""
    return submit(find(backend, name), request, response, backend, caller, serve=True)


@router.post("/{name}/undeploy", dependencies=SUBMIT, status_code=202, summary="Stop serving a trained model")
def undeploy_adapter(name: str, request: Request, response: Response, backend: Back, caller: AskedBy) -> Job:
    """A job that has the engine forget it, after those that use the engine; the model stays in the store."""
    return submit(find(backend, name), request, response, backend, caller, serve=False)


def submit(
    manifest: ModelManifest, request: Request, response: Response, backend: Backend, caller: Caller, *, serve: bool
) -> Job:
    """The job of kind deployment for a model."""
    name, student = manifest.name, {"base": manifest.base}
    spec = parse_spec({"kind": "deployment", "name": name, "model": name, "student": student, "serve": serve})
    job_id, _ = record_job(backend, caller, spec, request_id(request) or "", "")
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobReader(backend, job_id).view()


def find(backend: Backend, name: str) -> ModelManifest:
    """Raises `NotFoundError` (code model_not_found), for names that cannot be one too."""
    try:
        check_part(name, name)
        return read_manifest(backend.objects, name)
    except (NotFoundError, InvalidInputError) as error:
        message = f"there is no trained model {name[:80]!r}; list them with: sense models"
        raise NotFoundError(message, code="model_not_found") from error


def lineage(backend: Backend, name: str) -> list[Lineage]:
    """The model, its parent, the parent's parent; a parent that is gone ends the list."""
    found: list[Lineage] = []
    at: str | None = name
    while at is not None and len(found) < 64 and at not in {one.name for one in found}:
        try:
            one = read_manifest(backend.objects, at)
        except NotFoundError:
            break
        found.append(Lineage(name=one.name, method=one.method, job_id=one.job_id, stage=one.stage, data=one.data.key))
        at = one.parent
    return found


def view(manifest: ModelManifest, parents: list[Lineage] | None = None) -> Adapter:
    """A manifest as the API shows it."""
    weights = sum(ref.size for file, ref in manifest.files.items() if file.endswith(".safetensors"))
    return Adapter(
        id=manifest.name,
        base=manifest.base,
        parent=manifest.parent,
        method=manifest.method,
        mode=manifest.mode,
        job_id=manifest.job_id,
        stage=manifest.stage,
        data_key=manifest.data.key,
        data_sha256=manifest.data.sha256,
        code_version=manifest.code_version,
        prompt_version=manifest.prompt_version,
        weight_bytes=weights,
        facts=manifest.facts,
        lineage=parents or [],
    )
