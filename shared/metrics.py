"""The product's Prometheus metrics; a process with SENSE_METRICS_PORT serves them."""

import atexit
import os
import shutil
import socket
import tempfile
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from shared.http.guard import Guard, check_bind_address, guard_wsgi
from shared.settings import MetricsSettings


def share_between_forks() -> None:
    """A worker's tasks run in forks, which share values through a folder. Call it before `prometheus_client` loads."""
    if MetricsSettings().port is None or "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        return
    folder, owner = tempfile.mkdtemp(prefix="sense-metrics-"), os.getpid()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    # forks inherit the handler, and only the owner may delete the folder
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)


share_between_forks()

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app  # noqa: E402
from prometheus_client.exposition import ThreadingWSGIServer  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

SHARDS = Counter("sense_shards_total", "Shards settled by this process", ["task", "end"])
SHARD_SECONDS = Histogram(
    "sense_shard_seconds", "Seconds a shard worked", ["task"], buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800)
)
JOBS = Gauge("sense_jobs", "Jobs by kind and status", ["kind", "status"])
QUEUE_DEPTH = Gauge("sense_queue_depth", "Shards sent or running by queue", ["queue", "state"])
WORKER_SLOTS = Gauge("sense_worker_slots", "Slots of living workers by queue", ["queue"])
REDIS_MEMORY = Gauge("sense_redis_memory_bytes", "Memory of Redis: used, and the limit that holds", ["kind"])
LEADING = Gauge(
    "sense_orchestrator_leading", "1 where this orchestrator works, 0 on standby", multiprocess_mode="livemax"
)
ROUND_SECONDS = Histogram(
    "sense_orchestrator_round_seconds",
    "Seconds of one round of the orchestrator's loops",
    ["loop"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
)
JOBS_BROKEN = Counter("sense_jobs_broken_total", "Jobs that an error of their own ended, put aside or put off", ["end"])
LEASES_EXPIRED = Counter("sense_leases_expired_total", "Leases that ran out and were reaped")
LLM_TOKENS = Counter("sense_llm_tokens_total", "Tokens by model and direction", ["model", "direction"])
LLM_CALLS = Counter(
    "sense_llm_calls_total",
    "Calls by end: ok, an error's code, or cached",
    ["endpoint", "model", "end"],
)
LLM_SECONDS = Histogram(
    "sense_llm_call_seconds",
    "Seconds from a call to its whole answer",
    ["endpoint", "model"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256),
)
LLM_USD = Counter("sense_llm_usd_total", "Dollars paid, by the profile's prices", ["endpoint", "model"])
LLM_CONCURRENCY = Gauge(
    "sense_llm_concurrency",
    "Calls at once that an endpoint was found to take",
    ["endpoint"],
    multiprocess_mode="livesum",
)
WALLS = Gauge(
    "sense_sandbox_wall",
    "1 where children of this process stand behind the kernel's wall, 0 where it has none",
    ["wall"],
    multiprocess_mode="livemin",
)
OUTCOMES = Counter("sense_sandbox_outcomes_total", "Outcomes of SQL run in the sandbox", ["outcome"])


class MetricsServer6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class QuietHandler(WSGIRequestHandler):
    """No log line for each scrape."""

    timeout = 10.0  # a silent connection releases its thread after this

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def expose_metrics() -> None:
    """Serves the metrics of this process and its forks if SENSE_METRICS_PORT is set.

    Raises `InvalidInputError` if other machines could reach them without a token.
    """
    settings = MetricsSettings()
    if settings.port is None:
        return
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    guard = Guard.from_settings()
    check_bind_address(settings.host, guard)
    app = guard_wsgi(make_wsgi_app(registry), guard)
    kind = MetricsServer6 if ":" in settings.host else ThreadingWSGIServer
    server = make_server(settings.host, settings.port, app, kind, handler_class=QuietHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
