"""What only the server can say about a spec: which endpoints exist, and which jobs have data to train on."""

from collections.abc import Iterator, Mapping
from typing import Any

from services.gateway.backend import Backend
from services.gateway.listing import JOB_ID
from shared.contracts.spec import AnySpec, SpecError, parse_spec
from shared.errors import NotFoundError
from shared.jobs.store import JobStore
from shared.llm.profiles import EndpointProfile

ASKED = ("strong", "weak")
SOURCES = {"sft": ("synthesis", "pairing", "pipeline"), "dpo": ("pairing", "pipeline")}
Fault = dict[str, str]


def checked_spec(backend: Backend, data: object) -> AnySpec:
    """The typed spec. Raises `SpecError` with the faults of its form and of what it names, all at once."""
    faults: list[Fault] = []
    spec: AnySpec | None = None
    try:
        spec = parse_spec(data)
    except SpecError as error:
        faults = list(error.faults)
    if isinstance(data, dict):
        known = {fault["path"] for fault in faults}
        named = [*endpoint_faults(data, backend.endpoints), *data_faults(data, backend.jobs)]
        faults += [fault for fault in named if fault["path"] not in known]
    if spec is None or faults:
        raise SpecError(faults)
    return spec


def endpoint_faults(data: Mapping[str, Any], profiles: Mapping[str, EndpointProfile]) -> Iterator[Fault]:
    """Endpoints that are not set here, and models that their profiles do not allow."""
    known = ", ".join(sorted(profiles)) or "none"
    for section in ASKED:
        part = data.get(section)
        name = part.get("endpoint") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(name, str):
            continue
        profile, model = profiles.get(name), part.get("model")
        if profile is None:
            yield {
                "path": f"{section}.endpoint",
                "message": f"endpoint {name!r} is not set on this server (configured: {known})",
            }
        elif profile.models is not None and isinstance(model, str) and model not in profile.models:
            allowed = ", ".join(profile.models) or "none"
            yield {"path": f"{section}.model", "message": f"endpoint {name} does not allow {model!r} ({allowed})"}


def data_faults(data: Mapping[str, Any], jobs: JobStore) -> Iterator[Fault]:
    """A training job's `data: job:ID` names a job that has succeeded and wrote what is needed."""
    kinds, source = SOURCES.get(str(data.get("kind"))), data.get("data")
    if kinds is None or not isinstance(source, str) or not source.startswith("job:"):
        return
    job_id = source.removeprefix("job:")
    if not JOB_ID.fullmatch(job_id):
        return
    try:
        job = jobs.job(job_id)
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
