"""An event stream whose connection is cut at random bytes: nothing is lost, nothing comes twice."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from services.gateway.backend import Backend
from shared.client.client import SenseClient
from tests.support.gateway import Driver, serve

EVENTS = 60


class Cutter:
    """Passes bytes on to a gateway and cuts every connection after a random number of them, often inside an event."""

    def __init__(self, target: tuple[str, int], seed: int) -> None:
        self.target, self.rng, self.cuts = target, random.Random(seed), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=(near, self.rng.randrange(300, 6000)), daemon=True).start()

    def pass_on(self, near: socket.socket, budget: int) -> None:
        with near, socket.create_connection(self.target) as far:
            threading.Thread(target=pump, args=(near, far), daemon=True).start()
            try:
                while data := far.recv(min(512, budget)):
                    near.sendall(data)
                    budget -= len(data)
                    if budget <= 0:
                        self.cuts += 1
                        break
            except OSError:
                pass
            for end in (near, far):  # closing alone waits for the other thread's recv
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        return


@contextmanager
def cutter(url: str, seed: int) -> Iterator[Cutter]:
    parts = urlsplit(url)
    made = Cutter((parts.hostname or "", parts.port or 0), seed)
    try:
        yield made
    finally:
        made.listener.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cuts_lose_and_repeat_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("shared.client.client.RECONNECT_S", 0.01)
    driver = Driver(backend)
    driver.add("write", 0)

    def write() -> None:
        for step in range(EVENTS):
            driver.progress("write", 0, step=step, text="x" * (step % 7) * 40)
            time.sleep(0.005)
        driver.end()

    with serve(backend) as url, cutter(url, seed) as between:
        writer = threading.Thread(target=write)
        writer.start()
        with SenseClient(between.url) as client:
            followed = [event.id for event in client.events(driver.id, follow=True)]
        writer.join()
        with SenseClient(url) as client:
            listed = [event.id for event in client.events(driver.id)]
    assert followed == listed
    assert len(set(followed)) == len(followed) == EVENTS + len(["job.submitted", "stage.closed", "job.succeeded"])
    assert between.cuts >= 3
