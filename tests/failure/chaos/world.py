"""The stack that chaos happens to: real processes, Valkey with its append-only file, SeaweedFS behind a proxy."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from services.cli.stack.config import read_stack
from shared.client.client import SenseClient
from shared.contracts.records import Example
from shared.storage.minio_store import MinioStore
from tests.failure.test_kill import World
from tests.support.openai_server import OpenAiServer, Request
from tests.support.s3_server import S3Server
from tests.support.stack import REPO, START_S, STOP_S, Golds, Stack, stack_environment, wait_gone
from tests.support.store_proxy import StoreProxy
from tests.support.writers import request_rng, strong_writer, weak_writer

ADMIN_KEY = "chaos-operators-own-key"
LEASE_S = 3.0
AWAY_S = 2.5
CONCURRENCY = 2
VARIANTS = 5
CLOCKED = ("worker-synthesis", "worker-sandbox", "worker-pairing", "orchestrator")
CLOCK_HOOK = Path(__file__).parent / "clock"


class S3Stack(Stack):
    """A stack whose objects lie on the S3 server; tests read them past the proxy."""

    s3: str = ""

    @cached_property
    def client(self) -> SenseClient:
        return SenseClient(self.file.gateway_url, api_key=ADMIN_KEY)

    @cached_property
    def objects(self) -> MinioStore:  # type: ignore[override]
        return MinioStore(
            endpoint=self.s3, access_key=S3Server.access_key, secret_key=S3Server.secret_key, bucket="sense"
        )


class S3Golds(Golds):
    """Gold SQL by question from the S3 server."""

    def __init__(self, store: MinioStore) -> None:
        super().__init__(Path())
        self.store = store
        self.read: set[str] = set()

    def _read(self) -> None:
        for key in self.store.list("jobs/"):
            if "/verify." in key and key.endswith(".examples.jsonl") and key not in self.read:
                self.read.add(key)
                for line in self.store.get(key).splitlines():
                    example = Example.model_validate_json(line)
                    self.found.setdefault(example.question, example.gold)


@dataclass(frozen=True)
class ChaosWorld(World):
    """With the proxy before its store, and the clocks of some of its programs."""

    proxy: StoreProxy
    clocks: Path

    def paid_for(self, variant: int) -> tuple[int, int]:
        """Whole answers sold to jobs of a variant."""
        return self.strong.sold_of[f"s{variant}"], self.weak.sold_of[f"w{variant}"]

    def forget_answers(self) -> None:
        """No answer is recorded any more: jobs buy again."""
        for key in list(self.stack.objects.list("answers/")):
            self.stack.objects.delete(key)


POISON_MODEL = "poison"
POISON_SQL = (
    f"SELECT {'STRUCT(' * 30}1{')' * 30}",
    f"SELECT {'(' * 3000}1{')' * 3000}",
    f"SELECT {'NOT ' * 5000}1",
    f"SELECT '{'a' * 200_000}'",
    f"SELECT 1 {'-- ' * 20_000}",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c",
)
POISON_SCHEMAS = (
    f"CREATE TABLE a (x INTEGER);\n{'*' * 200}\nINSERT INTO a VALUES (1);",
    f"CREATE TABLE a (x INTEGER CHECK ({'(' * 900}x{')' * 900}));\nINSERT INTO a VALUES (1);",
    f"CREATE TABLE a (x INTEGER, UNIQUE {'(' * 5000}x);\nINSERT INTO a VALUES (1);",
    f"CREATE TABLE a ({', '.join(f'c{n} TEXT' for n in range(1900))});",
)


def strong_or_poison(request: Request) -> list[str]:
    """The tests' strong model; under its other name it writes what stalls readers, parsers and databases."""
    if request["model"] != POISON_MODEL:
        return strong_writer(request)
    rng, answers = request_rng(request, 0), []
    for _ in range(int(request.get("n") or 1)):
        heading = rng.choice(("Domain: trade", "*" * 60 + "Domain: trade", "#" * 5000 + " Domain: trade"))
        schema, sql = rng.choice(POISON_SCHEMAS), rng.choice(POISON_SQL)
        answers.append(f"{heading}\nSchema:\n{schema}\nQuestion: {'how ' * 2000}many?\nAnswer: {sql}")
    return answers


Happening = Callable[[ChaosWorld, str, random.Random], None]


def small_job(variant: int) -> dict[str, Any]:
    """A pairing job that pays both endpoints; a variant has models of its own, so that nothing is shared."""
    return {
        "kind": "pairing",
        "name": f"chaos-{variant}",
        "train": {"sft": [{"synthesis": 8, "per_shard": 2}]},
        "strong": {"endpoint": "strong", "model": f"s{variant}"},
        "weak": {"endpoint": "weak", "model": f"w{variant}", "samples": 2},
    }


def make_clocks(folder: Path) -> Path:
    """A clock that is right for every program whose clock may jump."""
    folder.mkdir()
    for name in CLOCKED:
        (folder / name).write_bytes(bytes(8))
    return folder


def sense(env: dict[str, str], word: str, limit_s: float) -> None:
    """`sense up` or `sense down` of such a stack. Raises `AssertionError` with what it said."""
    command = [sys.executable, "-m", "tests.failure.chaos.sense_on_s3", word]
    done = subprocess.run(command, env=env, cwd=REPO, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def chaos_world(folder: Path, *, lease_s: float = LEASE_S) -> Iterator[ChaosWorld]:
    """Everything up; at the end everything down, and no process left."""
    models = range(VARIANTS)
    with ExitStack() as held:
        (folder / "s3").mkdir()
        s3 = held.enter_context(S3Server(folder / "s3"))
        proxy = held.enter_context(StoreProxy(s3.endpoint))
        golds = S3Golds(
            MinioStore(endpoint=s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, bucket="sense")
        )
        strong = held.enter_context(
            OpenAiServer(strong_or_poison, latency_s=0.15, models=[*(f"s{n}" for n in models), POISON_MODEL])
        )
        answer = weak_writer(golds, correct=0.5)
        weak = held.enter_context(OpenAiServer(answer, latency_s=0.1, models=[f"w{n}" for n in models]))
        env = stack_environment(
            folder / "state",
            CHAOS_S3=proxy.endpoint,
            CHAOS_CLOCKS=str(make_clocks(folder / "clocks")),
            PYTHONPATH=os.pathsep.join(filter(None, [str(CLOCK_HOOK), os.environ.get("PYTHONPATH")])),
            SENSE_ADMIN_KEY=ADMIN_KEY,
            SENSE_LEASE_SECONDS=str(lease_s),
            SENSE_PROCESS_DUMPABLE="true",  # a fault reads the orchestrator's environment
            SENSE_ENDPOINT_STRONG_BASE_URL=strong.base_url,
            SENSE_ENDPOINT_STRONG_MAX_CONCURRENCY=str(CONCURRENCY),
            SENSE_ENDPOINT_WEAK_BASE_URL=weak.base_url,
            SENSE_ENDPOINT_WEAK_MAX_CONCURRENCY=str(CONCURRENCY),
        )
        (folder / "state").mkdir()
        sense(env, "up", START_S)
        file = read_stack(folder / "state")
        assert file is not None
        stack = S3Stack(file, env)
        stack.s3 = s3.endpoint
        try:
            yield ChaosWorld(stack, strong, weak, proxy, folder / "clocks")
        finally:
            stack.remember()
            sense(env, "down", STOP_S)
            left = wait_gone(folder / "state", stack.family)
        assert left == []
