"""Which parts of the stack do not answer yet."""

import urllib.error
import urllib.request

import redis
from pydantic import SecretStr

from services.cli.stack.config import StackFile
from services.cli.terminal import stack_at
from shared.errors import SenseError
from shared.jobs.workers import WorkerRegistry
from shared.redis import connect_redis
from shared.settings import RedisSettings

PROBE_S = 1.0


def answers(url: str) -> bool:
    """Whether a GET comes back with a good status."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_S) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False


def is_own_gateway(stack: StackFile) -> bool:
    """Whether the gateway at the stack's address is of this very start: another clone may have been quicker."""
    return stack_at(stack.gateway_url) == stack.id and answers(f"{stack.gateway_url}/readyz")


def silent_workers(stack: StackFile) -> list[str]:
    """Queues without a living worker; all of them while Redis is away."""
    settings = RedisSettings(url=SecretStr(stack.redis_url))
    try:
        living = WorkerRegistry(connect_redis(settings), settings.prefix).living()
    except (SenseError, redis.RedisError):
        return ["redis"]
    return [f"worker-{queue}" for queue, slots in living.items() if not slots]


def unready(stack: StackFile) -> list[str]:
    """Names of programs that do not answer."""
    missing = silent_workers(stack)
    if not is_own_gateway(stack):
        missing.append("gateway")
    for name, url in (
        ("engine", f"{stack.engine_url}/health"),
        ("sandbox-http", f"{stack.sandbox_url}/readyz"),
        ("serving-http", f"{stack.serving_url}/healthz"),
        ("flower", f"{stack.flower_url}/healthcheck"),
    ):
        if not answers(url):
            missing.append(name)
    return missing
