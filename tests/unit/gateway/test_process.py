"""The gateway as its own process: it starts by its environment and ends at once, open streams or not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support.gateway import SMALL_SPEC
from tests.support.s3_server import free_ports

PATIENCE_S = 30.0


def test_sigterm_ends_streams_and_process(module_redis_url: str, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    environment = {**os.environ, "SENSE_REDIS_URL": module_redis_url, "SENSE_REDIS_PREFIX": "process:"}
    environment |= {"SENSE_STORE_ROOT": str(tmp_path / "objects"), "SENSE_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "services.gateway", "--port", str(port)]
    with (
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
    ):
        try:
            wait_until_ready(http)
            job_id = http.post("/v1/jobs", json=SMALL_SPEC).json()["id"]
            with http.stream("GET", f"/v1/jobs/{job_id}/events/stream") as answer:
                lines = answer.iter_lines()
                assert next(line for line in lines if line.startswith("event:")) == "event: fact"
                process.send_signal(signal.SIGTERM)
                assert not any(line.startswith("event:") for line in lines)
            _, log = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGTERM  # uvicorn raises the signal again once all is closed
    assert log.count('"gateway.open"') == 1
    assert "Traceback" not in log


def test_keys_outlive_the_process_and_are_worth_nothing_beside_its_secret(
    module_redis_url: str, tmp_path: Path
) -> None:
    def status(state: str, key: str | None) -> tuple[int, str]:
        port = free_ports(1)[0]
        given = {"SENSE_REDIS_URL": module_redis_url, "SENSE_REDIS_PREFIX": f"{tmp_path.name}:"}
        given |= {"SENSE_STORE_ROOT": str(tmp_path / "objects"), "SENSE_STATE": str(tmp_path / state)}
        command = [sys.executable, "-m", "services.gateway", "--port", str(port)]
        with (
            subprocess.Popen(command, env={**os.environ, **given}, stderr=subprocess.DEVNULL) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http,
        ):
            try:
                wait_until_ready(http)
                if key is None:
                    key = http.post("/v1/keys", json={"name": "me", "role": "admin"}).json()["key"]
                return http.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code, str(key)
            finally:
                process.kill()

    found, key = status("state", None)
    assert found == 200
    assert (tmp_path / "state" / "key-secret").stat().st_mode & 0o777 == 0o600
    assert status("state", key)[0] == 200
    assert status("elsewhere", key)[0] == 401


def test_a_wrong_environment_is_one_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "SENSE_STORE_KIND": "minio"}
    command = [sys.executable, "-m", "services.gateway"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert "SENSE_STORE_ACCESS_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr


def wait_until_ready(http: httpx.Client) -> None:
    """Raises where the gateway does not answer in time."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            http.get("/readyz").raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
