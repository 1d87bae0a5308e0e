"""Training jobs on a tiny base with real task, real Redis and real processes, and ways to kill them."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from shared.contracts.base import Queue, ShardFinished
from shared.contracts.registry import CONTRACTS
from shared.contracts.spec import SynthesisSpec
from shared.jobs.plan import FixedShards, JobPlan, StagePlan
from shared.jobs.state import ShardRecord, ShardState
from shared.jobs.store import JobStore
from shared.models.manifest import ModelManifest, read_manifest
from shared.storage.directory import DirectoryStore
from shared.storage.minio_store import MinioStore
from shared.storage.store import ObjectStore
from tests.unit.jobs.helpers import open_jobs

LEASE_S = 2.0
PATIENCE_S = 120.0
REPO = Path(__file__).parents[2]


@dataclass
class TrainingWorld:
    """Redis, an object store, one worker process at a time, and the sweeps that an orchestrator would do."""

    folder: Path
    environment: dict[str, str]
    base: Path
    worker: "subprocess.Popen[bytes] | None" = None

    @cached_property
    def jobs(self) -> JobStore:
        return open_jobs(self.environment["SENSE_REDIS_URL"], self.environment["SENSE_REDIS_PREFIX"])

    @property
    def objects(self) -> ObjectStore:
        """The store that the worker's environment names."""
        place = self.environment
        if place.get("SENSE_STORE_KIND") != "minio":
            return DirectoryStore(place["SENSE_STORE_ROOT"])
        return MinioStore(
            endpoint=place["SENSE_STORE_ENDPOINT"],
            access_key=place["SENSE_STORE_ACCESS_KEY"],
            secret_key=place["SENSE_STORE_SECRET_KEY"],
            bucket="sense",
        )

    def submit(self, data: bytes, name: str, more: dict[str, Any] | None = None, **settings: Any) -> str:
        """A job of one stage on `data`, SFT unless `more` says otherwise; its model is called `name`."""
        collect = StagePlan(id="collect.train", task="synthesis.collect", source=FixedShards(shards=[{}]))
        params = {
            "method": "sft",
            "recipe": "sft",
            "model": name,
            "base": str(self.base),
            "data": {"stage": "collect.train"},
            "output": "sft",
            "settings": {"preset": "cpu-smoke", **settings},
            **(more or {}),
        }
        train = StagePlan(id="sft", task="training.train_model", source=FixedShards(shards=[{}]), params=params)
        jobs = self.jobs
        job, _ = jobs.submit(SynthesisSpec(kind="synthesis"))
        jobs.set_plan(job, JobPlan(stages=[collect, train]))
        jobs.add_shards(job, collect.id, {0: {}})
        self._collected(job, data)
        jobs.add_shards(job, train.id, {0: {}})
        jobs.close_stage(job, train.id)
        return job

    def _collected(self, job: str, data: bytes) -> None:
        """The upstream stage as it would have ended."""
        ref = self.objects.put(f"jobs/{job}/collect.train/0.1.sft.jsonl", data)
        contract, jobs = CONTRACTS["synthesis.collect"], self.jobs
        assert jobs.claim(job, "collect.train", 0, 1, token="t", worker="w", lease_s=60) == "ok"
        fact = ShardFinished(
            name=contract.event, job_id=job, stage="collect.train", shard=0, attempt=1, outputs={"sft": ref}
        )
        counts = contract.counts.model_validate(dict.fromkeys(contract.counts.model_fields, 0))
        assert jobs.finish(fact, counts, token="t")

    # the worker and what runs below it

    def start_worker(self) -> None:
        """A worker, where none lives."""
        if self.worker is None or self.worker.poll() is not None:
            command = [sys.executable, "-m", "tests.support.training_worker"]
            with (self.folder / "worker.log").open("ab") as log:
                self.worker = subprocess.Popen(
                    command, cwd=REPO, env={**os.environ, **self.environment}, stdout=log, stderr=log
                )

    def children(self) -> list[psutil.Process]:
        """The training processes below the worker."""
        if self.worker is None or self.worker.poll() is not None:
            return []
        return psutil.Process(self.worker.pid).children(recursive=True)

    def kill(self, what: str) -> None:
        """SIGKILLs the `run`, the `worker`, or `both`; the run must never outlive its worker."""
        assert self.worker is not None
        children = self.children()
        if what in ("run", "both"):
            for child in children:
                child.kill()
        if what in ("worker", "both"):
            self.worker.kill()
            self.worker.wait()
            _, left = psutil.wait_procs(children, timeout=20)
            assert not left, f"training processes outlive their worker: {left}"

    def stop(self) -> None:
        """Ends the worker."""
        if self.worker is not None:
            self.kill("worker")

    # the job

    def row(self, job: str) -> ShardRecord:
        return self.jobs.shard(job, "sft", 0)

    def step(self, job: str) -> int:
        """The last step that the running attempt has taken, from its own folder."""
        files = Path(self.environment["SENSE_STATE"]).glob(f"work/{job}.sft.*/run/metrics.jsonl")
        newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
        lines = newest.read_text().splitlines(keepends=True) if newest else []
        whole = [line for line in lines if line.endswith("\n")]
        return int(json.loads(whole[-1])["step"]) if whole else 0

    def sweep(self) -> None:
        """What the orchestrator's sweep does for rows, and what a process manager does for workers."""
        jobs = self.jobs
        jobs.reap()
        jobs.resend(Queue.TRAINING, LEASE_S)
        self.start_worker()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Sweeps until the condition holds."""
        ends = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < ends, f"{what} did not come; the worker says:\n{self.log()[-3000:]}"
            self.sweep()
            time.sleep(0.02)

    def finish(self, job: str) -> ShardRecord:
        """The row when it is settled."""
        ended = (ShardState.DONE, ShardState.FAILED, ShardState.CANCELLED)
        self.wait(lambda: self.row(job).state in ended, f"the end of {job}")
        return self.row(job)

    def log(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")

    def curve(self, job: str) -> list[dict[str, Any]]:
        """The job's metric lines."""
        row = self.row(job)
        assert row.state == ShardState.DONE, f"{row.error}\n{self.log()[-3000:]}"
        return [json.loads(line) for line in self.objects.get(row.outputs["metrics"].key).splitlines()]

    def manifest(self, name: str) -> ModelManifest:
        return read_manifest(self.objects, name)


def make_world(folder: Path, redis_url: str, tiny_base: Path, **store: str) -> TrainingWorld:
    """Everything but a worker, which comes with the first sweep."""
    environment = {
        "SENSE_REDIS_URL": redis_url,
        "SENSE_REDIS_PREFIX": f"k{uuid.uuid4().hex[:8]}:",
        "SENSE_STORE_ROOT": str(folder / "objects"),
        "SENSE_STATE": str(folder / "state"),
        "SENSE_MODEL_DIRS": str(tiny_base.parent),
        "SENSE_LEASE_SECONDS": str(LEASE_S),
        "SENSE_LEASE_RETRY_PAUSE_S": "0.1",
        "OMP_NUM_THREADS": "1",
        **store,
    }
    return TrainingWorld(folder, environment, tiny_base)
