"""Where vLLM runs: started by this process in its own environment, or run by somebody else."""

import asyncio
import contextlib
import os
import shlex
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, Protocol

import httpx

from services.serving.vllm.settings import VllmSettings
from shared.errors import ConflictError, InvalidInputError, UnavailableError
from shared.logging import get_logger
from shared.processes.lifecycle import without_secrets

POLL_S = 0.3
SETTLE_S = 5.0
TAIL_LINES = 6
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # of our own environment: vLLM has another
log = get_logger()


class Server(Protocol):
    """One vLLM. `life` changes whenever it may have forgotten its adapters."""

    life: int

    @property
    def url(self) -> str:
        """Its address, without /v1. Raises UnavailableError while it is not running."""
        ...

    @property
    def running(self) -> bool:
        """Whether it can be asked, as far as this process knows."""
        ...

    async def ensure(self, base_dir: str) -> str:
        """Has it serve this base; gives the base's name in vLLM. Raises UnavailableError or InvalidInputError."""
        ...

    async def release(self) -> None:
        """Gives the memory back. Raises ConflictError where that cannot be done."""
        ...

    def lost(self) -> None:
        """A connection broke: it may have ended."""
        ...

    async def settle(self) -> None:
        """It could not be reached: waits a little until it is known whether it ended."""
        ...

    def why_down(self) -> str:
        """One sentence on why it does not answer."""
        ...


class OwnServer:
    """vLLM as a child behind a keeper, so that it ends with this process, whatever kills it."""

    def __init__(self, python: Path, state: Path, settings: VllmSettings, http: httpx.AsyncClient) -> None:
        self._python, self._settings, self._http = python, settings, http
        self._log = state / "vllm.log"
        self._child: Process | None = None
        self._base_dir = ""
        self._port = 0
        self.life = 0

    @property
    def url(self) -> str:
        if not self.running:
            raise UnavailableError(self.why_down(), code="engine_died")
        return f"http://127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self.running else None

    async def ensure(self, base_dir: str) -> str:
        if self.running and self._base_dir == base_dir:
            return Path(base_dir).name
        await self.release()
        await self._start(base_dir)
        return Path(base_dir).name

    async def release(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        assert child.stdin is not None
        child.stdin.close()
        await child.wait()

    async def _start(self, base_dir: str) -> None:
        self._port, self._base_dir = free_port(), base_dir
        self.life += 1
        command = [sys.executable, "-m", "services.serving.vllm.keeper", *self._command(base_dir)]
        log.info("vllm.starting", base=base_dir, port=self._port, log=str(self._log))
        with self._log.open("wb") as out:
            self._child = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=out, stderr=out, env=self._environment()
            )
        try:
            await self._wait_healthy()
        except BaseException:
            await self.release()
            raise

    def _command(self, base_dir: str) -> list[str]:
        settings = self._settings
        return [
            *(str(self._python), "-m", "vllm.entrypoints.openai.api_server", "--model", base_dir),
            *("--served-model-name", Path(base_dir).name, "--host", "127.0.0.1", "--port", str(self._port)),
            *("--enable-lora", "--max-lora-rank", str(settings.max_lora_rank), "--max-loras", str(settings.max_loras)),
            *shlex.split(settings.options),
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in without_secrets(os.environ).items() if name not in HIDDEN}
        own = {"VLLM_API_KEY": key} if (key := self._settings.key) else {}  # a command line would show it to everybody
        fixed = {**own, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
        return {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", **kept, **fixed}

    async def _wait_healthy(self) -> None:
        ends = time.monotonic() + self._settings.start_s
        while True:
            if not self.running:
                raise UnavailableError(self.why_down(), code="engine_start_failed")
            with contextlib.suppress(httpx.HTTPError):
                if (await self._http.get(f"http://127.0.0.1:{self._port}/health", timeout=2.0)).is_success:
                    return
            if time.monotonic() > ends:
                raise UnavailableError(
                    f"vLLM did not answer within {self._settings.start_s:.0f} s of its start; its log is {self._log}",
                    code="engine_start_failed",
                )
            await asyncio.sleep(POLL_S)

    def lost(self) -> None:
        """The child's own state says it."""

    async def settle(self) -> None:
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), SETTLE_S)

    def why_down(self) -> str:
        code = self._child.returncode if self._child else None
        if code is None:
            return "vLLM is not running; the next request starts it"
        lines = self._log.read_text(errors="replace").splitlines() if self._log.is_file() else []
        return f"vLLM ended with code {code}; the end of {self._log}: " + " / ".join(lines[-TAIL_LINES:])[-900:]


class RunningServer:
    """A vLLM that somebody else runs: it can be put to sleep where it was started for that, not stopped."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url, self._http = url.rstrip("/"), http
        self.life = 0
        self.running = False
        self._asleep = False

    async def ensure(self, base_dir: str) -> str:
        if self._asleep:
            await self._call("POST", "/wake_up")
            self._asleep = False
        listed = (await self._call("GET", "/v1/models")).json()["data"]
        self.running = True
        bases = [one for one in listed if not one.get("parent")]
        for one in bases:
            if one.get("root") == base_dir or one["id"] == Path(base_dir).name:
                return str(one["id"])
        served = ", ".join(f"{one['id']} ({one.get('root')})" for one in bases)
        raise InvalidInputError(f"the vLLM at {self.url} serves {served}, not the base {base_dir}; start one for it")

    async def release(self) -> None:
        try:
            await self._call("POST", "/sleep", params={"level": "1"})
        except InvalidInputError as error:
            raise ConflictError(
                f"the vLLM at {self.url} cannot give its memory back: start it with --enable-sleep-mode and "
                "VLLM_SERVER_DEV_MODE=1, or give training a device of its own"
            ) from error
        self._asleep = True

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, self.url + path, timeout=60.0, **options)
        except httpx.HTTPError as error:
            self.lost()
            raise UnavailableError(self.why_down(), code="engine_died") from error
        if answer.is_error:
            raise InvalidInputError(f"the vLLM at {self.url} answered {answer.status_code} to {path}")
        return answer

    def lost(self) -> None:
        self.running = False
        self.life += 1

    async def settle(self) -> None:
        self.lost()

    def why_down(self) -> str:
        return f"the vLLM at {self.url} does not answer: start it again"


def free_port() -> int:
    """A free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
