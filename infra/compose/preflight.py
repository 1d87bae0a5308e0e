"""What `make up` asks before anything starts: secrets, Docker, ports. Standard library alone: runs before any setup.

What only the inside can tell (an old Redis, a store with another key, a volume of a newer version) is asked by the
compose file's `preflight` service, before any other of ours starts.
"""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.compose.secrets_file import FILE, read_env, weak_secrets

PORTS = {"SENSE_PORT_GATEWAY": 8100, "SENSE_PORT_FLOWER": 8155}
MONITORING_PORTS = {"SENSE_PORT_PROMETHEUS": 9090, "SENSE_PORT_GRAFANA": 3000}
OLDEST_COMPOSE = (2, 20)
COMMAND_S = 60


def compose(*words: str) -> "subprocess.CompletedProcess[str]":
    """A compose command's outcome, whatever it is."""
    command = ["docker", "compose", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)


def docker_faults() -> Iterator[str]:
    """No Docker, no daemon, an old compose."""
    if shutil.which("docker") is None:
        yield "docker is not installed; the embedded stack needs none: make demo"
        return
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if asked.returncode != 0:
        why = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield f"the Docker daemon does not answer ({why}); start it, or join the group docker"
        return
    version = compose("version", "--short")
    numbers = re.findall(r"\d+", version.stdout)
    if version.returncode != 0:
        yield "docker has no compose plugin; install docker-compose-plugin"
    elif tuple(map(int, numbers[:2])) < OLDEST_COMPOSE:
        yield f"compose is {version.stdout.strip()}; {'.'.join(map(str, OLDEST_COMPOSE))} is the oldest that works"


def running_ports() -> set[int]:
    """Ports that this project's own containers publish already: a second `make up` is no conflict."""
    listed = compose("ps", "--format", "json")
    ports: set[int] = set()
    for line in listed.stdout.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        for one in found if isinstance(found, list) else [found]:
            ports |= {publisher.get("PublishedPort", 0) for publisher in one.get("Publishers") or []}
    return ports


def port_faults(values: dict[str, str], wanted: dict[str, int], own: set[int]) -> Iterator[str]:
    """Ports that somebody else has."""
    host = values.get("SENSE_BIND", "127.0.0.1")
    for name, default in wanted.items():
        text = values.get(name, str(default))
        if not text.isdecimal() or not 0 < int(text) < 65536:
            yield f"{name}={text} is no port; give a number from 1 to 65535"
        elif int(text) not in own and (why := taken(host, int(text))):
            yield f"port {text} of {host} cannot be used ({why}); set {name} in {FILE} to another"


def taken(host: str, port: int) -> str | None:
    """Why a port cannot be listened on, or None."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))
    return None


def find_faults(path: Path = FILE) -> list[str]:
    """A sentence each; empty where all is well."""
    values = {**read_env(path), **{name: value for name, value in os.environ.items() if name.startswith("SENSE_")}}
    found = weak_secrets(values)
    docker = list(docker_faults())
    found += docker
    profiles = os.environ.get("COMPOSE_PROFILES", values.get("COMPOSE_PROFILES", ""))
    wanted = {**PORTS, **(MONITORING_PORTS if "monitoring" in profiles.split(",") else {})}
    return [*found, *port_faults(values, wanted, set() if docker or found else running_ports())]


def main() -> int:
    """Exit code 2 with every fault, before anything was started."""
    found = find_faults()
    for fault in found:
        print(f"make up: {fault}", file=sys.stderr)
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main())
