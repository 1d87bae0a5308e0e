"""A vLLM server, started by this process or run by somebody else, and the client for its API."""

import asyncio
import contextlib
import os
import shlex
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, NoReturn, Protocol

import httpx

from services.serving.registry import REFERENCE_TEXT
from services.serving.settings import VllmSettings
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.logging import get_logger
from shared.processes.lifecycle import without_secrets

POLL_S = 0.3
SETTLE_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 120.0
TAIL_LINES = 6
HIDDEN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")  # vLLM has an environment of its own
log = get_logger()


class VllmServer(Protocol):
    """`life` changes whenever vLLM may have forgotten its adapters."""

    life: int

    @property
    def url(self) -> str:
        """The address, without /v1. Raises UnavailableError while vLLM is not running."""
        ...

    @property
    def running(self) -> bool:
        """Whether it answers, as far as this process knows."""
        ...

    async def ensure(self, base_dir: str) -> str:
        """Makes vLLM serve this base and returns the base's name in vLLM.

        Raises UnavailableError or InvalidInputError.
        """
        ...

    async def release(self) -> None:
        """Frees the memory. Raises ConflictError if vLLM cannot."""
        ...

    def lost(self) -> None:
        """A connection broke: vLLM may have ended."""
        ...

    async def settle(self) -> None:
        """Call this when vLLM could not be reached: waits briefly until it is clear whether it ended."""
        ...

    def why_down(self) -> str:
        """One sentence on why vLLM does not answer."""
        ...


class ManagedServer:
    """A vLLM that we start, through `run_with_parent`, so that it ends with this process, whatever kills it."""

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
        # `run_with_parent` ends vLLM when this pipe closes
        child.stdin.close()
        await child.wait()

    async def _start(self, base_dir: str) -> None:
        self._port, self._base_dir = free_port(), base_dir
        self.life += 1
        command = [sys.executable, "-m", "services.serving.vllm.run_with_parent", *self._command(base_dir)]
        log.info("vllm.starting", base=base_dir, port=self._port, log=str(self._log))
        with self._log.open("wb") as out:
            self._child = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=out, stderr=out, env=self._environment()
            )
        try:
            await self._wait_healthy()
        # a cancelled request, too, must not leave a vLLM behind that nobody waits for
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
        kept = {name: value for name, value in without_secrets(os.environ).items() if name not in HIDDEN_VARIABLES}
        # a command line would show the key to everybody
        key = {"VLLM_API_KEY": self._settings.key} if self._settings.key else {}
        fixed = {**key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
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
        """Nothing to do: the state of the child says whether it ended."""

    async def settle(self) -> None:
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), SETTLE_TIMEOUT_S)

    def why_down(self) -> str:
        code = self._child.returncode if self._child else None
        if code is None:
            return "vLLM is not running; the next request starts it"
        lines = self._log.read_text(errors="replace").splitlines() if self._log.is_file() else []
        return f"vLLM ended with code {code}; the end of {self._log}: " + " / ".join(lines[-TAIL_LINES:])[-900:]


class ExternalServer:
    """A vLLM that somebody else runs. It can be put to sleep if it was started with sleep mode, but not stopped."""

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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class VllmClient:
    """Loads and unloads adapters. Each call takes the `url`, because a restarted server has another port."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def load(self, url: str, name: str, adapter_dir: str) -> None:
        """Raises InvalidInputError, NotFoundError, ConflictError or UnavailableError with vLLM's reason."""
        await self._post(url, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": adapter_dir}, name)

    async def unload(self, url: str, name: str) -> None:
        """Does nothing if the adapter is not loaded."""
        try:
            await self._post(url, "/v1/unload_lora_adapter", {"lora_name": name}, name)
        except NotFoundError:
            return

    async def reference_logprobs(self, url: str, name: str) -> list[float]:
        body = {"model": name, "prompt": REFERENCE_TEXT, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        answer = (await self._post(url, "/v1/completions", {**body, "add_special_tokens": False}, name)).json()
        try:
            return [
                round(next(iter(one.values()))["logprob"], 6) for one in answer["choices"][0]["prompt_logprobs"][1:]
            ]
        except (KeyError, TypeError, StopIteration, IndexError) as error:
            raise UnavailableError(
                f"vLLM gave no prompt_logprobs for '{name}'; its version is not known here"
            ) from error

    async def _post(self, url: str, path: str, body: dict[str, Any], name: str) -> httpx.Response:
        try:
            answer = await self._http.post(url + path, json=body, timeout=REQUEST_TIMEOUT_S)
        except httpx.HTTPError as error:
            message = f"vLLM does not answer ({type(error).__name__}) while '{name}' is loaded or checked"
            raise UnavailableError(message, code="engine_died") from error
        if answer.is_error:
            raise_refusal(answer, path, name)
        return answer


def raise_refusal(answer: httpx.Response, path: str, name: str) -> NoReturn:
    """Raises vLLM's refusal as one of our errors. A 404 of the address itself means that a setting is missing."""
    message = read_error(answer).get("message") or f"{answer.status_code} without a reason"
    # FastAPI's own 404 has `detail`: the address does not exist, as opposed to an adapter
    if answer.status_code == 404 and "detail" in answer.text and "lora" in path:
        raise InvalidInputError(
            f"vLLM takes no adapters at run time: start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True ({path} is 404)"
        )
    kinds: dict[int, type[SenseError]] = {
        404: NotFoundError,
        400: ConflictError if "already" in message else InvalidInputError,
    }
    if "max_lora_rank" in message or "rank" in message:
        raise InvalidInputError(f"vLLM refuses the adapter '{name}': {message}", code="lora_rank")
    raise kinds.get(answer.status_code, InvalidInputError)(f"vLLM refuses '{name}': {message}", code="engine_refused")


def read_error(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return dict(error) if isinstance(error, dict) else {"message": str(error)}
