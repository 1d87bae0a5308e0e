"""What a process of a service can do inside its container, as JSON. Sent there over stdin; standard library alone.

docker compose exec -T SERVICE python - HOST:PORT... URL... < tests/cluster/inside.py

Addresses are tried directly, URLs as the service's clients ask for them: through the proxy of its environment.
"""

import json
import os
import resource
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

REACH_S = 2.0
PLACES = ("/", "/app", "/etc", "/usr/local", "/var/tmp", "/home", "/opt", "/root", "/run", "/dev", "/tmp", "/state")
NAMES = ("example.com", "pypi.org")


def status() -> dict[str, str]:
    """The kernel's words about this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def writable(folder: str) -> bool:
    """Whether a file can be made there."""
    probe = Path(folder) / ".probe"
    try:
        probe.write_text("x")
        probe.unlink()
    except OSError:
        return False
    return True


def reaches(address: str) -> bool:
    """Whether somebody takes a connection, or at least refuses one: a refusal came back over the network too."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=REACH_S):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def status_of(url: str) -> int:
    """The HTTP status of the answer; 0 where none came."""
    try:
        with urllib.request.urlopen(url, timeout=4 * REACH_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def resolves(name: str) -> bool:
    """Whether the name has an address here."""
    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def gateway() -> str | None:
    """The default route's next hop, where there is one."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return socket.inet_ntoa(bytes.fromhex(fields[2])[::-1])
    return None


def raised() -> bool:
    """Whether this process can become root."""
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def main() -> None:
    said = status()
    found = {
        "uid": os.getuid(),
        "capabilities": [said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no_new_privileges": said["NoNewPrivs"] == "1",
        "seccomp": said["Seccomp"],
        "became_root": raised(),
        "writable": [place for place in PLACES if writable(place)],
        "resolves": [name for name in NAMES if resolves(name)],
        "default_route": gateway(),
        "reaches": [address for address in sys.argv[1:] if "://" not in address and reaches(address)],
        "statuses": {url: status_of(url) for url in sys.argv[1:] if "://" in url},
        "pids": resource.getrlimit(resource.RLIMIT_NPROC)[0],
    }
    print(json.dumps(found))


main()
