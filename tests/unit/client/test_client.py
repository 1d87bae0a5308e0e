"""The typed client against a real gateway over HTTP."""

import threading
import time
from pathlib import Path

import pytest

from services.gateway.backend import Backend
from shared.client.client import GatewayUnreachableError, RejectedError, SenseClient, job_path, read_events
from shared.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from tests.support.engine import Engine
from tests.support.gateway import SMALL_SPEC, Driver, serve
from tests.support.s3_server import free_ports


def test_a_job_is_submitted_and_found(client: SenseClient) -> None:
    job = client.submit(SMALL_SPEC, idempotency_key="k")
    assert client.submit(SMALL_SPEC, idempotency_key="k").id == job.id
    assert client.job(job.id) == job
    assert (job.status, job.terminal) == ("queued", False)


def test_jobs_are_walked_over_pages(client: SenseClient, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.client.client.PAGE_SIZE", 3)
    ids = [Driver(backend).id for _ in range(8)]
    assert [job.id for job in client.jobs()] == ids[::-1]
    assert [job.id for job in client.jobs(limit=5)] == ids[:2:-1]
    assert list(client.jobs(status="failed")) == []


def test_errors_carry_code_and_sentence(client: SenseClient, backend: Backend) -> None:
    with pytest.raises(RejectedError, match="2 fault") as rejected:
        client.submit({**SMALL_SPEC, "seed": -1, "odd": 1})
    assert rejected.value.code == "invalid_spec"
    assert {fault.path for fault in rejected.value.faults} == {"seed", "odd"}
    with pytest.raises(NotFoundError) as absent:
        client.job("absent")
    assert (absent.value.code, absent.value.message) == (
        "job_not_found",
        "there is no job absent; list them with: sense jobs",
    )
    with pytest.raises(ConflictError, match="only a failed or cancelled"):
        client.retry(Driver(backend).id)
    assert client.cancel(Driver(backend).id).status == "cancelling"


def test_nobody_there_is_one_sentence() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    with SenseClient(url) as client:
        for call in (lambda: client.job("x"), lambda: list(client.events("x", follow=True))):
            with pytest.raises(GatewayUnreachableError) as error:
                call()
            assert error.value.message == f"no gateway answers at {url}; start the stack with: sense up"


def test_another_server_is_told_apart(engine: Engine) -> None:
    with SenseClient(engine.url) as client, pytest.raises(UnavailableError, match="check the URL"):
        client.job("x")


@pytest.mark.parametrize("url", ["", "localhost:8100", "ftp://x", "http://", "http://127.0.0.1:port"])
def test_what_is_no_address_is_said_to_be(url: str) -> None:
    with pytest.raises(InvalidInputError, match="is no address"):
        SenseClient(url)


def test_events_are_followed_over_restarts_without_loss_or_repeat(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.client.client.RECONNECT_S", 0.02)
    driver, port = Driver(backend), free_ports(1)[0]
    driver.add("write", 0)
    followed: list[str] = []

    def follow() -> None:
        with SenseClient(f"http://127.0.0.1:{port}") as client:
            followed.extend(event.id for event in client.events(driver.id, follow=True))

    reader = threading.Thread(target=follow)
    for life in range(3):
        with serve(backend, port):
            if life == 0:
                reader.start()
            for step in range(10):
                driver.progress("write", 0, life=life, step=step)
                time.sleep(0.01)
    with serve(backend, port) as url:
        driver.end()
        reader.join(20)
        with SenseClient(url) as client:
            listed = [event.id for event in client.events(driver.id)]
    assert followed == listed
    assert len(listed) == 30 + len(["job.submitted", "stage.closed", "job.succeeded"])


def test_following_an_ended_job_ends(client: SenseClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    listed = list(client.events(driver.id))
    assert list(client.events(driver.id, follow=True)) == listed
    assert list(client.events(driver.id, after=listed[-1].id, follow=True)) == []
    assert listed[-1].name == "job.succeeded"


def test_an_artifact_is_saved_whole(client: SenseClient, backend: Backend, tmp_path: Path) -> None:
    driver = Driver(backend)
    driver.complete()
    assert len(client.artifacts(driver.id)) == 8
    folder = tmp_path / "saved"
    folder.mkdir()
    assert client.download(driver.id, "write/1/written", folder) == folder / "write-1-written.jsonl"
    assert (folder / "write-1-written.jsonl").read_bytes() == b"write 1\n"
    named = client.download(driver.id, "report.html", tmp_path / "new" / "r.html")
    assert named.read_bytes() == b"<p>R"
    with pytest.raises(NotFoundError):
        client.download(driver.id, "../job.json", folder)


def test_damaged_bytes_leave_the_old_file_alone(client: SenseClient, backend: Backend, tmp_path: Path) -> None:
    driver = Driver(backend)
    driver.complete()
    backend.objects.put(backend.jobs.shard(driver.id, "write", 0).outputs["written"].key, b"WRITE 0\n")
    target = tmp_path / "rows.jsonl"
    target.write_text("old")
    with pytest.raises(UnavailableError, match="damaged"):
        client.download(driver.id, "write/0/written", target)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["objects", "rows.jsonl"]


def test_models_and_chat(client: SenseClient, engine: Engine) -> None:
    assert client.models() == ["base"]
    answer = client.chat("base", [{"role": "user", "content": "hi"}], temperature=0)
    assert answer == "```sql\nSELECT 1\n```"
    assert engine.asked[0]["temperature"] == 0
    with pytest.raises(NotFoundError, match="absent is not served"):
        client.chat("absent", [{"role": "user", "content": "hi"}])


def test_a_cut_off_event_is_not_an_event() -> None:
    whole = '{"id":"1-0","type":"fact","name":"n","job_id":"j","created_at":1.0}'
    lines = [": c", "retry: 1000", "", "event: fact", f"data: {whole}", "id: 1-0", "", "data: " + whole[:20]]
    assert [event.id for event in read_events(lines)] == ["1-0"]


def test_ids_and_names_are_quoted() -> None:
    assert job_path("a/b?c", "artifacts", "write/0/x y") == "/v1/jobs/a%2Fb%3Fc/artifacts/write/0/x%20y"
