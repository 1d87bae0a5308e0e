"""Stands between a stack and its S3 server: passes bytes on, or answers 503, or is slow, or takes no writes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Literal, Self

REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
# as MinIO says it
FULL_BODY = b"<Error><Code>XMinioStorageFull</Code><Message>Storage has no free space</Message></Error>"
FULL = (
    b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(FULL_BODY), FULL_BODY)
)
HEAD_END = b"\r\n\r\n"
Mode = Literal["pass", "503", "slow", "full"]


class StoreProxy:
    """Listens on a free port of this machine; `endpoint` is `host:port`. In `slow`, every answer comes late."""

    def __init__(self, upstream: str, *, late_s: float = 0.3) -> None:
        host, _, port = upstream.rpartition(":")
        self.upstream = (host, int(port))
        self.late_s = late_s
        self.mode: Mode = "pass"
        self.refused = self.delayed = 0
        self.lock = threading.Lock()
        self.tunnels: set[socket.socket] = set()
        self.server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"127.0.0.1:{self.server.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()
        self._cut()

    @contextmanager
    def fault(self, mode: Mode) -> Iterator[None]:
        """In this mode for a while; connections that were open when it changes are cut, as when a server restarts."""
        self.mode = mode
        self._cut()
        try:
            yield
        finally:
            self.mode = "pass"
            self._cut()

    def _cut(self) -> None:
        with self.lock:
            tunnels, self.tunnels = self.tunnels, set()
        for one in tunnels:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if self.mode == "503":
                client.recv(65536)
                with self.lock:
                    self.refused += 1
                client.sendall(REFUSAL)
                return
            head = b""
            if self.mode == "full":
                head = one_request(client)
                if head.startswith((b"PUT ", b"POST ")):
                    self._refuse_write(client)
                    return
            with socket.create_connection(self.upstream, timeout=10) as upstream:
                upstream.settimeout(None)
                with self.lock:
                    self.tunnels |= {client, upstream}
                upstream.sendall(head)
                back = threading.Thread(target=self._pump, args=(upstream, client, True), daemon=True)
                back.start()
                self._pump(client, upstream, False)
                back.join()

    def _refuse_write(self, client: socket.socket) -> None:
        with self.lock:
            self.refused += 1
        client.sendall(FULL)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(2)
        while client.recv(65536):  # a reset, for bytes that nobody read, would overtake the answer
            pass

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.mode == "slow":
                    with self.lock:
                        self.delayed += 1
                    time.sleep(self.late_s)
                target.sendall(data)
        with self.lock:
            self.tunnels -= {source, target}
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def one_request(client: socket.socket) -> bytes:
    """What came first of a request, changed to be its connection's last: the next one has to be looked at as well."""
    head = b""
    while HEAD_END not in head and (data := client.recv(65536)):
        head += data
    return head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
