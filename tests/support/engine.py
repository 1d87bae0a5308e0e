"""A tiny engine over real HTTP: two models, and a stream that waits until the test has seen its first part."""

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Engine(ThreadingHTTPServer):
    """`answer` is what it says, `answers` what it says in turn before that; `asked` holds the bodies it got, `listed`
    the paths of its GETs.

    A prompt of more than `longest` characters is refused as too long. A stream's second part waits for `go_on`, every
    other answer takes `pause_s`; `left` counts callers who hung up before it came.
    """

    daemon_threads = True

    def __init__(self, models: tuple[str, ...], answer: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.answer = models, answer
        self.asked: list[dict[str, Any]] = []
        self.listed: list[str] = []
        self.answers: list[str] = []
        self.created = dict.fromkeys(models, 0)
        self.longest = 1_000_000
        self.pause_s = 0.0
        self.left = 0
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """The addresses that the gateway passes on."""

    server: Engine

    def do_GET(self) -> None:
        self.server.listed.append(self.path)
        data = [
            {"id": name, "object": "model", "created": self.server.created.get(name, 0)} for name in self.server.models
        ]
        self.say(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if body["model"] not in self.server.models:
            error = {
                "message": f"The model {body['model']} is not served.",
                "code": "not_found",
                "type": "x",
                "param": None,
            }
            self.say(404, {"error": error})
        elif sum(len(message["content"]) for message in body["messages"]) > self.server.longest:
            error = {
                "message": "The prompt is too long.",
                "code": "context_length_exceeded",
                "type": "x",
                "param": None,
            }
            self.say(400, {"error": error})
        elif body.get("stream"):
            self.stream()
        else:
            self.complete(body.get("n", 1))

    def complete(self, count: int) -> None:
        ends = time.monotonic() + self.server.pause_s
        while time.monotonic() < ends:
            if select.select([self.connection], [], [], 0.02)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                self.server.left += 1
                self.close_connection = True
                return
        texts = [self.server.answers.pop(0) if self.server.answers else self.server.answer for _ in range(count)]
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 10, "completion_tokens": 4 * count, "total_tokens": 10 + 4 * count}
        self.say(200, {"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'data: {"part": 1}\n\n')
        self.wfile.flush()
        self.server.go_on.wait(20)
        self.wfile.write(b"data: [DONE]\n\n")

    def say(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests read no log of it."""


@contextmanager
def start_engine(*models: str, answer: str = "SELECT 1") -> Iterator[Engine]:
    """Serves until the block ends."""
    with Engine(models, answer) as engine:
        threading.Thread(target=engine.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield engine
        finally:
            engine.go_on.set()
            engine.shutdown()
