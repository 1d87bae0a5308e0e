"""The compose project, started for real: from a copy of this repository, with secrets of its own, gone afterwards.

Where the machine has no Docker or reaches no registry, `SENSE_CLUSTER_TOOL` names a folder with `up.sh` and `down.sh`
that bring an engine and stand-ins for the base images (WORKDIR PROJECT [compose arguments]).
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.compose.secrets_file import read_env
from shared.client.client import SenseClient
from tests.support.s3_server import free_ports

REPO = Path(__file__).parents[2]
BUILD_S, UP_S, STEP_S = 3000, 300, 300


@dataclass
class Cluster:
    """A started project: where its files lie, how to reach its engine, how long it took to be healthy."""

    project: Path
    environment: dict[str, str]
    up_s: float = 0.0
    open_port: int = 0  # of other machines, allowed by SENSE_EGRESS_PORTS

    def compose(self, *words: str, limit_s: float = STEP_S, given: str | None = None) -> str:
        """`docker compose WORDS`; what it said. Raises AssertionError with its complaint."""
        return self.run("docker", "compose", *words, limit_s=limit_s, given=given)

    def run(self, *command: str, limit_s: float = STEP_S, given: str | None = None) -> str:
        """A command in the project's folder."""
        done = subprocess.run(
            command,
            cwd=self.project,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def client(self) -> SenseClient:
        """The gateway with the operator's key."""
        values = read_env(self.project / ".env")
        return SenseClient(f"http://127.0.0.1:{values['SENSE_PORT_GATEWAY']}", api_key=values["SENSE_ADMIN_KEY"])

    def containers(self) -> list[dict[str, Any]]:
        """Every container as compose tells it."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def inside(self, service: str, *addresses: str) -> dict[str, Any]:
        """What a process of that service can do."""
        script = (Path(__file__).parent / "inside.py").read_text()
        answer = self.compose("exec", "-T", service, "python", "-", *addresses, given=script)
        found: dict[str, Any] = json.loads(answer)
        return found

    def image_sizes(self) -> dict[str, int]:
        """Bytes of each image of ours."""
        lines = self.run("docker", "image", "ls", "--format", "{{.Repository}} {{.ID}}").splitlines()
        names = {name: digest for name, digest in (line.split() for line in lines) if name.startswith("sense-")}
        sizes = {n: self.run("docker", "image", "inspect", d, "--format", "{{.Size}}") for n, d in names.items()}
        return {name: int(size) for name, size in sorted(sizes.items())}


def copy_project(folder: Path) -> Path:
    """The files that git knows, in a folder where `.env` may be written."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (REPO / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, target)
    return folder


def with_engine(work: Path, environment: dict[str, str]) -> dict[str, str]:
    """The environment in which `docker` reaches the engine: the tool's own, or the machine's."""
    if "SENSE_CLUSTER_TOOL" not in os.environ:
        return environment
    return {**environment, "DOCKER_HOST": f"unix://{work}/docker.sock", "DOCKER_CONFIG": str(work / "cfg")}


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Built, up and healthy; at the end everything is taken down with its volumes.

    `SENSE_CLUSTER_WORK` keeps the tool's engine with its built images for the next time.
    """
    tool, kept = os.environ.get("SENSE_CLUSTER_TOOL"), os.environ.get("SENSE_CLUSTER_WORK")
    work = Path(kept) if kept else folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    project = copy_project(folder / "sense")
    cluster = Cluster(project, with_engine(work, dict(os.environ)))
    ports = dict(zip(("SENSE_PORT_GATEWAY", "SENSE_PORT_FLOWER", "SENSE_EGRESS_PORTS"), free_ports(3), strict=True))
    cluster.open_port = ports["SENSE_EGRESS_PORTS"]
    (project / ".env").write_text("".join(f"{name}={port}\n" for name, port in ports.items()))
    cluster.run("python3", "-m", "infra.compose.secrets_file")
    try:
        if tool:
            cluster.run("bash", f"{tool}/up.sh", str(work), str(project), "config", "-q", limit_s=BUILD_S)
        else:
            cluster.compose("-f", "docker-compose.yml", "-f", "infra/compose/pinned.yaml", "build", limit_s=BUILD_S)
        began = time.monotonic()
        cluster.compose("up", "-d", "--wait", "--wait-timeout", str(UP_S), limit_s=UP_S + 30)
        cluster.up_s = time.monotonic() - began
        yield cluster
    finally:
        end(cluster, tool, work, keep=kept is not None)


def end(cluster: Cluster, tool: str | None, work: Path, *, keep: bool) -> None:
    """No container, network or volume is left; an engine that the tool started only where it is kept."""
    try:
        cluster.compose("down", "--volumes", "--remove-orphans", "-t", "5")
    finally:
        if tool and not keep:
            cluster.run("bash", f"{tool}/down.sh", str(work), str(cluster.project))
