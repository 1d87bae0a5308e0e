"""No role gains anything: every route, every role, and addresses and methods as an attacker would write them.

More random requests than `make test` sends: SENSE_FUZZ_REQUESTS=20000 python -m pytest -k fuzz THIS_FILE
"""

import asyncio
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from services.gateway import app as app_module
from services.gateway.app import create_app
from services.gateway.backend import Backend
from services.gateway.settings import AuthSettings
from services.serving.embedded.app import create_app as create_engine
from services.serving.settings import EmbeddedEngineSettings
from shared.storage.keys import KEYS_PREFIX
from tests.support.asgi import Reply, ask
from tests.support.asking import serve_app, serve_asking
from tests.support.gateway import Driver, make_backend, serve
from tests.support.sandbox import serve_sandbox

ADMIN = "operators-own-key-0123456789"
RANK = {"none": -1, "metrics": 0, "read": 1, "submit": 2, "admin": 3}
REQUESTS = int(os.environ.get("SENSE_FUZZ_REQUESTS", "1500"))
SEED = int(os.environ.get("SENSE_FUZZ_SEED", "17"))

# Written here by hand on purpose: a new route, or another role for an old one, has to be written twice.
ROLE_OF = {
    **dict.fromkeys([("GET", path) for path in ("/", "/healthz", "/readyz", "/console/{name:path}")], "none"),
    **dict.fromkeys(
        [
            ("GET", path)
            for path in (
                *("/openapi.json", "/v1/models"),
                *("/v1/adapters", "/v1/adapters/{name}"),
                *("/v1/databases", "/v1/databases/{database_id}"),
                *("/v1/datasets", "/v1/datasets/{name}", "/v1/datasets/{name}/examples"),
                *("/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/plan", "/v1/jobs/{job_id}/shards"),
                *("/v1/jobs/{job_id}/events", "/v1/jobs/{job_id}/events/stream"),
                *("/v1/jobs/{job_id}/artifacts", "/v1/jobs/{job_id}/artifacts/{name:path}"),
                *("/v1/jobs/{job_id}/examples", "/v1/jobs/{job_id}/examples/counts", "/v1/jobs/{job_id}/pairs"),
                *("/v1/jobs/{job_id}/predictions", "/v1/jobs/{job_id}/metrics-lines"),
                *("/v1/reports", "/v1/reports/compare", "/v1/reports/{job_id}", "/v1/reports/{job_id}/questions"),
            )
        ],
        "read",
    ),
    **dict.fromkeys(
        [
            ("POST", path)
            for path in (
                *("/v1/adapters/{name}/deploy", "/v1/adapters/{name}/undeploy", "/v1/databases", "/v1/datasets"),
                *("/v1/chat/completions", "/v1/completions", "/v1/execute", "/v1/sql", "/v1/specs/check"),
                *("/v1/jobs", "/v1/jobs/{job_id}/cancel", "/v1/jobs/{job_id}/retry"),
            )
        ],
        "submit",
    ),
    ("GET", "/metrics"): "metrics",
    ("DELETE", "/v1/databases/{database_id}"): "submit",  # what is its own: test_owners.py
    ("DELETE", "/v1/datasets/{name}"): "submit",
    ("GET", "/v1/keys"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("PATCH", "/v1/keys/{name}"): "admin",
    ("DELETE", "/v1/keys/{name}"): "admin",
}

Decoration = Callable[[bytes], bytes]
ENDS = (
    *(
        b"%0a",
        b"%0d",
        b"%0d%0a",
        b"%00",
        b"%09",
        b"%1f",
        b"%7f",
        b"%c2%85",
        b"%e2%80%a8",
        b"%e2%80%a9",
        b"%0a/",
        b"/%0a",
    ),
    *(b"/", b"//", b"/.", b"/..", b"/../keys", b".", b"..", b"%20", b"%2e", b"%2f", b"%5c", b";", b";x=1", b"%3b"),
    *(b"%ff", b"%c0%af", b"%e0%80%af", b"%ed%a0%80", b"%f4%90%80%80", b"%", b"%zz", b"%2", b"%250a", b"%u000a"),
    *(b"?", b"?x=%0a", b"?_method=DELETE", b"%3f", b"#", b"%23", b".json", b"~", b"\xc3\xa9", b"\xff", b"%ef%bb%bf"),
)
STARTS = (
    b"/",
    b"/.",
    b"/./",
    b"/x/..",
    b"/%2e%2e",
    b"/%2f",
    b"/console/..",
    b"/console/../",
    b"/healthz/..",
    b"\\",
    b"/v1/..",
)
INNER = (b"//", b"/./", b"%2f", b"/x/../", b"\\", b"%5c", b"/%0a", b"%0a/", b"/%00", b"/;/", b"%252f")


def decorations() -> Iterator[tuple[str, Decoration]]:
    for end in ENDS:
        yield f"end {end!r}", lambda path, end=end: path + end  # type: ignore[misc]
    for start in STARTS:
        yield f"start {start!r}", lambda path, start=start: start + path  # type: ignore[misc]
    for inner in INNER:
        yield f"inner {inner!r}", lambda path, inner=inner: path[:1] + path[1:].replace(b"/", inner, 1)  # type: ignore[misc]
    yield "plain", lambda path: path
    yield "upper", bytes.upper
    yield "title", bytes.title
    yield "all escaped", lambda path: b"/" + b"".join(b"%%%02x" % byte for byte in path[1:])
    yield "twice escaped", lambda path: path[:1] + b"".join(b"%%25%02x" % byte for byte in path[1:])
    yield "long", lambda path: path + b"/" + b"a" * 9000
    yield "absolute", lambda path: b"http://attacker.example" + path


DECORATIONS = dict(decorations())
OVERRIDES = (
    *(b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url"),
    *(b"x-forwarded-prefix", b"x-forwarded-for", b"x-forwarded-host", b"forwarded"),
)
METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "post", "get", "delete")


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Real services behind the gateway, an engine without models among them: then none of its answers may be a 5xx."""
    root = tmp_path_factory.mktemp("behind")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSE_STATE", str(root / "state"))
        (root / "engine").mkdir()
        with (
            serve_app(create_engine(root / "engine", EmbeddedEngineSettings())) as engine,
            serve_sandbox(root) as sandbox,
            serve_asking(sandbox.objects, engine, sandbox.url) as serving,
        ):
            yield {"engine_url": engine, "sandbox": sandbox.settings, "serving_url": serving}


@pytest.fixture
def backend(module_redis_url: str, behind: dict[str, Any], tmp_path: Path) -> Backend:
    return make_backend(module_redis_url, tmp_path / "objects", **behind)


@dataclass(frozen=True)
class World:
    """A gateway with a key of each role, and the values with which its addresses are filled."""

    app: FastAPI
    backend: Backend
    keys: dict[str, str]
    values: dict[str, str]

    def path(self, template: str) -> bytes:
        for name, value in self.values.items():
            template = template.replace("{" + name + "}", value)
        return template.encode()

    async def ask(
        self, role: str, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes = b""
    ) -> Reply:
        given = [(b"host", b"127.0.0.1:8100"), (b"content-length", str(len(body)).encode()), *headers]
        if role in self.keys:
            given.append((b"authorization", b"Bearer " + self.keys[role].encode()))
        return await ask(self.app, method, target, given, body)


@asynccontextmanager
async def open_world(backend: Backend) -> AsyncIterator[World]:
    backend = replace(
        backend,
        auth=AuthSettings.model_validate({"admin_key": ADMIN}),
        settings=backend.settings.model_copy(update={"key_per_minute": 10_000_000, "stream_s": 0.001}),
    )
    driver = Driver(backend)
    driver.complete()
    app = create_app(backend)
    async with app.router.lifespan_context(app):
        ring = app.state.keys
        keys = {"admin": ADMIN, **{role: ring.add(role, role, None)[1] for role in ("metrics", "read", "submit")}}
        owner = ring.find(keys["submit"])
        fields = {"owner_id": owner.id, "owner": owner.name}
        backend.jobs.client.hset(backend.jobs.key("job", driver.id), mapping=fields)
        values = {"job_id": driver.id, "name:path": "index.html", "database_id": "a" * 64, "name": "nothing"}
        yield World(app, backend, keys, values)


def check(world: World, role: str, method: str, target: bytes, reply: Reply) -> str:
    """What this request shows about roles; empty where all is well."""
    told = f"{role}: {method} {target!r} gave {reply.status} {reply.code} at {reply.route}"
    if reply.status >= 500:
        return f"broke: {told}"
    if reply.code == "invalid_address":
        return "" if reply.status == 400 and reply.route is None else f"odd: {told}"
    if reply.route is None or not reply.takes_method:
        expected = (401,) if role == "none" else (404, 405)
        return "" if reply.status in expected else f"unrouted: {told}"
    needed = ROLE_OF[method, reply.route]
    if RANK[role] < RANK[needed]:
        return "" if reply.status == (401 if role == "none" else 403) else f"GAINED: {told}"
    return f"refused: {told}" if reply.status in (401, 403) else ""


def test_every_route_has_the_role_that_is_written_here(backend: Backend) -> None:
    async def run() -> None:
        async with open_world(backend) as world:
            documented = world.app.openapi()["paths"]
            hidden = {("GET", "/"), ("GET", "/console/{name:path}"), ("GET", "/openapi.json")}
            found = {(method.upper(), path) for path, methods in documented.items() for method in methods}
            shown = {(method, path.replace(":path", "")): role for (method, path), role in ROLE_OF.items()}
            assert found == set(shown) - {(method, path.replace(":path", "")) for method, path in hidden}
            for path, methods in documented.items():
                for method, operation in methods.items():
                    assert ("security" in operation) is (shown[method.upper(), path] != "none"), path
            for (method, path), needed in ROLE_OF.items():
                for role, rank in RANK.items():
                    reply = await world.ask(role, method, world.path(path), [])
                    assert (reply.status in (401, 403)) is (rank < RANK[needed]), (role, method, path, reply)
                    if reply.status == 401:
                        assert reply.headers["www-authenticate"].startswith("Bearer")

    asyncio.run(run())


@pytest.mark.parametrize("method", sorted({method for method, _ in ROLE_OF}))
def test_no_decorated_address_gains_a_role(backend: Backend, method: str) -> None:
    async def run() -> None:
        async with open_world(backend) as world:
            keys = list(world.backend.objects.list(KEYS_PREFIX))
            faults, routed = [], 0
            for (asked, path), needed in ROLE_OF.items():
                for name, decorate in DECORATIONS.items() if asked == method else ():
                    for role in ("none", "metrics", "read", "submit"):
                        target = decorate(world.path(path))
                        body = b'{"name": "mine", "role": "admin"}'
                        reply = await world.ask(role, method, target, [(b"content-type", b"application/json")], body)
                        routed += reply.route is not None
                        if fault := check(world, role, method, target, reply):
                            faults.append((name, needed, fault))
            faults.sort(key=lambda fault: "GAINED" not in fault[2])
            assert not faults, (len(faults), faults[:5])
            assert routed > len(ROLE_OF)
            assert list(world.backend.objects.list(KEYS_PREFIX)) == keys

    asyncio.run(run())


def random_request(world: World, chance: random.Random) -> tuple[str, str, bytes, list[tuple[bytes, bytes]], bytes]:
    """A route, decorated up to three times, under any method and role, with headers that might say something else."""
    role = chance.choice(tuple(RANK))
    asked, path = chance.choice(tuple(ROLE_OF))
    target = world.path(path)
    for _ in range(chance.choice((0, 0, 0, 1, 1, 1, 2, 3))):
        target = DECORATIONS[chance.choice(tuple(DECORATIONS))](target)
    if chance.random() < 0.1:
        place = chance.randrange(len(target) + 1)
        target = target[:place] + b"%%%02x" % chance.randrange(256) + target[place:]
    method = asked if chance.random() < 0.6 else chance.choice(METHODS)
    headers = []
    for _ in range(chance.randrange(3)):
        value = chance.choice((b"DELETE", b"POST", b"/v1/keys", b"/healthz", chance.randbytes(12), b""))
        headers.append((chance.choice(OVERRIDES), value))
    kinds = (b"application/json", b"text/plain", b"application/yaml", b"", b"application/json; charset=\xff", b";;")
    headers.append((b"content-type", chance.choice(kinds)))
    if chance.random() < 0.2:
        odd = (b"[::1", b"", b"\xff\xfe", b"a:b:c", b"localhost:99999", b"x" * 5000, b"http://[", b"null")
        headers.append((chance.choice((b"origin", b"x-request-id", b"idempotency-key", b"range")), chance.choice(odd)))
    bodies = (b"", b"{}", b'{"kind": "synthesis"}', b"[" * 2000, b'"\\ud800"', b"\xff", b"null", b"a: b", b"1e999")
    return role, method, target, headers, chance.choice(bodies)


def test_fuzz_no_role_gains_and_nothing_breaks(backend: Backend) -> None:
    async def run() -> Counter[int]:
        chance, seen = random.Random(SEED), Counter[int]()
        async with open_world(backend) as world:
            for number in range(REQUESTS):
                role, method, target, headers, body = random_request(world, chance)
                reply = await world.ask(role, method, target, headers, body)
                seen[reply.status] += 1
                fault = check(world, role, method, target, reply)
                assert not fault, f"request {number} of seed {SEED}: {fault}; headers {headers}, body {body!r}"
        return seen

    seen = asyncio.run(run())
    assert sum(seen.values()) == REQUESTS
    assert all(seen[status] for status in (200, 400, 401, 403, 404, 405)), seen
    print(f"{REQUESTS} requests, seed {SEED}: {dict(sorted(seen.items()))}")


def exchange(port: int, request: bytes) -> bytes:
    """The beginning of the answer to these bytes; empty where the server only closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(request)
        try:
            return raw.recv(65536)
        except ConnectionResetError:
            return b""


def test_fuzz_on_the_wire_nothing_breaks_either(backend: Backend) -> None:
    """uvicorn reads the request line before anybody: bytes that it lets through or refuses, methods of any kind."""
    chance = random.Random(SEED)

    async def prepared() -> World:
        async with open_world(backend) as world:
            return world

    world = asyncio.run(prepared())
    keys = list(backend.objects.list(KEYS_PREFIX))
    with serve(world.backend) as url:
        port, seen = int(url.rpartition(":")[2]), Counter[int]()
        for number in range(max(100, REQUESTS // 10)):
            role, method, target, headers, body = random_request(world, chance)
            if role == "admin":
                continue
            if role in world.keys:
                headers.append((b"authorization", b"Bearer " + world.keys[role].encode()))
            host = chance.choice((f"127.0.0.1:{port}".encode(), b"[::1", b"", b"\xff", b"attacker.example"))
            fixed = [(b"host", host), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            clean = [(name, value.translate(None, b"\r\n\0")) for name, value in [*fixed, *headers]]
            lines = [method.encode() + b" " + target + b" HTTP/1.1", *(name + b": " + value for name, value in clean)]
            answer = exchange(port, b"\r\n".join([*lines, b"", body]))
            status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
            seen[status] += 1
            assert status < 500, f"request {number} of seed {SEED}: {lines!r} gave {answer[:500]!r}"
    assert seen[200] and seen[400] and seen[401], seen
    assert list(backend.objects.list(KEYS_PREFIX)) == keys


async def nothing() -> None:
    return None


def plain_router() -> APIRouter:
    router = APIRouter()
    router.get("/v1/plain")(nothing)
    return router


@pytest.mark.parametrize(
    "add",
    [
        pytest.param(lambda app: app.get("/v1/more")(nothing), id="a route of the application"),
        pytest.param(lambda app: app.include_router(plain_router()), id="another router's route"),
        pytest.param(lambda app: app.router.routes.append(Route("/v1/more", nothing)), id="a Starlette route"),
        pytest.param(lambda app: app.router.routes.append(Mount("/files", StaticFiles(directory="."))), id="a mount"),
        pytest.param(lambda app: app.router.routes.append(WebSocketRoute("/ws", nothing)), id="a web socket"),
    ],
)
def test_an_application_with_a_route_without_a_role_is_not_made(
    add: Callable[[FastAPI], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = FastAPI.include_router

    def include_and_add(app: FastAPI, *given: object, **named: object) -> None:
        made(app, *given, **named)  # type: ignore[arg-type]
        monkeypatch.setattr(FastAPI, "include_router", made)
        add(app)

    monkeypatch.setattr(FastAPI, "include_router", include_and_add)
    with pytest.raises(TypeError, match="declares no role"):
        app_module.create_app()


def test_a_guarded_route_without_a_role_is_not_made(tmp_path: Path) -> None:
    from services.gateway.http.access import ADMIN, READ, GuardedRoute

    router = APIRouter(route_class=GuardedRoute)
    for wrong in ([], [*READ, *ADMIN]):
        with pytest.raises(TypeError, match="/v1/more: a route declares one role"):
            router.get("/v1/more", dependencies=wrong)(nothing)
