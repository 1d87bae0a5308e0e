"""Looking, listing, cancelling, retrying; the archive where Redis has lost a job."""

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from shared.jobs.reading import read_archived_shards
from shared.jobs.state import ErrorInfo, ShardRecord, ShardState
from shared.storage.keys import archive_key
from shared.storage.records import dump_records
from tests.support.gateway import Driver


def test_a_running_job_shows_stages_and_sums(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.add("write", 0, 1)
    driver.finish("write", 0, {"written.jsonl": b"a\n"}, {"written": 3})
    driver.claim("write", 1)
    job = api.get(f"/v1/jobs/{driver.id}").json()
    assert (job["status"], job["stage"]) == ("running", ["write"])
    assert job["progress"] == {"done": 1, "total": 2, "failed": 0, "unit": "shards"}
    write, verify, report = job["stages"]
    assert (write["status"], write["done"], write["running"], write["closed"]) == ("running", 1, 1, True)
    assert write["counts"]["written"] == 3
    assert write["started_at"] >= job["created_at"]
    assert write["finished_at"] is None
    assert (verify["status"], report["status"]) == ("waiting", "waiting")
    assert job["artifacts"] == []


def test_an_ended_job_shows_times_and_artifacts(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    job = api.get(f"/v1/jobs/{driver.id}").json()
    assert job["status"] == "succeeded"
    assert [stage["status"] for stage in job["stages"]] == ["done", "done", "done"]
    assert all(stage["finished_at"] >= stage["started_at"] for stage in job["stages"])
    assert job["finished_at"] >= job["started_at"]
    names = [artifact["name"] for artifact in job["artifacts"]]
    assert sorted(names) == ["report.html", "report.json", "report.md", "report.txt"]


def test_a_failed_job_says_why_and_can_be_retried(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.add("write", 0, 1)
    driver.finish("write", 0, {})
    driver.fail("write", 1, "the teacher was silent")
    driver.end("failed", ErrorInfo(code="boom", message="stage write lost shard 1"))
    job = api.get(f"/v1/jobs/{driver.id}").json()
    assert job["error"] == {"code": "boom", "message": "stage write lost shard 1"}
    assert (job["stages"][0]["status"], job["progress"]["failed"]) == ("failed", 1)
    again = api.post(f"/v1/jobs/{driver.id}/retry")
    assert (again.status_code, again.json()["status"], again.json()["epoch"]) == (202, "running", 2)
    assert again.json()["error"] is None
    twice = api.post(f"/v1/jobs/{driver.id}/retry")
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")


def test_cancel_is_202_while_it_happens_and_200_afterwards(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.add("write", 0, 1)
    token = driver.claim("write", 0)
    for _ in range(2):
        answer = api.post(f"/v1/jobs/{driver.id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    assert backend.jobs.hand_back(driver.id, "write", 0, token=token, cancelled=True)
    driver.end("cancelled")
    answer = api.post(f"/v1/jobs/{driver.id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_pages_hold_every_job_once_newest_first(api: TestClient, backend: Backend) -> None:
    ids = [Driver(backend, kind="pairing" if number % 2 else "synthesis").id for number in range(7)]
    seen: list[str] = []
    after = None
    while True:
        page = api.get("/v1/jobs", params={"limit": 3, **({"after": after} if after else {})}).json()
        seen += [job["id"] for job in page["data"]]
        after = page["last_id"]
        Driver(backend, name="late")
        if not page["has_more"]:
            break
    assert seen == ids[::-1]
    pairing = api.get("/v1/jobs", params={"kind": "pairing", "limit": 2}).json()
    assert [job["id"] for job in pairing["data"]] == [ids[5], ids[3]]
    assert pairing["has_more"] is True
    assert api.get("/v1/jobs", params={"status": "failed"}).json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "last_id": None,
    }
    assert api.get("/v1/jobs", params={"after": "absent"}).json()["code"] == "unknown_cursor"


def test_an_archive_gives_the_rows_of_a_stage_and_parses_no_others(backend: Backend) -> None:
    """A look at a job of a million archived rows held all of them."""
    rows = [
        ShardRecord(stage=name, shard=n, state=ShardState.DONE, attempt=1) for name in ("a", "a.b", "b") for n in (0, 1)
    ]
    other = b'{"stage":"of-tomorrow","what":"is this"}\n'
    backend.objects.put(archive_key("j", "job.json"), b"{}")
    backend.objects.put(archive_key("j", "rows.jsonl"), other + dump_records(rows))
    assert list(read_archived_shards(backend.objects, "j", ["a", "b"])) == [row for row in rows if row.stage != "a.b"]
    assert list(read_archived_shards(backend.objects, "j", ["a.b"])) == rows[2:4]
    backend.objects.put(archive_key("j", "rows.jsonl"), dump_records(rows))
    assert list(read_archived_shards(backend.objects, "j")) == rows


def test_a_lost_job_is_read_from_the_archive(api: TestClient, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    before = api.get(f"/v1/jobs/{driver.id}").json()
    artifacts = api.get(f"/v1/jobs/{driver.id}/artifacts").json()
    events = api.get(f"/v1/jobs/{driver.id}/events").json()
    driver.forget()
    after = api.get(f"/v1/jobs/{driver.id}").json()
    assert after == {**before, "archived": True}
    assert api.get(f"/v1/jobs/{driver.id}/artifacts").json() == artifacts
    assert api.get(f"/v1/jobs/{driver.id}/events").json() == events
    assert api.get(f"/v1/jobs/{driver.id}/artifacts/report.md").content == b"# R"
    assert api.post(f"/v1/jobs/{driver.id}/cancel").status_code == 200
    assert api.post(f"/v1/jobs/{driver.id}/retry").status_code == 409
    with api.stream("GET", f"/v1/jobs/{driver.id}/events/stream") as answer:
        text = answer.read().decode()
    assert text.count("\nid: ") == len(events["data"])


def damage(driver: Driver, how: str) -> None:
    """One job's keys as no step writes them."""
    client, jobs = driver.jobs.client, driver.jobs
    record = jobs.key("job", driver.id)
    if how == "another type":
        client.delete(record)
        client.set(record, "x")
    elif how in ("stages", "events"):
        client.delete(jobs.key("job", driver.id, how))
        client.set(jobs.key("job", driver.id, how), "x")
    elif how == "stage":
        client.set(jobs.key("job", driver.id, "stage", "write"), "x")
    elif how == "row":
        client.set(jobs.key("job", driver.id, "row", "write", "0"), "x")
    else:
        field, _, value = how.partition("=")
        client.hset(record, field, value) if value else client.hdel(record, field)


DAMAGES = [
    *("another type", "stages", "stage", "row", "events", "spec={", "spec", "status=dreaming", "status", "plan={"),
    *("created_at=long ago", "created_at", "epoch=first", "error={", "kind", "name", "started_at=soon"),
]


@pytest.mark.parametrize("how", [*DAMAGES, "spec=" + "[" * 100_000], ids=lambda how: how[:20])
def test_a_damaged_job_is_shown_as_such_beside_others_and_can_be_cancelled(
    api: TestClient, backend: Backend, how: str
) -> None:
    before, victim, after = Driver(backend), Driver(backend), Driver(backend)
    victim.add("write", 0, 1)
    damage(victim, how)
    listed = api.get("/v1/jobs").json()["data"]
    assert [job["id"] for job in listed] == [after.id, victim.id, before.id]
    for address in ("/v1/jobs?status=queued", "/v1/jobs?kind=synthesis", "/metrics"):
        assert api.get(address).status_code == 200
    shown = api.get(f"/v1/jobs/{victim.id}")
    assert shown.status_code == 200 and shown.json()["id"] == victim.id
    for part in ("events", "artifacts"):
        assert api.get(f"/v1/jobs/{victim.id}/{part}").status_code < 500
    cancelled = api.post(f"/v1/jobs/{victim.id}/cancel")
    assert cancelled.status_code in (200, 202)
    assert cancelled.json()["status"] in ("cancelling", "cancelled", "failed")
    assert api.get(f"/v1/jobs/{before.id}").json()["status"] == "queued"
