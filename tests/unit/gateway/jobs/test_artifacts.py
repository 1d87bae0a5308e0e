"""Artifacts: names instead of paths, bytes as they were recorded."""

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from tests.support.gateway import Driver


@pytest.fixture
def job_id(backend: Backend) -> str:
    driver = Driver(backend)
    driver.complete()
    return driver.id


def test_names_come_from_finished_rows(api: TestClient, job_id: str) -> None:
    listed = api.get(f"/v1/jobs/{job_id}/artifacts").json()
    assert listed["object"] == "list"
    names = [artifact["name"] for artifact in listed["data"]]
    assert sorted(names) == [
        *("report.html", "report.json", "report.md", "report.txt"),
        *("verify/0/examples", "verify/1/examples", "write/0/written", "write/1/written"),
    ]
    first = next(artifact for artifact in listed["data"] if artifact["name"] == "write/0/written")
    assert (first["filename"], first["content_type"]) == ("write-0-written.jsonl", "application/x-ndjson")
    assert (first["size"], first["stage"], first["shard"]) == (len(b"write 0\n"), "write", 0)


def test_bytes_are_streamed_with_type_name_and_hash(api: TestClient, job_id: str) -> None:
    for artifact in api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]:
        answer = api.get(f"/v1/jobs/{job_id}/artifacts/{artifact['name']}")
        assert answer.status_code == 200
        assert len(answer.content) == artifact["size"] == int(answer.headers["Content-Length"])
        assert answer.headers["ETag"] == f'"{artifact["sha256"]}"'
        assert answer.headers["Content-Type"] == artifact["content_type"]
        assert f'filename="{artifact["filename"]}"' in answer.headers["Content-Disposition"]
    again = api.get(answer.request.url.path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_report_page_runs_nothing(api: TestClient, job_id: str) -> None:
    answer = api.get(f"/v1/jobs/{job_id}/artifacts/report.html")
    assert answer.content == b"<p>R"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("inline")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        *("%2e%2e/%2e%2e/job.json", "..%2fjob.json", "job.json", "jobs/x/job.json", "%2fetc%2fpasswd"),
        *("write/0/written/", "write//0/written", "write/0", "write/2/written", "%5c..%5cx"),
    ],
)
def test_a_name_is_no_path(api: TestClient, job_id: str, name: str) -> None:
    answer = api.get(f"/v1/jobs/{job_id}/artifacts/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def test_the_key_of_an_output_is_no_name(api: TestClient, job_id: str, backend: Backend) -> None:
    key = backend.jobs.shard(job_id, "write", 0).outputs["written"].key
    assert api.get(f"/v1/jobs/{job_id}/artifacts/{key}").status_code == 404


def test_an_object_that_is_gone_is_said_to_be(api: TestClient, job_id: str, backend: Backend) -> None:
    backend.objects.delete(backend.jobs.shard(job_id, "write", 0).outputs["written"].key)
    answer = api.get(f"/v1/jobs/{job_id}/artifacts/write/0/written")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_job_without_a_plan_has_none(api: TestClient, backend: Backend) -> None:
    job_id = Driver(backend, plan=False).id
    assert api.get(f"/v1/jobs/{job_id}/artifacts").json()["data"] == []
