"""The engine's addresses are passed through: answers, errors and streams."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.engine import Engine, start_engine
from tests.support.gateway import make_backend, serve

QUESTION = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def engine() -> Iterator[Engine]:
    with start_engine("base", "tuned") as server:
        yield server


@pytest.fixture
def http(engine: Engine, module_redis_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    backend = make_backend(module_redis_url, tmp_path / "objects", engine_url=engine.url)
    with serve(backend) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def test_models_and_answers_come_from_the_engine(http: httpx.Client, engine: Engine) -> None:
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["base", "tuned"]
    answer = http.post("/v1/chat/completions", json={**QUESTION, "model": "base", "n": 1})
    assert answer.json()["choices"][0]["message"]["content"] == "SELECT 1"
    assert engine.asked == [{**QUESTION, "model": "base", "n": 1}]


def test_an_engine_error_is_a_problem_with_openais_member(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={**QUESTION, "model": "absent"})
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, body["code"]) == (404, "not_found")
    assert body["detail"] == body["error"]["message"] == "The model absent is not served."


def test_a_stream_passes_chunk_by_chunk(http: httpx.Client, engine: Engine) -> None:
    body = {**QUESTION, "model": "tuned", "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        chunks = answer.iter_raw()
        assert next(chunks) == b'data: {"part": 1}\n\n'
        engine.go_on.set()
        assert b"".join(chunks) == b"data: [DONE]\n\n"


def test_only_json_is_passed_on(http: httpx.Client, engine: Engine) -> None:
    answer = http.post("/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert engine.asked == []


def test_an_engine_below_a_path_keeps_its_path(engine: Engine, module_redis_url: str, tmp_path: Path) -> None:
    backend = make_backend(module_redis_url, tmp_path / "objects", engine_url=f"{engine.url}/behind")
    with serve(backend) as url:
        assert httpx.get(f"{url}/v1/models").status_code == 200
    assert engine.listed == ["/behind/v1/models"]
