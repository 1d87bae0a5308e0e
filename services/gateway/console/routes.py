"""The web console: static files, under a policy that lets pages load and call nothing foreign."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Header, Response

from services.gateway.http.access import PUBLIC, GuardedRoute
from shared.errors import NotFoundError
from shared.pages.render import style_hash

CONTENT_SECURITY_POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "connect-src 'self'", "img-src 'self' data:"),
        # A report is shown as it was rendered, in a frame under this same policy: its one stylesheet is known.
        *(f"style-src 'self' '{style_hash()}'", "frame-src blob:"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        # No script of ours writes markup, and the browser enforces it.
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
ROOT = files("services.gateway") / "console"
START = "index.html"
router = APIRouter(include_in_schema=False, route_class=GuardedRoute)


@dataclass(frozen=True)
class Asset:
    plain: bytes
    packed: bytes
    media_type: str
    tag: str


@cache
def load_assets() -> dict[str, Asset]:
    """All files by their path in the console's folder, read once: no request ever names a path on disk."""
    found: dict[str, Asset] = {}
    folders = [("", ROOT)]
    while folders:
        prefix, folder = folders.pop()
        for entry in folder.iterdir():
            name = f"{prefix}{entry.name}"
            media_type = TYPES.get(PurePosixPath(name).suffix)
            if entry.is_dir():
                folders.append((f"{name}/", entry))
            elif media_type:
                found[name] = compress_asset(entry.read_bytes(), media_type)
    return found


def compress_asset(data: bytes, media_type: str) -> Asset:
    # `mtime=0` keeps the time out of the header: equal files compress to equal bytes.
    return Asset(data, gzip.compress(data, 9, mtime=0), media_type, hashlib.sha256(data).hexdigest()[:16])


@router.get("/", dependencies=PUBLIC)
@router.get("/console/{name:path}", dependencies=PUBLIC)
def get_asset(
    name: str = START,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """A file of the console; pages inside it are fragments of the one address `/`."""
    asset = load_assets().get(name or START)
    if asset is None:
        raise NotFoundError(f"the console has no file {name[:80]!r}; it begins at /", code="not_found")
    packed = "gzip" in accept_encoding
    headers = {**HEADERS, "ETag": f'"{asset.tag}{"-gz" if packed else ""}"'}
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(asset.packed if packed else asset.plain, media_type=asset.media_type, headers=headers)
