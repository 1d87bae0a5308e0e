"""Whatever goes wrong, the answer is RFC 9457 with a stable code."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from services.gateway.app import create_app
from services.gateway.backend import Backend
from shared.api.resources import Problem
from shared.jobs.store import JobStore
from shared.redis import connect_redis
from shared.settings import RedisSettings
from shared.storage.minio_store import MinioStore
from tests.support.gateway import Driver

UNKNOWN = "/v1/jobs/absent"
CASES = [
    ("GET", "/nowhere", 404, "not_found"),
    ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
    ("POST", "/healthz", 405, "method_not_allowed"),
    ("GET", "/v1/jobs?limit=0&status=odd&kind=A", 422, "invalid_request"),
    ("POST", "/v1/jobs", 422, "invalid_spec"),
    ("GET", UNKNOWN, 404, "job_not_found"),
    ("POST", f"{UNKNOWN}/cancel", 404, "job_not_found"),
    ("POST", f"{UNKNOWN}/retry", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/events", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/events/stream", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/artifacts", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/artifacts/report.html", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/plan", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/shards", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/examples", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/examples/counts", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/pairs", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/predictions", 404, "job_not_found"),
    ("GET", f"{UNKNOWN}/metrics-lines?stage=sft", 404, "job_not_found"),
    ("GET", "/v1/reports?limit=0", 422, "invalid_request"),
    ("GET", "/v1/reports/compare", 422, "invalid_request"),
    ("GET", "/v1/reports/absent", 404, "job_not_found"),
    ("GET", "/v1/reports/absent/questions", 404, "job_not_found"),
    ("POST", "/v1/specs/check", 422, "invalid_spec"),
    ("POST", "/v1/databases", 415, "unsupported_media_type"),
    ("GET", "/v1/databases?limit=0", 422, "invalid_request"),
    ("GET", "/v1/databases/none", 404, "database_not_found"),
    ("POST", "/v1/datasets", 415, "unsupported_media_type"),
    ("GET", "/v1/datasets?limit=0", 422, "invalid_request"),
    ("GET", "/v1/datasets/unheard", 404, "dataset_not_found"),
    ("GET", "/v1/datasets/unheard/examples", 404, "dataset_not_found"),
    ("POST", "/v1/execute", 422, "invalid_request"),
    ("DELETE", "/v1/databases/none", 404, "database_not_found"),
    ("DELETE", "/v1/datasets/unheard", 404, "dataset_not_found"),
    ("GET", "/v1/adapters?limit=0", 422, "invalid_request"),
    ("GET", "/v1/adapters/unheard", 404, "model_not_found"),
    ("POST", "/v1/adapters/unheard/deploy", 404, "model_not_found"),
    ("POST", "/v1/adapters/unheard/undeploy", 404, "model_not_found"),
    ("POST", "/v1/keys", 422, "invalid_request"),
    ("PATCH", "/v1/keys/unheard", 422, "invalid_request"),
    ("DELETE", "/v1/keys/unheard", 404, "key_not_found"),
    ("GET", "/v1/models", 503, "engine_unavailable"),
    ("POST", "/v1/chat/completions", 503, "engine_unavailable"),
    ("POST", "/v1/completions", 503, "engine_unavailable"),
    ("POST", "/v1/sql", 422, "invalid_request"),
]


def check(answer: httpx.Response, status: int, code: str) -> Problem:
    """The shape that every problem has."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content)
    assert (found.status, found.code) == (status, code)
    assert found.type == f"https://sense.invalid/errors/{code}"
    assert found.title
    assert found.detail
    assert found.instance == answer.request.url.path
    assert found.request_id == answer.headers["X-Request-ID"]
    return found


@pytest.mark.parametrize(("method", "path", "status", "code"), CASES)
def test_every_route_speaks_problems(api: TestClient, method: str, path: str, status: int, code: str) -> None:
    check(api.request(method, path, json={} if method == "POST" else None), status, code)


def test_the_cases_cover_every_route(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    asked = {(method, path.partition("?")[0].replace("absent", "{job_id}")) for method, path, _, _ in CASES}
    asked = {(method, path.replace("report.html", "{name}")) for method, path in asked}
    asked = {(method, path.replace("none", "{database_id}").replace("unheard", "{name}")) for method, path in asked}
    assert routes - asked == {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/v1/keys")}


def test_all_faulty_parameters_are_named(api: TestClient) -> None:
    found = check(api.get("/v1/jobs?limit=0&status=odd&kind=A"), 422, "invalid_request")
    assert {fault.path for fault in found.errors} == {"query.limit", "query.status", "query.kind"}


@pytest.mark.parametrize("given", ["", "has space", "x" * 200, "a\tb", "<script>"])
def test_an_unusable_request_id_is_replaced(api: TestClient, given: str) -> None:
    own = api.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert own != given
    assert len(own) == 32


@pytest.mark.parametrize("name", ["x:stage:write", "x:events", "..", "%2e%2e", "x%2fy", "x" * 65])
def test_an_id_reaches_no_other_key(api: TestClient, backend: Backend, name: str) -> None:
    Driver(backend).add("write", 0)
    job_id = backend.jobs.job_ids()[0]
    answer = api.get(f"/v1/jobs/{name.replace('x:', job_id + ':')}/events")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_what_nobody_foresaw_is_a_problem_without_internals(
    api: TestClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(_: object) -> None:
        raise RuntimeError("INTERNALS of the gateway")

    monkeypatch.setattr("services.gateway.jobs.routes.view_job", unforeseen)
    found = check(api.get(f"/v1/jobs/{Driver(backend).id}"), 500, "internal_error")
    assert "INTERNALS" not in found.detail


@pytest.fixture
def stranded(backend: Backend) -> Iterator[TestClient]:
    """A gateway whose Redis and object store are away."""
    away = "redis://127.0.0.1:9/0"
    client = connect_redis(RedisSettings.model_validate({"url": away}))
    client.set_retry(client.get_retry().__class__(client.get_retry()._backoff, 0))
    store = MinioStore(endpoint="127.0.0.1:9", access_key="a" * 8, secret_key="b" * 8, bucket="sense")
    lost = replace(backend, jobs=JobStore(client, "x:"), objects=store, redis_url=away)
    with TestClient(create_app(lost), raise_server_exceptions=False) as api:
        yield api


def test_readiness_names_what_is_away(api: TestClient, stranded: TestClient) -> None:
    assert api.get("/readyz").json() == {"status": "ok", "redis": "ok", "store": "ok"}
    found = check(stranded.get("/readyz"), 503, "not_ready")
    assert {fault.path for fault in found.errors} == {"redis", "store"}
    assert stranded.get("/healthz").json() == {"status": "ok"}
    answer = stranded.get("/v1/jobs")
    check(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]


def test_metrics_show_jobs_and_queues(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.add("write", 0, 1)
    driver.claim("write", 0)
    Driver(backend, kind="pairing").end("failed")
    text = api.get("/metrics").text
    assert 'sense_jobs{kind="synthesis",status="running"} 1.0' in text
    assert 'sense_jobs{kind="pairing",status="failed"} 1.0' in text
    assert 'sense_queue_depth{queue="synthesis",state="queued"} 1.0' in text
    assert 'sense_queue_depth{queue="synthesis",state="running"} 1.0' in text
    assert 'sense_worker_slots{queue="training"} 0.0' in text
    api.get("/v1/jobs/absent")
    assert 'sense_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}' in api.get("/metrics").text


def test_the_committed_openapi_document_is_current() -> None:
    from services.gateway.app import render

    committed = Path("docs/openapi.json").read_text(encoding="utf-8")
    assert committed == render(), "run: python -m services.gateway.app > docs/openapi.json"
