"""One kit for our HTTP processes: whatever goes wrong leaves as problem details, and as OpenAI's error beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from shared.api.resources import Problem
from shared.errors import ConflictError, InvalidInputError, SenseError, UnavailableError
from shared.http.app import add_metrics_route, create_internal_app
from shared.http.problems import MAX_FAULTS, PROBLEM_TYPE, ProblemHandlers


class Order(BaseModel):
    count: int
    name: str


class LateError(SenseError):
    code = "late"
    http_status = 408


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.started = True
    yield


def serve(**options: Any) -> TestClient:
    problems = ProblemHandlers(**options)
    app = create_internal_app("test", lifespan=lifespan, problems=problems)
    add_metrics_route(app)

    @app.get("/fail/{kind}")
    @app.get("/v1/fail/{kind}")
    async def fail(kind: str) -> None:
        error = {
            "busy": UnavailableError("all slots are taken; try again"),
            "taken": ConflictError("the name is taken; choose another"),
            "late": LateError("the body did not arrive"),
            "left": ClientDisconnect(),
        }.get(kind, InvalidInputError(kind * 3000))
        if isinstance(error, ConflictError):
            error.faults = [{"path": f"items.{place}", "message": "taken"} for place in range(60)]  # type: ignore[attr-defined]
        raise error

    @app.post("/orders")
    @app.post("/v1/orders")
    async def order(asked: Order) -> Order:
        return asked

    @app.post("/v1/raw")
    async def raw(request: Request) -> Order:
        return Order.model_validate_json(await request.body())

    app.add_exception_handler(ValidationError, problems.handle_validation_error)
    return TestClient(app, base_url="http://127.0.0.1")


def test_an_error_of_ours_is_a_problem_with_its_code_status_and_time_to_wait() -> None:
    answer = serve(retry_after_s="7").get("/fail/busy")
    found = Problem.model_validate_json(answer.content)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert (found.status, found.code, found.title) == (503, "unavailable", "Service Unavailable")
    assert (found.detail, found.instance) == ("all slots are taken; try again", "/fail/busy")
    assert "error" not in answer.json()


def test_however_much_is_wrong_it_says_a_bounded_part() -> None:
    client = serve()
    assert len(client.get("/fail/taken").json()["errors"]) == MAX_FAULTS
    assert len(client.get("/fail/x").json()["detail"]) == 2000


def test_an_app_adds_headers_of_its_own() -> None:
    client = serve(headers_for=lambda error: {"Connection": "close"} if isinstance(error, LateError) else {})
    assert client.get("/fail/late").headers["connection"] == "close"
    assert "connection" not in client.get("/fail/taken").headers


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/none", "not_found"), ("GET", "/orders", "method_not_allowed")]
)
def test_errors_of_the_framework_are_problems_too(method: str, path: str, code: str) -> None:
    answer = serve().request(method, path)
    assert answer.json()["code"] == code and path in answer.json()["detail"]


def test_a_request_that_does_not_fit_names_every_fault() -> None:
    answer = serve().post("/orders", json={"count": "many"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["path"] for fault in answer.json()["errors"]] == ["body.count", "body.name"]


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/raw"])
def test_openai_clients_get_their_own_member_and_status(path: str) -> None:
    client = serve(is_engine=True)
    answer = client.post(path, json={"count": "many", "name": "a"})
    error = answer.json()["error"]
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
    assert error["param"].endswith("count")
    assert client.get("/v1/fail/busy").json()["error"]["type"] == "server_error"
    assert client.post("/orders", json={}).status_code == 422
    gateway = serve(openai_paths={"/v1/orders"})
    assert (
        "error" in gateway.post("/v1/orders", json={}).json() and "error" not in gateway.post("/orders", json={}).json()
    )
    assert gateway.post("/v1/orders", json={}).status_code == 422


def test_nobody_reads_an_answer_to_a_caller_who_left() -> None:
    answer = serve().get("/fail/left")
    assert (answer.status_code, answer.content) == (400, b"")


def test_an_internal_app_is_guarded_and_shows_its_counters() -> None:
    with serve() as client:
        assert client.app.state.started  # type: ignore[attr-defined]
        assert b"python_info" in client.get("/metrics").content
        refused = client.get("/metrics", headers={"Host": "rebound.example"})
        assert (refused.status_code, refused.json()["code"]) == (403, "host_refused")
        assert [client.get(page).status_code for page in ("/docs", "/redoc", "/openapi.json")] == [404] * 3
