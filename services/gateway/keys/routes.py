"""/v1/keys: create, list, change and remove keys. For admins; for everybody here while there is no key."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.gateway.http.access import ADMIN, GuardedRoute
from services.gateway.keys.service import KeyRing
from shared.api.resources import CreatedKey, KeyChange, KeyList, KeyRequest, KeySummary
from shared.errors import UnavailableError

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=GuardedRoute)


def get_ring(request: Request) -> KeyRing:
    ring = request.app.state.keys
    if not isinstance(ring, KeyRing):
        raise UnavailableError("the gateway is still starting; try again in a second")
    return ring


CurrentKeyRing = Annotated[KeyRing, Depends(get_ring)]


@router.post("", dependencies=ADMIN, status_code=201, summary="Make a key")
def add_key(ring: CurrentKeyRing, asked: KeyRequest, response: Response) -> CreatedKey:
    """The answer is the only place where the key stands. The first one has to be an admin's, and closes the gateway."""
    key, text = ring.add(asked.name, asked.role, asked.per_minute, asked.limits)
    response.headers["Location"] = f"/v1/keys/{key.name}"
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey(**key.summary().model_dump(), key=text)


@router.get("", dependencies=ADMIN, summary="List keys")
def list_keys(ring: CurrentKeyRing) -> KeyList:
    """Names, roles and limits. The operator's key of the environment is not listed."""
    return KeyList(data=[key.summary() for key in ring.list()])


@router.patch("/{name}", dependencies=ADMIN, summary="Change a key's limits")
def change_key(ring: CurrentKeyRing, name: str, change: KeyChange) -> KeySummary:
    """They hold everywhere within two seconds; its text, its role and what it owns stay."""
    return ring.change(name, change).summary()


@router.delete("/{name}", dependencies=ADMIN, status_code=204, summary="Remove a key")
def remove_key(ring: CurrentKeyRing, name: str) -> Response:
    """It is refused everywhere within two seconds."""
    ring.remove(name)
    return Response(status_code=204)
