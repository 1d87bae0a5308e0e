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
from shared.llm.limiter import pace_of
from shared.llm.messages import ChatRequest
from shared.llm.profiles import EndpointProfile
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

    limits = {"limits": openai.DEFAULT_CONNECTION_LIMITS}
    async with (
        openai.DefaultAsyncHttpxClient(trust_env=False, timeout=120, **limits) as http,
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
        ChatClient(profile, DirectoryStore(Path(folder))).complete_many(requests)
    return int(pace_of(profile).limit)


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


def main() -> None:
    """Prints every run and the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=int, default=48)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--retry-after", default=None)
    given = parser.parse_args()
    words = ["--log-normal", "--latency", str(given.latency), "--places", str(given.places)]
    words += ["--retry-after", given.retry_after] if given.retry_after else []
    with server(*words) as url:
        print(f"{given.places} places, log-normal latency of mean {given.latency:g} s, {given.calls} calls")
        widths = sorted({given.places * part // 8 for part in (4, 7, 8, 9, 12)})
        few = given.calls // 2
        sweep = {
            w: measured(f"flood, {w} at once", url, few, lambda w=w: asyncio.run(flood(url, few, w))) for w in widths
        }
        best = max(sweep, key=lambda width: sweep[width].rate)
        floods, own = [], []
        for turn in range(given.repeats):
            run = lambda: asyncio.run(flood(url, given.calls, best))  # noqa: E731
            floods.append(measured(f"best flood, {best} at once", url, given.calls, run))
            own.append(measured("ours", url, given.calls, lambda turn=turn: ours(url, given.calls, f"bench-{turn}")))
        flooded, rate = (statistics.median(run.rate for run in runs) for runs in (floods, own))
        print(
            f"medians of {given.repeats}: ours {rate:.2f}, best flood {flooded:.2f} calls/s: {100 * rate / flooded:.1f}"
            f" %; 429: {100 * statistics.median(run.refused for run in own):.2f} % of our calls; CPU a call: ours "
            f"{statistics.median(run.cpu_ms for run in own):.2f} ms, flood "
            f"{statistics.median(run.cpu_ms for run in floods):.2f} ms"
        )


if __name__ == "__main__":
    main()
