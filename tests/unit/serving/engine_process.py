"""A real engine process on a free port, for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from openai import OpenAI

from services.serving.engine_client import EngineClient


class EngineProcess:
    def __init__(self, state: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "services.serving.embedded", "--port", str(port), "--state", str(state)]
        environment = {f"SENSE_ENGINE_{name.upper()}": value for name, value in settings.items()}
        self.process = subprocess.Popen(command, env=os.environ | environment)
        self.engine = EngineClient(self.url)
        self.openai = OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=240)
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while not self.engine.healthy():
            assert self.process.poll() is None, "the engine ended at its start"
            assert time.monotonic() < end, "the engine did not start"
            time.sleep(0.1)

    def health(self) -> dict:
        return httpx.get(f"{self.url}/health").json()

    def ask(self, model: str, question: str, **more) -> str:
        answer = self.openai.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            **{"temperature": 0, "max_tokens": 12, **more},
        )
        return answer.choices[0].message.content

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def gone(pid: int, patience_s: float = 20) -> bool:
    """Whether a process ends within a while (a zombie counts as ended)."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
