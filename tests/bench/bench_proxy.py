"""What our proxy costs: the gateway before an engine, against the engine alone, in pairs of the same run.

    python -m tests.bench.bench_proxy [MODEL_DIR] [--pairs 5] [--requests 48] [--level 16] [--no-model]

First an engine that answers at once and streams 25 tokens, some 20 ms apart: the difference of the medians is what the
proxy adds to the first token and to the whole answer. Pauses vary by half, so that requests come as people's do; and
once they are all equal, so that 16 requests come in the same instant: the worst case, where the last one waits for the
work of all. Processor time a request is told too: unlike latency it does not depend on what else the machine does. Then
the embedded engine with the small model at `level` requests in flight, streamed.
"""

import argparse
import asyncio
import functools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.bench.bench_engine import ANSWER, MODEL, make_questions
from tests.support.s3_server import free_ports
from tests.support.valkey import start_valkey
from tests.unit.serving.engine_process import EngineProcess

TOKENS, PAUSE_S = 25, 0.02
VARIES = 0.5  # of a pause, either way


@dataclass
class Timing:
    """One request: seconds to its first text and to its end, and how many chunks of text came."""

    first: float
    whole: float
    chunks: int


async def instant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, varies: float) -> None:
    """An engine that is always ready; keeps connections."""
    rng = random.Random()
    event = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.lower().split(b"\r\n")
            await reader.readexactly(next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(TOKENS):
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                await writer.drain()
                await asyncio.sleep(PAUSE_S * rng.uniform(1.0 - varies, 1.0 + varies))
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve_instant(port: int, varies: float) -> None:
    server = await asyncio.start_server(functools.partial(instant, varies=varies), "127.0.0.1", port)
    await server.serve_forever()


@contextmanager
def process(*words: str, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(
        [sys.executable, "-m", *words], env=os.environ | environment, stderr=subprocess.DEVNULL
    ) as one:
        try:
            yield one
        finally:
            one.terminate()


def wait_answering(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url, timeout=1)
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


async def ask(http: httpx.AsyncClient, url: str, messages: list[dict[str, str]]) -> Timing:
    began = time.perf_counter()
    body = {"model": "m", "messages": messages, "max_tokens": ANSWER, "temperature": 0, "stream": True}
    first, chunks = 0.0, 0
    async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_raw():
            first = first or time.perf_counter() - began
            chunks += chunk.count(b"data: {")
    return Timing(first, time.perf_counter() - began, chunks)


async def load(url: str, questions: list[list[dict[str, str]]], level: int) -> tuple[list[Timing], float]:
    gate = asyncio.Semaphore(level)
    limits = httpx.Limits(max_connections=level, max_keepalive_connections=level)
    async with httpx.AsyncClient(timeout=600, limits=limits, trust_env=False) as http:
        await ask(http, url, questions[0])  # opens a connection

        async def one(messages: list[dict[str, str]]) -> Timing:
            async with gate:
                return await ask(http, url, messages)

        began = time.perf_counter()
        timings = await asyncio.gather(*map(one, questions))
        return list(timings), time.perf_counter() - began


def pairs(engine: str, gateway: str, pid: int, questions: list[list[dict[str, str]]], level: int, count: int) -> None:
    """Engine and gateway in turn; medians over all requests, ratios a pair."""
    found: dict[str, list[Timing]] = {engine: [], gateway: []}
    rates: dict[str, list[float]] = {engine: [], gateway: []}
    spent = 0.0
    for number in range(count):
        for url in (engine, gateway) if number % 2 else (gateway, engine):
            before = sum(psutil.Process(pid).cpu_times()[:2])
            timings, seconds = asyncio.run(load(url, questions, level))
            spent += (sum(psutil.Process(pid).cpu_times()[:2]) - before) if url == gateway else 0.0
            found[url] += timings
            rates[url].append(sum(one.chunks for one in timings) / seconds)
    ratios = [ours / own for ours, own in zip(rates[gateway], rates[engine], strict=True)]
    first = [1000 * statistics.median(one.first for one in found[url]) for url in (engine, gateway)]
    whole = [1000 * statistics.median(one.whole for one in found[url]) for url in (engine, gateway)]
    requests = count * (len(questions) + 1)
    print(f"  throughput, {level} in flight: {statistics.median(ratios):.3f} of the engine's own, pairs", end=" ")
    print(", ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"  median first text: {first[0]:.1f} -> {first[1]:.1f} ms, added {first[1] - first[0]:+.1f} ms")
    print(f"  median whole answer: {whole[0]:.1f} -> {whole[1]:.1f} ms, added {whole[1] - whole[0]:+.1f} ms")
    print(f"  gateway: {1000 * spent / requests:.2f} ms of processor time a request of {TOKENS} chunks")
    print(f"  (machine load {os.getloadavg()[0]:.1f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=MODEL)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--level", type=int, default=16)
    parser.add_argument("--no-model", action="store_true")
    parser.add_argument("--serve-instant", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--varies", type=float, default=VARIES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve_instant:
        asyncio.run(serve_instant(given.serve_instant, given.varies))
    questions = make_questions(given.requests)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(start_valkey(folder))
        for level, varies, how in (
            (1, VARIES, ""),
            (given.level, VARIES, ""),
            (given.level, 0.0, ", all in one instant"),
        ):
            port = free_ports(1)[0]
            words = ("--serve-instant", str(port), "--varies", str(varies))
            print(f"an engine that answers at once{how}")
            with (
                process("tests.bench.bench_proxy", *words),
                gateway_before(f"http://127.0.0.1:{port}", redis, folder) as (url, pid),
            ):
                wait_answering(f"http://127.0.0.1:{port}")
                asked = questions[:12] if level == 1 else questions * (4 if varies else 1)
                pairs(f"http://127.0.0.1:{port}", url, pid, asked, level, given.pairs)
        if given.no_model:
            return
        engine = EngineProcess(folder / "engine")
        stack.callback(engine.stop)
        engine.engine.load("m", str(given.model.resolve()))
        print("the embedded engine, small model")
        with gateway_before(engine.url, redis, folder) as (url, pid):
            pairs(engine.url, url, pid, questions, given.level, given.pairs)


@contextmanager
def gateway_before(engine: str, redis: str, folder: Path) -> Iterator[tuple[str, int]]:
    """The gateway's own process before that engine: its address and pid."""
    port = free_ports(1)[0]
    environment = {"SENSE_ENGINE_URL": engine, "SENSE_REDIS_URL": redis, "SENSE_STORE_ROOT": str(folder / "objects")}
    environment |= {"SENSE_LOG_LEVEL": "INFO", "SENSE_LOG_FORMAT": "json"}
    with process("services.gateway", "--port", str(port), **environment) as running:
        wait_answering(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}", running.pid


if __name__ == "__main__":
    main()
