"""The console's first view: bytes over the wire, requests, first paint and the drawn job list, in fresh profiles.

`python -m tests.bench.bench_console`: a gateway in this process, 200 jobs, headless Chromium; a bare page of the same
server is loaded beside it as the baseline. Times are of the browser's own clock, from the start of the navigation.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from shared.contracts.spec import parse_spec
from tests.browser.chromium import OPTIONS, REASON, find_chromium
from tests.support.gateway import make_backend, serve
from tests.support.valkey import start_valkey

JOBS, TRIES = 200, 15
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def load(browser: Browser, url: str, drawn: str) -> tuple[float, float, int, float]:
    """Milliseconds to the first paint and until `drawn` is there; requests; bytes over the wire."""
    context = browser.new_context()
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    page.goto(url)
    page.wait_for_selector(drawn)
    done = float(page.evaluate("performance.now()"))
    page.wait_for_load_state("networkidle")
    paint = float(page.evaluate(PAINT))
    context.close()
    return paint, done, len(sizes), sum(sizes)


def report(name: str, found: list[tuple[float, float, int, float]]) -> None:
    """Medians of the times; the weight is the same every time."""
    paint, done = (statistics.median(one[column] for one in found) for column in (0, 1))
    _, _, requests, size = found[0]
    print(f"{name:<26} first paint {paint:5.0f} ms   drawn {done:5.0f} ms   {requests:3} requests   {size:7.0f} B")


def main() -> int:
    """Measures and prints; nothing is asserted."""
    path = find_chromium()
    if path is None:
        print(REASON)
        return 0
    with (
        tempfile.TemporaryDirectory() as folder,
        start_valkey(Path(folder) / "valkey") as redis_url,
        sync_playwright() as playwright,
    ):
        backend = make_backend(redis_url, Path(folder) / "objects")
        for number in range(JOBS):
            backend.jobs.submit(parse_spec({"kind": "synthesis", "name": f"job {number}"}))
        with serve(backend) as url:
            browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
            load(browser, url, "table.jobs")
            report("a bare page (healthz)", [load(browser, f"{url}/healthz", "body") for _ in range(TRIES)])
            report("the console's first view", [load(browser, url, "table.jobs") for _ in range(TRIES)])
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
