"""The gateway under load: submitting, following, listing; a real process, a real Valkey with its append-only file.

    python -m tests.bench.bench_gateway [--jobs 10000] [--seconds 20]

Submissions come at 100 a second whether or not the ones before are answered (an open loop, so that waiting counts).
An event's way is timed from the moment its record is written to the moment its client has read it.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from shared.contracts.spec import parse_spec
from shared.jobs.events import JobEvents
from shared.jobs.store import JobStore
from shared.redis import connect_redis
from shared.settings import RedisSettings
from tests.support.s3_server import free_ports
from tests.support.valkey import start_valkey

PREFIX = "bench:"
RATE = 100
FOLLOWERS = 20
EVENTS = 40
LISTINGS = 60
SPEC = {"kind": "synthesis", "name": "bench"}


@contextmanager
def gateway(redis_url: str, root: Path) -> Iterator[str]:
    """The process as the stack starts it."""
    with gateway_process(redis_url, root) as (url, _):
        yield url


@contextmanager
def gateway_process(redis_url: str, root: Path) -> Iterator[tuple[str, int]]:
    """Its address, and the process's number."""
    port = free_ports(1)[0]
    own = {"SENSE_REDIS_URL": redis_url, "SENSE_REDIS_PREFIX": PREFIX, "SENSE_STORE_ROOT": str(root)}
    environment = {**os.environ, **own, "SENSE_LOG_LEVEL": "INFO"}
    command = [sys.executable, "-m", "services.gateway", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_ready(url)
            yield url, process.pid
        finally:
            process.terminate()


def wait_ready(url: str) -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError("the gateway did not start")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def say(what: str, seconds: list[float]) -> None:
    ms = [value * 1000 for value in seconds]
    middle = statistics.median(ms)
    print(f"{what}: median {middle:.1f} ms, p95 {percentile(ms, 0.95):.1f} ms, p99 {percentile(ms, 0.99):.1f} ms")


async def submit_all(url: str, seconds: float) -> list[float]:
    """Latencies of submissions at RATE a second."""
    took: list[float] = []

    async def one(http: httpx.AsyncClient) -> None:
        began = time.perf_counter()
        answer = await http.post("/v1/jobs", json=SPEC)
        answer.raise_for_status()
        took.append(time.perf_counter() - began)

    limits = httpx.Limits(max_connections=100)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as http, asyncio.TaskGroup() as group:
        start = time.perf_counter()
        for number in range(int(RATE * seconds)):
            await asyncio.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            group.create_task(one(http))
    return took


async def follow_all(url: str, store: JobStore) -> list[float]:
    """Seconds from an event's record to its reader, over FOLLOWERS streams of as many jobs."""
    ids = [store.submit(parse_spec(SPEC))[0] for _ in range(FOLLOWERS)]
    took: list[float] = []

    async def follow(http: httpx.AsyncClient, job_id: str) -> None:
        async with http.stream("GET", f"/v1/jobs/{job_id}/events/stream") as answer:
            seen = 0
            async for line in answer.aiter_lines():
                if line.startswith("data:") and '"sent"' in line:
                    took.append(time.time() - float(line.partition('"sent":')[2].partition("}")[0].rstrip(",}")))
                    seen += 1
                    if seen == EVENTS:
                        return

    async def write() -> None:
        await asyncio.sleep(1.0)
        for number in range(EVENTS):
            for job_id in ids:
                JobEvents(store.client, store.prefix, job_id).progress("write", number, {"sent": time.time()})
            await asyncio.sleep(0.1)

    async with httpx.AsyncClient(base_url=url, timeout=60) as http, asyncio.TaskGroup() as group:
        for job_id in ids:
            group.create_task(follow(http, job_id))
        group.create_task(write())
    return took


def list_all(url: str) -> dict[str, list[float]]:
    """Seconds a page of 20, at the beginning, deep inside, and with a filter."""
    took: dict[str, list[float]] = {"first page": [], "next pages": [], "filtered page": []}
    with httpx.Client(base_url=url, timeout=30) as http:
        after = None
        for _ in range(LISTINGS):
            for name, params in (
                ("first page", {"limit": "20"}),
                ("next pages", {"limit": "20", **({"after": after} if after else {})}),
                ("filtered page", {"limit": "20", "kind": "pairing"}),
            ):
                began = time.perf_counter()
                page = http.get("/v1/jobs", params=params).raise_for_status().json()
                took[name].append(time.perf_counter() - began)
                after = page["last_id"] if name == "next pages" else after
    return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_valkey(Path(folder) / "redis", append_only=True) as redis_url:
        store = JobStore(connect_redis(RedisSettings.model_validate({"url": redis_url})), PREFIX)
        with gateway(redis_url, Path(folder) / "objects") as url:
            say(f"POST /v1/jobs at {RATE} a second", asyncio.run(submit_all(url, chosen.seconds)))
            say("event to its SSE client", asyncio.run(follow_all(url, store)))
            spec = parse_spec(SPEC)
            while len(store.job_ids()) < chosen.jobs:
                for _ in range(500):
                    store.submit(spec)
            print(f"{len(store.job_ids())} jobs")
            for name, seconds in list_all(url).items():
                say(f"GET /v1/jobs, {name}", seconds)


if __name__ == "__main__":
    main()
