"""Answers of Redis that mean "try again later": unavailable for everybody, nothing lost, over when they are over."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from pydantic import SecretStr

from services.orchestrator.dispatch import Dispatcher
from shared.contracts.base import Queue
from shared.errors import UnavailableError
from shared.jobs.events import EventReader, JobEvents
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.llm.budgets import JobBudget
from shared.redis import RETRY_LATER_REASONS, connect_redis
from shared.settings import RedisSettings
from shared.tasks.app import make_app
from tests.support.valkey import start_valkey
from tests.unit.jobs.helpers import LEASE_S, add_job, claim, finish, open_jobs, writing

LOOP = "local t = redis.call('TIME') while redis.call('TIME')[1] - t[1] < 60 do end"


class Server:
    """A server of this test's own, and the states that a real one may be in."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.admin: Any = redis.Redis.from_url(url, decode_responses=True)

    @contextmanager
    def settings(self, before: dict[str, str], after: dict[str, str]) -> Iterator[None]:
        for name, value in before.items():
            self.admin.config_set(name, value)
        try:
            yield
        finally:
            for name, value in after.items():
                self.admin.config_set(name, value)

    @contextmanager
    def busy(self) -> Iterator[None]:
        self.admin.config_set("busy-reply-threshold", "20")

        def block() -> None:
            with suppress(redis.RedisError), redis.Redis.from_url(self.url, socket_timeout=60) as client:
                client.eval(LOOP, 0)

        thread = threading.Thread(target=block)
        thread.start()
        until(lambda: answers(self.admin, "BUSY"))
        try:
            yield
        finally:
            self.admin.script_kill()
            thread.join()

    @contextmanager
    def replica(self, *, stale: str = "yes") -> Iterator[None]:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            self.admin.config_set("replica-serve-stale-data", stale)
            self.admin.execute_command("REPLICAOF", "127.0.0.1", nobody.getsockname()[1])
            try:
                yield
            finally:
                self.admin.execute_command("REPLICAOF", "NO", "ONE")

    @contextmanager
    def full(self) -> Iterator[None]:
        with self.settings({"maxmemory": "1"}, {"maxmemory": "0"}):
            yield

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        (self.folder / "dump.rdb").mkdir()  # no file can be renamed over a folder
        with self.settings({"save": "3600 1"}, {"save": ""}):
            self.admin.set("changed", 1)
            self.admin.bgsave()
            until(lambda: self.admin.info("persistence")["rdb_last_bgsave_status"] == "err")
            yield
        (self.folder / "dump.rdb").rmdir()
        self.admin.save()

    @contextmanager
    def password(self) -> Iterator[None]:
        self.admin.config_set("requirepass", "new")
        for client in self.admin.client_list(_type="normal"):
            if int(client["id"]) != self.admin.client_id():
                self.admin.client_kill_filter(_id=client["id"])
        try:
            yield
        finally:
            self.admin.config_set("requirepass", "")

    @contextmanager
    def lonely(self) -> Iterator[None]:
        with self.settings({"min-replicas-to-write": "1"}, {"min-replicas-to-write": "0"}):
            yield


STATES: dict[str, Callable[[Server], Any]] = {
    "BUSY": Server.busy,
    "READONLY": Server.replica,
    "MASTERDOWN": lambda server: server.replica(stale="no"),
    "OOM": Server.full,
    "MISCONF": Server.disk_full,
    "NOAUTH": Server.password,
    "NOREPLICAS": Server.lonely,
}


def answers(client: Any, word: str) -> bool:
    try:
        client.set("probe", 1)
    except redis.ResponseError as error:
        return word in str(error)
    return False


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends, "the server did not come into that state"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("valkey")
    with start_valkey(folder) as url:
        yield Server(url, folder)


def hasty(url: str, prefix: str) -> JobStore:
    """Without the client's own patience: what is asked here is how an answer is understood."""
    return JobStore(connect_redis(RedisSettings(url=SecretStr(url), prefix=prefix), retries=0), prefix)


def uses(jobs: JobStore, job: str, monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, Callable[[], Any]]:
    """One write of everybody who writes to Redis."""
    monkeypatch.setenv("SENSE_REDIS_URL", url)
    monkeypatch.setenv("SENSE_REDIS_PREFIX", jobs.prefix)
    monkeypatch.setenv("CELERY_BROKER_URL", url)
    board = WorkerRegistry(jobs.client, jobs.prefix)
    celery: Celery = make_app()
    celery.conf.task_publish_retry = False
    dispatcher = Dispatcher(jobs, board, celery)
    pipe = jobs.client.pipeline(transaction=True)
    pipe.set(jobs.key("x"), 1)
    return {
        "claim": lambda: claim(jobs, job, 1),
        "renewal": lambda: jobs.renew(job, "write", 0, token="t", worker="w", lease_s=LEASE_S),
        "finish": lambda: finish(jobs, job, 0),
        "cancel": lambda: jobs.cancel(job),
        "beat": lambda: board.beat(Queue.SANDBOX, "w", 1),
        "progress": lambda: JobEvents(jobs.client, jobs.prefix, job).progress("write", 0, {}),
        "facts": lambda: EventReader(jobs.client, jobs.prefix, "c").read(block_ms=1),
        "ledger": lambda: JobBudget(jobs, (job, "s", "0")),
        "message": lambda: dispatcher._send([(job, "write", 1)]),
        "pipeline": pipe.execute,
        "plain": lambda: jobs.client.set(jobs.key("y"), 1),
    }


@pytest.mark.parametrize("word", STATES)
def test_a_server_that_says_later_is_unavailable_and_nothing_is_lost(
    server: Server, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = open_jobs(server.url)
    job = add_job(jobs, writing(2))
    EventReader(jobs.client, jobs.prefix, "c").open()
    assert claim(jobs, job, 0) == "ok"
    tried = uses(hasty(server.url, jobs.prefix), job, monkeypatch, server.url)
    if word == "OOM":  # what frees memory first, and what only removes or reads, goes on
        tried = {name: tried[name] for name in ("beat", "progress", "ledger", "message", "pipeline", "plain")}
    with STATES[word](server):
        for name, use in tried.items():
            with pytest.raises(UnavailableError) as caught:
                use()
                pytest.fail(f"{name} did not notice {word}")
            assert caught.value.retryable
    assert jobs.renew(job, "write", 0, token="t", worker="w", lease_s=LEASE_S) == "ok"
    assert finish(jobs, job, 0)
    assert claim(jobs, job, 1) == "ok"


class Refusing:
    """A server that answers every command with one error, as clusters and loading servers do."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listening.getsockname()[1]}/0"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while data := connection.recv(1 << 16):
                count = data.count(b"\r\n*") + 1
                connection.sendall(f"-{self.word} said by a test\r\n".encode() * count)


@pytest.mark.parametrize("word", RETRY_LATER_REASONS)
def test_every_word_is_understood_in_commands_scripts_and_pipelines(word: str) -> None:
    refusing = Refusing(word)
    jobs = hasty(refusing.url, "p:")
    pipe = jobs.client.pipeline(transaction=False)
    pipe.get("a")
    for use in (lambda: jobs.cancel("j"), pipe.execute, lambda: jobs.client.get("a")):
        with pytest.raises(UnavailableError):
            use()
    refusing.listening.close()


def test_a_fault_of_the_command_is_no_matter_of_time(server: Server) -> None:
    client = connect_redis(RedisSettings(url=SecretStr(server.url)))
    client.set("text", "OOM BUSY")
    with pytest.raises(redis.ResponseError):
        client.hgetall("text")
    with pytest.raises(redis.ResponseError):
        client.execute_command("NO-SUCH-COMMAND", "x")
