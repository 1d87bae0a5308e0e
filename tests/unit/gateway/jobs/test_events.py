"""Events: pages, and streams that are resumed without loss or repeat."""

import threading
import time
from pathlib import Path

import httpx
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from tests.support.gateway import Driver, make_backend, serve


def read_stream(text: str) -> list[str]:
    """The ids of a stream's events."""
    return [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]


def test_pages_hold_every_event_once_oldest_first(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    driver.progress("write", 0, step=1)
    seen: list[dict[str, object]] = []
    after = "0"
    while True:
        page = api.get(f"/v1/jobs/{driver.id}/events", params={"after": after, "limit": 4}).json()
        seen += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    names = [event["name"] for event in seen]
    assert names[0] == "job.submitted"
    assert names[-2:] == ["job.succeeded", "shard.progress"]
    assert names.count("examples.written") == 2
    assert len({event["id"] for event in seen}) == len(seen)
    assert (seen[-1]["type"], seen[-1]["stage"], seen[-1]["shard"], seen[-1]["data"]) == (
        "progress",
        "write",
        0,
        {"step": 1},
    )
    assert seen[0]["stage"] is None


def test_a_stream_of_an_ended_job_ends(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    listed = [event["id"] for event in api.get(f"/v1/jobs/{driver.id}/events").json()["data"]]
    answer = api.get(f"/v1/jobs/{driver.id}/events/stream")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert read_stream(answer.text) == listed
    resumed = api.get(f"/v1/jobs/{driver.id}/events/stream", headers={"Last-Event-ID": listed[3]})
    assert read_stream(resumed.text) == listed[4:]
    nothing = api.get(f"/v1/jobs/{driver.id}/events/stream", headers={"Last-Event-ID": listed[-1]})
    assert read_stream(nothing.text) == []
    refused = api.get(f"/v1/jobs/{driver.id}/events/stream", headers={"Last-Event-ID": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "header.last-event-id")
    assert api.get(f"/v1/jobs/{driver.id}/events?after=x&limit=0").json()["code"] == "invalid_request"


def test_a_live_stream_is_resumed_without_loss_or_repeat(redis_url: str, tmp_path: Path) -> None:
    backend = make_backend(redis_url, tmp_path / "objects")
    driver = Driver(backend)
    driver.add("write", 0)

    def work() -> None:
        for step in range(60):
            driver.progress("write", 0, step=step)
            time.sleep(0.005)
        driver.end()

    worker = threading.Thread(target=work)
    seen: list[str] = []
    with serve(backend) as url, httpx.Client(base_url=url) as http:
        worker.start()
        ended = False
        while not ended:
            headers = {"Last-Event-ID": seen[-1]} if seen else {}
            with http.stream("GET", f"/v1/jobs/{driver.id}/events/stream", headers=headers) as answer:
                ended = True
                for line in answer.iter_lines():
                    if line.startswith("id: "):
                        seen.append(line.removeprefix("id: "))
                        if len(seen) % 7 == 0:
                            ended = False
                            break
        worker.join()
        listed = http.get(f"/v1/jobs/{driver.id}/events", params={"limit": 500}).json()["data"]
    assert seen == [event["id"] for event in listed]
    assert len(seen) > 60


def test_a_stream_ends_in_time_and_beats_until_then(module_redis_url: str, tmp_path: Path) -> None:
    backend = make_backend(module_redis_url, tmp_path / "objects", stream_s=0.4, heartbeat_s=0.05)
    driver = Driver(backend)
    with serve(backend) as url:
        text = httpx.get(f"{url}/v1/jobs/{driver.id}/events/stream").text
    assert ": ping" in text
    assert len(read_stream(text)) == 1


def test_a_waiting_stream_holds_up_nobody(module_redis_url: str, tmp_path: Path) -> None:
    backend = make_backend(module_redis_url, tmp_path / "objects")
    driver = Driver(backend)
    with serve(backend) as url, httpx.Client(base_url=url) as http:
        address = f"/v1/jobs/{driver.id}/events/stream"
        streams = [http.stream("GET", address) for _ in range(50)]
        for stream in streams:
            stream.__enter__()
        assert http.get(f"/v1/jobs/{driver.id}", timeout=10).status_code == 200
        driver.end()
        for stream in streams:
            stream.__exit__(None, None, None)
