"""Commands about jobs: what they print, and how they end."""

import io
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from services.cli.watch import watch_job
from services.gateway.backend import Backend
from shared.client.client import SenseClient
from shared.jobs.state import ErrorInfo
from tests.support.gateway import Driver
from tests.support.s3_server import free_ports
from tests.unit.cli.conftest import Sense


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text("kind: synthesis\nname: from-cli\n")
    return path


def test_a_spec_is_submitted(sense: Sense, stack: str, backend: Backend, spec: Path) -> None:
    ended = sense("submit", spec)
    job_id = backend.jobs.job_ids()[0]
    assert (ended.code, ended.err) == (0, "")
    assert f"job {job_id} is queued" in ended.out
    printed = json.loads(sense("submit", spec, "--json", "--idempotency-key", "k").out)
    assert (printed["object"], printed["name"]) == ("job", "from-cli")
    assert json.loads(sense("submit", spec, "--json", "--idempotency-key", "k").out)["id"] == printed["id"]


def test_every_fault_of_a_spec_is_a_line(sense: Sense, stack: str, spec: Path) -> None:
    spec.write_text("kind: synthesis\nseed: -1\nodd: 1\n")
    ended = sense("submit", spec)
    assert (ended.code, ended.out) == (2, "")
    assert "sense: the spec has 2 fault(s)" in ended.err
    assert "\n  seed: " in ended.err
    assert "\n  odd: " in ended.err


@pytest.mark.parametrize(
    ("text", "message"), [(None, "there is no spec at"), ("a: [", "is not YAML"), ("- 1", "is no spec")]
)
def test_a_file_that_is_no_spec(sense: Sense, spec: Path, text: str | None, message: str) -> None:
    spec.unlink()
    if text is not None:
        spec.write_text(text)
    ended = sense("submit", spec)
    assert ended.code == 2
    assert message in ended.err


def test_no_stack_is_one_sentence_and_3(sense: Sense, spec: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    for words in (("submit", spec), ("jobs",), ("job", "x", "--watch"), ("cancel", "x"), ("artifacts", "x")):
        ended = sense(*words, "--url", url)
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == f"sense: no gateway answers at {url}; start the stack with: sense up\n"


def test_the_address_is_found_in_order(
    sense: Sense, stack: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert sense("jobs").code == 0
    assert sense("jobs", "--url", away).code == 3
    monkeypatch.delenv("SENSE_URL")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "stack.json").write_text(json.dumps({"gateway_url": stack, "state": str(tmp_path / "state")}))
    assert sense("jobs").code == 0
    monkeypatch.setenv("SENSE_URL", away)
    assert sense("jobs").code == 3
    assert sense("jobs", "--url", "nonsense").code == 2


def test_jobs_are_listed(sense: Sense, stack: str, backend: Backend) -> None:
    assert "no jobs" in sense("jobs").out
    first, second = Driver(backend).id, Driver(backend, kind="pairing").id
    lines = sense("jobs").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [second, first]
    assert [job["id"] for job in json.loads(sense("jobs", "--kind", "synthesis", "--json").out)] == [first]
    assert sense("jobs", "--status", "odd").code == 2


def test_a_job_is_shown_with_its_events(sense: Sense, stack: str, backend: Backend) -> None:
    driver = Driver(backend)
    driver.complete()
    ended = sense("job", driver.id, "--events")
    assert ended.code == 0
    for part in ("succeeded", "write", "2/2", "examples.written", "job.submitted", "report.html"):
        assert part in ended.out
    printed = json.loads(sense("job", driver.id, "--events", "--json").out)
    assert printed["events"][-1]["name"] == "job.succeeded"
    absent = sense("job", "absent")
    said = "sense: there is no job absent; list them with: sense jobs\n"
    assert (absent.code, absent.err) == (2, f"{said}sense: the gateway was {stack}\n")


def test_cancel_and_retry(sense: Sense, stack: str, backend: Backend) -> None:
    driver = Driver(backend)
    assert "is cancelling" in sense("cancel", driver.id).out
    assert sense("retry", driver.id).code == 2
    driver.end("cancelled")
    assert "is cancelled" in sense("cancel", driver.id).out
    assert "is running" in sense("retry", driver.id).out


def test_artifacts_are_listed_and_saved(sense: Sense, stack: str, backend: Backend, tmp_path: Path) -> None:
    driver, folder = Driver(backend), tmp_path / "a" / "b"
    assert "no artifacts yet" in sense("artifacts", driver.id).out
    driver.complete()
    assert "write/1/written" in sense("artifacts", driver.id).out
    assert sense("artifacts", driver.id, "report.html", "--download", folder).code == 0
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    assert sense("artifacts", driver.id, "--download", folder).code == 0
    assert len(list(folder.iterdir())) == 8
    absent = sense("artifacts", driver.id, "absent")
    assert (absent.code, absent.out) == (2, "")
    assert sense("artifacts", driver.id, "--download", folder / "report.html").code == 2


def move(driver: Driver) -> None:
    """One stage done, one failed, slowly enough to be seen."""
    driver.add("write", 0)
    time.sleep(0.3)
    driver.finish("write", 0, {}, {"written": 5})
    time.sleep(0.3)
    driver.add("verify", 0)
    driver.progress("verify", 0, done=1, total=9)
    driver.fail("verify", 0, "boom")
    time.sleep(0.3)
    driver.end("failed", ErrorInfo(code="boom", message="stage verify lost shard 0"))


def test_watching_a_pipe_prints_a_line_for_each_change(
    sense: Sense, stack: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cli.watch.POLL_S", 0.02)
    driver = Driver(backend)
    worker = threading.Thread(target=move, args=(driver,))
    worker.start()
    ended = sense("job", driver.id, "--watch")
    worker.join()
    lines = ended.out.splitlines()
    assert ended.code == 1
    assert lines[0] in (f"job {driver.id}: queued", "write: queued, 0/1 shards")
    done = next(line for line in lines if line.startswith("write: done, 1/1 shards"))
    assert done.endswith("written 5")
    assert "verify: failed, 0/1 shards" in lines
    assert f"job {driver.id}: failed" in lines
    assert any("stage verify lost shard 0" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_watching_a_terminal_draws_bars(stack: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cli.watch.POLL_S", 0.02)
    driver = Driver(backend)
    worker = threading.Thread(target=move, args=(driver,))
    out = Console(force_terminal=True, width=120, record=True, color_system=None, file=io.StringIO())
    worker.start()
    with SenseClient(stack) as client:
        job = watch_job(client, driver.id, out)
    worker.join()
    text = out.export_text()
    assert job.status == "failed"
    assert "1/1" in text
    assert "1 shard(s) failed" in text


def test_an_interrupt_leaves_the_job_alone(stack: str, backend: Backend) -> None:
    driver = Driver(backend)
    command = [sys.executable, "-m", "services.cli.app", "job", driver.id, "--watch", "--url", stack]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"job {driver.id}: queued\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"sense cancel {driver.id}" in out
    assert "goes on" in out
    assert err == ""
    assert backend.jobs.job(driver.id).status == "queued"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{file: nowhere.sqlite}", "nowhere.sqlite"),
        ("{file: a, id: b}", "{file: PATH} or {id: SHA256}"),
        ("{file: [1]}", "{file: PATH}"),
    ],
)
def test_files_that_cannot_be_brought(sense: Sense, stack: str, spec: Path, entry: str, message: str) -> None:
    spec.write_text(f"kind: synthesis\ndatabases: [{entry}]\n")
    ended = sense("submit", spec)
    assert ended.code == 2
    assert message in ended.err
