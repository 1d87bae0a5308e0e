"""A gateway for tests: real Redis-compatible server, real directory store, real HTTP; jobs are moved by hand."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
import uvicorn

from services.gateway.app import create_app
from services.gateway.backend import Backend
from services.gateway.keys.service import KeySigner
from services.gateway.settings import GatewaySettings
from services.orchestrator.archive import archive_job
from shared.contracts.base import ObjectRef, ShardFinished
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import parse_spec
from shared.jobs.events import JobEvents
from shared.jobs.plan import EachShard, FixedShards, JobPlan, StagePlan
from shared.jobs.state import ErrorInfo
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegistry
from shared.llm.endpoints import EndpointProfile
from shared.redis import connect_redis
from shared.settings import RedisSettings, SandboxSettings, ServingSettings
from shared.storage.directory import DirectoryStore
from tests.support.s3_server import free_ports

# The gateway runs in the test's own process: its lines would mix with what commands print.
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.ReturnLoggerFactory()
)
LEASE_S = 30.0
PLAN = JobPlan(
    stages=[
        StagePlan(id="write", task="synthesis.write_examples", source=FixedShards(shards=[{}, {}])),
        StagePlan(
            id="verify", task="sandbox.verify_examples", source=EachShard(stage="write", fields={"written": "written"})
        ),
        StagePlan(id="report", task="evaluation.score", source=FixedShards(shards=[{}]), after=["verify"]),
    ]
)
SMALL_SPEC = {"kind": "synthesis", "name": "small"}


def make_backend(
    url: str,
    root: Path,
    *,
    engine_url: str = "http://127.0.0.1:9",
    sandbox: SandboxSettings | None = None,
    serving_url: str = "http://127.0.0.1:9",
    **settings: Any,
) -> Backend:
    """A backend under a key prefix of its own, with two endpoints that a spec may name."""
    client = connect_redis(RedisSettings.model_validate({"url": url}))
    prefix = f"test-{uuid4().hex[:8]}:"
    profiles = [
        EndpointProfile(name="engine", base_url=f"{engine_url}/v1"),
        EndpointProfile(name="teacher", base_url="http://127.0.0.1:9/v1", models=["large"]),
    ]
    return Backend(
        jobs=JobStore(client, prefix),
        objects=DirectoryStore(root),
        board=WorkerRegistry(client, prefix),
        redis_url=url,
        engine_url=engine_url,
        endpoints={profile.name: profile for profile in profiles},
        settings=GatewaySettings.model_validate({"poll_s": 0.02, "hosts": "testserver", **settings}),
        sandbox=sandbox or SandboxSettings(url="http://127.0.0.1:9"),
        serving=ServingSettings(url=serving_url),
        signer=KeySigner([b"tests-own-signing-secret"]),
    )


@contextmanager
def serve(backend: Backend, port: int | None = None) -> Iterator[str]:
    """The gateway by uvicorn in a thread; yields its URL."""
    port = port or free_ports(1)[0]
    backend.stopping.clear()
    config = uvicorn.Config(
        create_app(backend), host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        backend.stopping.set()
        server.should_exit = True
        thread.join(10)


class Driver:
    """Moves one job as orchestrator and workers would, through the store's own steps."""

    def __init__(self, backend: Backend, *, plan: bool = True, **spec: Any) -> None:
        self.backend, self.jobs = backend, backend.jobs
        self.id = self.jobs.submit(parse_spec({**SMALL_SPEC, **spec}))[0]
        if plan:
            self.jobs.set_plan(self.id, PLAN)

    def add(self, stage: str, *shards: int) -> None:
        """Adds queued rows and closes the stage."""
        self.jobs.add_shards(self.id, stage, {shard: {} for shard in shards})
        self.jobs.close_stage(self.id, stage)

    def claim(self, stage: str, shard: int) -> str:
        """Starts a shard; its token."""
        token = uuid4().hex
        attempt = self.jobs.shard(self.id, stage, shard).attempt
        answer = self.jobs.claim(self.id, stage, shard, attempt, token=token, worker="w", lease_s=LEASE_S)
        assert answer == "ok"
        return token

    def finish(self, stage: str, shard: int, outputs: dict[str, bytes], counts: dict[str, int] | None = None) -> None:
        """Claims and finishes a shard; outputs by file name such as `written.jsonl`."""
        token, refs = self.claim(stage, shard), dict[str, ObjectRef]()
        for name, data in outputs.items():
            refs[name.partition(".")[0]] = self.backend.objects.put(f"jobs/{self.id}/{stage}/{shard}.1.{name}", data)
        contract = CONTRACTS[next(part.task for part in PLAN.stages if part.id == stage)]
        fact = ShardFinished(name=contract.event, job_id=self.id, stage=stage, shard=shard, attempt=1, outputs=refs)
        zeros = {name: 0 for name, field in contract.counts.model_fields.items() if field.is_required()}
        assert self.jobs.finish(fact, contract.counts.model_validate({**zeros, **(counts or {})}), token=token)

    def fail(self, stage: str, shard: int, message: str) -> None:
        """Claims and fails a shard for good."""
        token = self.claim(stage, shard)
        error = ErrorInfo(code="boom", message=message)
        assert self.jobs.fail(self.id, stage, shard, token=token, error=error, pause_s=0)

    def progress(self, stage: str, shard: int, **data: Any) -> None:
        """A progress record."""
        JobEvents(self.jobs.client, self.jobs.prefix, self.id).progress(stage, shard, data)

    def end(self, status: str = "succeeded", error: ErrorInfo | None = None) -> None:
        """Ends the job and archives it."""
        assert self.jobs.end(self.id, status, error)
        archive_job(self.jobs, self.backend.objects, self.id, PLAN)

    def complete(self) -> None:
        """Every stage done, with outputs, and the job succeeded."""
        for stage, files in (("write", ("written.jsonl",)), ("verify", ("examples.jsonl",))):
            self.add(stage, 0, 1)
            for shard in (0, 1):
                self.finish(stage, shard, {name: f"{stage} {shard}\n".encode() for name in files})
        self.add("report", 0)
        report = {"report.json": b"{}", "markdown.md": b"# R", "html.html": b"<p>R", "terminal.txt": b"R"}
        self.finish("report", 0, report, {"arms": 2})
        self.end()

    def forget(self) -> None:
        """Redis loses everything of this store."""
        for key in self.jobs.client.scan_iter(match=f"{self.jobs.prefix}*", count=1000):
            self.jobs.client.delete(key)
