"""`docker compose up` for real: healthy, a job through it, more of a service, and no way out of its containers.

Minutes of building, so not part of `make test`: `make test-cluster`; tests/cluster/running.py says what it needs.
"""

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from shared.client.client import SenseClient
from tests.cluster.running import Cluster, running_cluster
from tests.support.stack import wait_until

UP_MOST_S = 60
JOB_S = 240
NO_CAPABILITY = "0" * 16
SPEC = {"kind": "synthesis", "name": "cluster", "train": {"sft": [{"synthesis": 40, "per_shard": 10}]}, "seed": 3}
SERVICES = (
    *("gateway", "orchestrator", "synthesis", "sandbox", "sandbox-http", "pairing", "evaluation", "training"),
    *("serving", "serving-http", "engine", "flower", "egress"),
)
STATEFUL = {"sandbox", "sandbox-http", "pairing", "evaluation", "training", "serving", "engine"}
WORLD = ("1.1.1.1:443", "8.8.8.8:53")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(4000),
    pytest.mark.skipif(
        "SENSE_CLUSTER_TOOL" not in os.environ and shutil.which("docker") is None,
        reason="no docker here, and SENSE_CLUSTER_TOOL names no tool that brings it",
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def host(cluster: Cluster) -> Iterator[str]:
    """An address of this machine on which something listens, for every container that could reach it."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # all addresses on purpose: none of them may be reached
        yield f"{own_address()}:{server.getsockname()[1]}"


def own_address() -> str:
    """This machine's address on the way out; nothing is sent. Without one the checks would prove nothing: OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def finished(client: SenseClient, job_id: str) -> bool:
    job = client.job(job_id)
    assert job.status not in ("failed", "cancelled"), job.error
    return job.status == "succeeded"


def run_job(cluster: Cluster, folder: Path) -> str:
    """A synthesis job through the gateway; the sft.jsonl that it leaves."""
    with cluster.client() as client:
        job = client.submit(SPEC)
        wait_until(lambda: finished(client, job.id), "the job's end", limit_s=JOB_S)
        name = next(
            one.name for one in client.artifacts(job.id) if one.stage == "collect.train" and one.name.endswith("/sft")
        )
        return client.download(job.id, name, folder / job.id).read_text()


def test_everything_is_healthy_within_a_minute_and_images_tell_their_size(cluster: Cluster) -> None:
    states = {one["Service"]: (one["State"], one.get("Health", "")) for one in cluster.containers()}
    assert [states.pop(once) for once in ("store-users", "preflight")] == [("exited", "")] * 2
    assert {state for state, _ in states.values()} == {"running"}, states
    assert {health for _, health in states.values()} <= {"healthy"}, states
    print(f"\nup --wait from built images: {cluster.up_s:.1f} s, {len(states)} containers")
    for name, size in cluster.image_sizes().items():
        print(f"  {name:<22} {size / 1e6:7.0f} MB")
    assert cluster.up_s <= UP_MOST_S


def test_a_job_runs_through_it_and_again_with_more_of_what_is_busy(cluster: Cluster, tmp_path: Path) -> None:
    first = run_job(cluster, tmp_path)
    assert len(first.splitlines()) == 40
    cluster.compose("up", "-d", "--wait", "--no-recreate", "--scale", "sandbox=4", "--scale", "synthesis=2")
    running = [one["Service"] for one in cluster.containers() if one["State"] == "running"]
    assert (running.count("sandbox"), running.count("synthesis")) == (4, 2)
    assert run_job(cluster, tmp_path) == first


@pytest.mark.parametrize("service", SERVICES)
def test_a_process_inside_has_no_right_and_no_place_to_write(cluster: Cluster, service: str) -> None:
    found = cluster.inside(service)
    assert found["uid"] == 10001 and not found["became_root"]
    assert set(found["capabilities"]) == {NO_CAPABILITY}
    assert found["no_new_privileges"] and found["seccomp"] == "2"
    assert set(found["writable"]) <= {"/tmp", "/state"}
    assert ("/state" in found["writable"]) == (service in STATEFUL)


def test_the_sandbox_reaches_redis_and_the_store_and_nothing_else(cluster: Cluster, host: str) -> None:
    allowed = ("redis:6379", "store:9000")
    forbidden = ("gateway:8100", "engine:8101", "serving-http:8103", "flower:5555", "orchestrator:9100", host, *WORLD)
    found = cluster.inside("sandbox", *allowed, *forbidden, *addresses(cluster, "gateway", 8100))
    assert found["reaches"] == list(allowed)
    assert found["resolves"] == []
    nobody_at_the_end(cluster, "sandbox", found["default_route"], host)


def nobody_at_the_end(cluster: Cluster, service: str, route: str | None, host: str) -> None:
    """A default route may be written down; the host, which listens on all its addresses, does not stand there."""
    if route is not None:
        assert cluster.inside(service, f"{route}:{host.rpartition(':')[2]}")["reaches"] == [], service


def addresses(cluster: Cluster, service: str, port: int) -> list[str]:
    """A service's own addresses on every network that it is on: without a name, too, there is no way."""
    (container,) = cluster.compose("ps", "-q", service).split()
    said = cluster.run("docker", "inspect", container, "--format", "{{json .NetworkSettings.Networks}}")
    return [f"{one['IPAddress']}:{port}" for one in json.loads(said).values()]


def test_what_needs_no_world_has_none(cluster: Cluster, host: str) -> None:
    for service in ("orchestrator", "sandbox-http", "engine", "synthesis", "training", "serving"):
        found = cluster.inside(service, *WORLD, host)
        assert found["reaches"] == [] and found["resolves"] == [], service
        nobody_at_the_end(cluster, service, found["default_route"], host)


def test_the_world_is_reached_through_the_proxy_and_metadata_is_not(cluster: Cluster) -> None:
    with http_server(cluster.open_port), http_server(0) as closed_port:
        good = f"http://{own_address()}:{cluster.open_port}/"
        forbidden = {
            f"http://{own_address()}:{closed_port}/": "a port that nobody allowed",
            "http://169.254.169.254/latest/meta-data/": "cloud metadata",
            f"http://[fd00:ec2::254]:{cluster.open_port}/": "cloud metadata by IPv6",
            f"http://0.0.0.0:{cluster.open_port}/": "the proxy itself",
            f"http://[::1]:{cluster.open_port}/": "the proxy itself by IPv6",
        }
        for service in ("synthesis", "training"):
            statuses = cluster.inside(service, good, *forbidden)["statuses"]
            assert statuses.pop(good) == 200, service
            assert set(statuses.values()) == {403}, (service, statuses)


@contextmanager
def http_server(port: int) -> Iterator[int]:
    """Answers 200 to everything on all addresses of this machine; its port."""
    with ThreadingHTTPServer(("0.0.0.0", port), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_images_tell_their_parts(cluster: Cluster) -> None:
    for image, part in (("sense-gateway", "fastapi"), ("sense-sandbox", "apsw"), ("sense-orchestrator", "redis")):
        command = ("docker", "run", "--rm", "--network", "none", "--entrypoint", "cat", image, "/app/sbom.cdx.json")
        bill = json.loads(cluster.run(*command))
        assert bill["bomFormat"] == "CycloneDX"
        names = {one["name"] for one in bill["components"]}
        assert {part, "sense-sql"} <= names and not names & {"pytest", "hatchling", "cyclonedx-bom"}, image


def test_limits_hold_for_every_container(cluster: Cluster) -> None:
    for container in cluster.compose("ps", "-q").split():
        said = json.loads(cluster.run("docker", "inspect", container, "--format", "{{json .HostConfig}}"))
        assert said["Memory"] > 0 and said["PidsLimit"] > 0 and said["ReadonlyRootfs"], container
        assert said["CapDrop"] == ["ALL"] and not said["Privileged"], container
