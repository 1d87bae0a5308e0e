"""A tiny engine over real HTTP: two models, and a stream that waits until the test has seen its first part."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Engine(ThreadingHTTPServer):
    """`answer` is what it says; `asked` holds the bodies it got; a stream's second part waits for `go_on`."""

    daemon_threads = True

    def __init__(self, models: tuple[str, ...], answer: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.answer = models, answer
        self.asked: list[dict[str, Any]] = []
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """The addresses that the gateway passes on."""

    server: Engine

    def do_GET(self) -> None:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "sense"} for name in self.server.models]
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
        elif body.get("stream"):
            self.stream()
        else:
            message = {"role": "assistant", "content": self.server.answer}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.say(200, {"id": "c", "object": "chat.completion", "choices": [choice]})

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
