"""The front before vLLM as a process of its own, for tests."""

import os
import subprocess
import sys
import time
from pathlib import Path

from openai import OpenAI

from services.serving.engine_client import EngineClient
from tests.support.s3_server import free_ports


class FrontProcess:
    """`settings` become SENSE_VLLM_…; the rest of the environment is this process's."""

    def __init__(self, state: Path, **settings: str) -> None:
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "services.serving.vllm", "--port", str(port), "--state", str(state)]
        environment = {f"SENSE_VLLM_{name.upper()}": value for name, value in settings.items()}
        self.process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
        self.engine = EngineClient(self.url)
        self.openai = OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=600)
        ends = time.monotonic() + 60
        while not self.engine.healthy():
            assert self.process.poll() is None, "the front ended at its start"
            assert time.monotonic() < ends, "the front did not start"
            time.sleep(0.05)

    def health(self) -> dict:
        return self.engine._call("GET", "/health")

    def ask(self, model: str, question: str, **more) -> str:
        answer = self.openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], temperature=0, **{"max_tokens": 12, **more}
        )
        return answer.choices[0].message.content

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
