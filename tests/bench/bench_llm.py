"""The client's throughput against a plain flood at fixed numbers of calls, and what a call costs of the processor.

    python -m tests.bench.bench_llm [--places 48] [--calls 1000] [--repeats 3] [--retry-after 1]

The endpoint is the tests' server in a process of its own: log-normal latency, mean 2 s, so many places, 429 for the
next call. Latencies depend on the prompt alone, so everyone waits for the same. First a sweep over fixed numbers finds
the best flood; then that flood and ours run in turn, and the medians are compared. Ours is not told the places.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai

from shared.contracts.records import Message
from shared.llm.client import ChatClient
from shared.llm.concurrency import endpoint_limit
from shared.llm.endpoints import EndpointProfile
from shared.llm.messages import ChatRequest
from shared.storage.directory import DirectoryStore

PROMPT = "Write one example of a database, a question and its SQL. " * 20


@dataclass
class Run:
    """One way through all calls."""

    name: str
    seconds: float
    cpu_ms: float
    refused: float
    rate: float

    @property
    def width(self) -> int:
        """A flood's calls at once."""
        return int(self.name.split()[1])


@contextmanager
def server(*words: str) -> Iterator[str]:
    """The test server as a process; its base URL."""
    command = [sys.executable, "-m", "tests.support.openai_server", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def counts(url: str) -> dict[str, int]:
    """The server's sums."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/counts", timeout=30) as answer:
        return dict(json.load(answer))


def prompt(number: int) -> str:
    return f"{PROMPT} Number {number}."


async def flood(url: str, calls: int, width: int) -> None:
    """`width` calls at once with nothing in between; a refused one is made again after a tenth of a second."""
    places = asyncio.Semaphore(width)

    async def one(client: openai.AsyncOpenAI, number: int) -> None:
        async with places:
            while True:
                try:
                    await client.chat.completions.create(
                        model="test-model", messages=[{"role": "user", "content": prompt(number)}], max_tokens=64
                    )
                    return
                except openai.RateLimitError:
                    await asyncio.sleep(0.1)

    async with (
        openai.DefaultAsyncHttpxClient(trust_env=False, timeout=120, limits=openai.DEFAULT_CONNECTION_LIMITS) as http,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as client,
    ):
        await asyncio.gather(*(one(client, number) for number in range(calls)))


def ours(url: str, calls: int, name: str) -> int:
    """All calls through the client, its answers recorded; the number of calls at once that it ended at."""
    profile = EndpointProfile(name=name, base_url=url)
    requests = [
        ChatRequest(model="test-model", messages=[Message(role="user", content=prompt(number))], max_tokens=64)
        for number in range(calls)
    ]
    with tempfile.TemporaryDirectory(prefix="sense-bench-") as folder:
        list(ChatClient(profile, DirectoryStore(Path(folder))).stream_many(requests))
    return int(endpoint_limit(profile).limit)


def measured(name: str, url: str, calls: int, work: object) -> Run:
    """Wall time, CPU time of this process, and the server's refusals."""
    before, began, cpu = counts(url), time.monotonic(), time.process_time()
    work()  # type: ignore[operator]
    seconds, spent, after = time.monotonic() - began, time.process_time() - cpu, counts(url)
    arrived, refused = after["arrived"] - before["arrived"], after["refused"] - before["refused"]
    run = Run(name, seconds, 1000 * spent / calls, refused / arrived, calls / seconds)
    print(
        f"  {name:<24} {run.rate:7.2f} calls/s   429: {100 * run.refused:5.2f} %   CPU {run.cpu_ms:5.2f} ms a call",
        flush=True,
    )
    return run


def flooded(url: str, calls: int, width: int) -> Run:
    """One flood, measured."""
    return measured(f"flood, {width} at once", url, calls, lambda: asyncio.run(flood(url, calls, width)))


def compare(given: argparse.Namespace, url: str, best: int) -> None:
    """Ours in turn with the best flood and with one of exactly the places, which is refused nothing."""
    runs: dict[str, list[Run]] = {}
    for turn in range(given.repeats):
        for width in dict.fromkeys((best, given.places)):
            runs.setdefault(f"a flood of {width}", []).append(flooded(url, given.calls, width))
        name = f"bench-{turn}"
        runs.setdefault("ours", []).append(
            measured("ours", url, given.calls, lambda name=name: ours(url, given.calls, name))
        )
    rate = {name: statistics.median(run.rate for run in several) for name, several in runs.items()}
    for name, several in runs.items():
        print(
            f"median of {given.repeats}: {name} {rate[name]:.2f} calls/s (ours: {100 * rate['ours'] / rate[name]:.1f} "
            f"% of it), 429 {100 * statistics.median(run.refused for run in several):.2f} %, CPU "
            f"{statistics.median(run.cpu_ms for run in several):.2f} ms a call"
        )


def main() -> None:
    """Prints every run and the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=int, default=48)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--retry-after", default=None)
    parser.add_argument("--best", type=int, default=None, help="the best flood, where a sweep has found it before")
    given = parser.parse_args()
    words = ["--log-normal", "--latency", str(given.latency), "--places", str(given.places)]
    words += ["--retry-after", given.retry_after] if given.retry_after else []
    with server(*words) as url:
        print(f"{given.places} places, log-normal latency of mean {given.latency:g} s, {given.calls} calls")
        best = given.best
        if best is None:
            widths = sorted({given.places * part // 8 for part in (4, 7, 8, 9, 12)})
            best = max((flooded(url, given.calls // 2, width) for width in widths), key=lambda run: run.rate).width
        compare(given, url, best)


if __name__ == "__main__":
    main()
