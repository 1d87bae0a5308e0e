"""Specs before they are jobs: checked as a submission would be, and nothing is recorded."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from services.gateway.access import SUBMIT, GuardedRoute
from services.gateway.body import read_spec_body
from services.gateway.checks import checked_spec
from services.gateway.jobs_routes import SPEC_BODY, Back
from shared.client.browse import SpecChecked

router = APIRouter(prefix="/v1/specs", tags=["jobs"], route_class=GuardedRoute)


@router.post("/check", dependencies=SUBMIT, openapi_extra=SPEC_BODY, summary="Check a spec without submitting it")
def check_spec(backend: Back, data: Annotated[Any, Depends(read_spec_body)]) -> SpecChecked:
    """The spec with its defaults; otherwise every fault with its path, as a submission would say them."""
    spec = checked_spec(backend, data)
    return SpecChecked(kind=spec.kind, given=data, spec=spec.model_dump(mode="json"))
