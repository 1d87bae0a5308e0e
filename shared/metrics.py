"""Prometheus metrics under the design's names; each process exposes or logs its own."""

from prometheus_client import Counter, Gauge, Histogram

SHARDS = Counter("sense_shards_total", "Shards settled by this process", ["task", "end"])
SHARD_SECONDS = Histogram(
    "sense_shard_seconds", "Seconds a shard worked", ["task"], buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800)
)
JOBS = Gauge("sense_jobs", "Jobs by kind and status", ["kind", "status"])
QUEUE_DEPTH = Gauge("sense_queue_depth", "Rows sent or running by queue", ["queue", "state"])
WORKER_SLOTS = Gauge("sense_worker_slots", "Slots of living workers by queue", ["queue"])
LEASES_EXPIRED = Counter("sense_leases_expired_total", "Leases that ran out and were reaped")
LLM_TOKENS = Counter("sense_llm_tokens_total", "Tokens by model and direction", ["model", "direction"])
OUTCOMES = Counter("sense_sandbox_outcomes_total", "Outcomes of SQL run in the sandbox", ["outcome"])
