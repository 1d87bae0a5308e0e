"""An OpenAI-compatible endpoint of ours, over real HTTP, that fails on command and counts what it sold.

    with OpenAiServer(answer=lambda request: "SELECT 1") as server:
        profile = EndpointProfile(name="test", base_url=server.base_url)

With `places` it works on so many calls at once and refuses the next with 429; `latency_s` may be a function of the
request, such as `log_normal_latency(2.0)`.

As a process: `python -m tests.support.openai_server --port 8099 --answer tests.support.writers:strong_writer`.
"""

import argparse
import hashlib
import importlib
import json
import math
import random
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.faults import Fault, FaultPlan

Request = dict[str, Any]
Answer = Callable[[Request], str | list[str]]
Quirk = Callable[[Request], tuple[int, Any] | None]
IDEMPOTENCY = "x_idempotency_key"


def request_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the canonical JSON of a request's body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def recorded_answers(path: Path, otherwise: Answer | None = None) -> Answer:
    """Answers from a JSON file that maps request hashes to a text or a list of texts."""
    recorded: dict[str, str | list[str]] = json.loads(path.read_text(encoding="utf-8"))

    def answer(request: Request) -> str | list[str]:
        body = {name: value for name, value in request.items() if name != IDEMPOTENCY}
        if (found := recorded.get(request_hash(body))) is not None:
            return found
        if otherwise is None:
            raise KeyError(f"{path} holds no answer for the request {request_hash(body)}")
        return otherwise(request)

    return answer


def log_normal_latency(mean_s: float, sigma: float = 0.6) -> Callable[[Request], float]:
    """Seconds that depend on the prompt alone, so that every client of the same prompts has to wait as long."""
    mu = math.log(mean_s) - sigma * sigma / 2

    def seconds(request: Request) -> float:
        return random.Random(request_hash({"messages": request["messages"]})).lognormvariate(mu, sigma)

    return seconds


class OpenAiServer:
    """Serves `/v1/chat/completions` and `/v1/models` on a free port of this machine.

    `answer` gets the request's body, with the header `Idempotency-Key` as `x_idempotency_key`, and gives one
    text (repeated `n` times) or a list of texts. `calls` counts arrivals and `sold` whole answers, by idempotency
    key where one was sent, else by the body's hash. `quirk` gets the request's body and may give a status and a body of
    its own (JSON, or text as it is) in place of an answer; None: the usual one.
    `peak` is the most calls that were open at once, `refused` those
    for which no place was free. GET `/counts` has the sums, for a client in another process.
    """

    def __init__(
        self,
        answer: Answer = lambda _request: "SELECT 1",
        *,
        faults: FaultPlan | None = None,
        latency_s: float | Callable[[Request], float] = 0.0,
        places: int | None = None,
        retry_after: str | None = None,
        keep: bool = True,
        api_key: str | None = None,
        models: Sequence[str] = ("test-model",),
        report_usage: bool = True,
        honour_n: bool = True,
        quirk: Quirk = lambda _request: None,
        port: int = 0,
    ) -> None:
        self.answer, self.faults = answer, faults or FaultPlan()
        self.latency = latency_s if callable(latency_s) else lambda _request: latency_s
        self.places, self.retry_after, self.keep = places, retry_after, keep
        self.api_key, self.models = api_key, list(models)
        self.report_usage, self.honour_n, self.quirk = report_usage, honour_n, quirk
        self.paths: list[str] = []
        self.calls: Counter[str] = Counter()
        self.sold: Counter[str] = Counter()
        self.sold_of: Counter[str] = Counter()
        self.faults_done: Counter[Fault] = Counter()
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Request] = []
        self.arrivals: list[float] = []
        self.open_calls = self.peak = self.broken_off = self.arrived = self.taken = self.refused = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._http = _Http(("127.0.0.1", port), _Handler, self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def arrive(self, body: Request, headers: dict[str, str]) -> tuple[str, Fault | None]:
        """Counts a call and draws its fault."""
        key = headers.get("idempotency-key") or request_hash(body)
        with self.lock:
            fault = self.faults.draw(self.arrived, request_hash(body), self.calls[key])
            self.calls[key] += 1
            self.arrived += 1
            if self.keep:
                self.bodies.append(body)
                self.headers.append(headers)
                self.arrivals.append(time.monotonic())
            self.open_calls += 1
            self.peak = max(self.peak, self.open_calls)
            if fault is not None:
                self.faults_done[fault] += 1
        return key, fault

    def take(self) -> bool:
        """A place to work on a call, where one is free."""
        with self.lock:
            if self.places is not None and self.taken >= self.places:
                self.refused += 1
                return False
            self.taken += 1
            return True

    def give_back(self) -> None:
        with self.lock:
            self.taken -= 1

    def counts(self) -> dict[str, int]:
        """The sums since the start."""
        with self.lock:
            return {"arrived": self.arrived, "refused": self.refused, "sold": self.sold.total(), "peak": self.peak}

    def completion(self, body: Request, key: str) -> Request:
        """The body of a whole answer."""
        wanted = int(body.get("n") or 1) if self.honour_n else 1
        answered = self.answer(body | {IDEMPOTENCY: key})
        texts = [answered] * wanted if isinstance(answered, str) else list(answered)[:wanted]
        prompt = sum(len(str(message["content"]).split()) for message in body["messages"])
        completion = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {
            "id": f"chatcmpl-{key[:24]}",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": body["model"],
            "choices": [
                {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                for index, text in enumerate(texts)
            ],
        } | ({"usage": usage} if self.report_usage else {})


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], owner: OpenAiServer) -> None:
        super().__init__(address, handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of the tests, and counted by the handler."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        owner = self.server.owner
        if self.path == "/counts":
            self._json(200, owner.counts())
        elif self.path != "/v1/models":
            self._error(404, "no such path", None)
        elif self._authorised():
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in owner.models]
            self._json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, fault = owner.arrive(body, {name.lower(): value for name, value in self.headers.items()})
        try:
            self._answer(body, key, fault)
        except (BrokenPipeError, ConnectionResetError):
            with owner.lock:
                owner.broken_off += 1
            self.close_connection = True
        finally:
            with owner.lock:
                owner.open_calls -= 1

    def _answer(self, body: Request, key: str, fault: Fault | None) -> None:
        owner = self.server.owner
        owner.paths.append(self.path)
        if self.path.partition("?")[0] != "/v1/chat/completions":
            return self._error(404, "no such path", None)
        if not self._authorised():
            return None
        if body["model"] not in owner.models:
            return self._error(404, f"The model `{body['model']}` does not exist", "model_not_found")
        if not owner.take():
            headers = {} if owner.retry_after is None else {"Retry-After": owner.retry_after}
            return self._error(429, "Too many requests at once", "rate_limit_exceeded", headers)
        try:
            if self._client_left_within(owner.latency(body)):
                raise BrokenPipeError
        finally:
            owner.give_back()
        if fault is not None:
            return self._fail(fault, body, key)
        if (odd := owner.quirk(body)) is not None:
            status, said = odd
            if isinstance(said, str):
                return self._send(status, said.encode(), "text/plain")
            return self._json(status, said)
        completion = owner.completion(body, key)
        with owner.lock:
            owner.sold[key] += 1
            owner.sold_of[body["model"]] += 1
        return self._stream(completion) if body.get("stream") else self._json(200, completion)

    def _authorised(self) -> bool:
        expected = self.server.owner.api_key
        given = self.headers.get("Authorization", "")
        if expected is None or given == f"Bearer {expected}":
            return True
        self._error(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}.", "invalid_api_key")
        return False

    def _fail(self, fault: Fault, body: Request, key: str) -> None:
        owner = self.server.owner
        status = STATUS_FAULTS.get(fault)
        if status is not None:
            headers = {"Retry-After": owner.faults.retry_after} if fault is Fault.RATE_LIMIT else {}
            return self._error(status[0], status[1], status[2], headers)
        if fault is Fault.HTML:
            return self._send(200, b"<!doctype html><html><body>Sign in</body></html>", "text/html")
        if fault is Fault.MALFORMED:
            return self._send(200, json.dumps(owner.completion(body, key)).encode()[:-20], "application/json")
        if fault is Fault.EMPTY_CHOICES:
            return self._json(200, owner.completion(body, key) | {"choices": []})
        return self._break(fault, json.dumps(owner.completion(body, key)).encode())

    def _break(self, fault: Fault, data: bytes) -> None:
        self.close_connection = True
        if fault is Fault.STALL:
            if self._client_left_within(60.0):
                raise BrokenPipeError
        elif fault is Fault.TRUNCATED:
            self._head(200, len(data), "application/json", {})
            self.wfile.write(data[: len(data) // 2])
        elif fault is Fault.TRICKLE:
            self._head(200, len(data), "application/json", {})
            for position in range(len(data)):
                self.wfile.write(data[position : position + 1])
                if self.server.owner.stopping.wait(0.05):
                    return
        else:
            # Linger of 0 s: closing sends a TCP reset instead of a goodbye.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _client_left_within(self, seconds: float) -> bool:
        """Waits; True as soon as the client closes its side."""
        ends, waiting = time.monotonic() + seconds, select.poll()
        waiting.register(self.connection, select.POLLIN)
        while (left := ends - time.monotonic()) > 0 and not self.server.owner.stopping.is_set():
            if waiting.poll(1000 * min(left, 0.2)):
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    return True
                time.sleep(min(0.02, left))
        return False

    def _stream(self, completion: Request) -> None:
        """Server-sent events: a word at a time for each choice, then the usage."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        base = {"id": completion["id"], "object": "chat.completion.chunk", "created": 0, "model": completion["model"]}
        for choice in completion["choices"]:
            for word in choice["message"]["content"].split(" "):
                self._event(base, [{"index": choice["index"], "delta": {"content": f"{word} "}, "finish_reason": None}])
            self._event(base, [{"index": choice["index"], "delta": {}, "finish_reason": "stop"}])
        self._event(base | {"usage": completion.get("usage")}, [])
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, base: Request, choices: list[Request]) -> None:
        self.wfile.write(f"data: {json.dumps(base | {'choices': choices})}\n\n".encode())

    def _json(self, status: int, content: Request, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), "application/json", headers)

    def _error(self, status: int, message: str, code: str | None, headers: Mapping[str, str] | None = None) -> None:
        self._json(status, {"error": {"message": message, "type": code, "code": code, "param": None}}, headers)

    def _send(self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, len(data), kind, headers or {})
        self.wfile.write(data)

    def _head(self, status: int, length: int, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


STATUS_FAULTS: dict[Fault, tuple[int, str, str | None]] = {
    Fault.RATE_LIMIT: (429, "Rate limit reached for requests", "rate_limit_exceeded"),
    Fault.QUOTA: (429, "You exceeded your current quota", "insufficient_quota"),
    Fault.SERVER_ERROR: (500, "The server had an error", "server_error"),
    Fault.OVERLOADED: (503, "The engine is overloaded", "service_unavailable"),
    Fault.CONTEXT_LENGTH: (400, "This model's maximum context length is 4096 tokens", "context_length_exceeded"),
    Fault.CONTENT_FILTER: (400, "The response was filtered", "content_filter"),
    Fault.BAD_REQUEST: (400, "Unsupported parameter: 'seed'", "unsupported_parameter"),
}


def main() -> None:
    """Serves until killed; prints the base URL as its first line."""
    parser = argparse.ArgumentParser(description="OpenAI-compatible test server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answer", default=None, help="module:function")
    parser.add_argument("--recorded", type=Path, default=None, help="JSON file of recorded answers")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--log-normal", action="store_true", help="the latency is the mean of a log-normal one")
    parser.add_argument("--places", type=int, default=None, help="calls at once; 429 for the next")
    parser.add_argument("--retry-after", default=None, help="seconds, sent with a 429 for want of a place")
    parser.add_argument("--model", action="append", default=None)
    given = parser.parse_args()
    answer: Answer = lambda _request: "SELECT 1"  # noqa: E731
    if given.answer:
        module, _, function = given.answer.partition(":")
        answer = getattr(importlib.import_module(module), function)
    if given.recorded:
        answer = recorded_answers(given.recorded, answer if given.answer else None)
    models = given.model or ["test-model"]
    with OpenAiServer(
        answer,
        latency_s=log_normal_latency(given.latency) if given.log_normal else given.latency,
        places=given.places,
        retry_after=given.retry_after,
        keep=False,
        models=models,
        port=given.port,
    ) as server:
        print(server.base_url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
