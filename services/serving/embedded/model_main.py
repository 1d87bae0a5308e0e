"""The child process: holds torch and the weights, speaks lines of JSON, and ends when its stdin does."""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO


def _read(inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass messages on; at the end of stdin the parent is gone or wants the memory back, so leave at once."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(0)


def _private_stdout() -> TextIO:
    """The pipe to the parent; what libraries print goes to stderr instead."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return pipe


def main() -> None:
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox,), daemon=True).start()
    pipe = _private_stdout()
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            pipe.write(json.dumps(message) + "\n")

    import torch

    from services.serving.embedded.llama import pick_dtype
    from services.serving.embedded.model_cache import ModelCache
    from services.serving.embedded.scheduler import BatchScheduler
    from services.serving.settings import EmbeddedEngineSettings

    settings = EmbeddedEngineSettings()
    dtype = pick_dtype(settings.dtype)
    models = ModelCache(settings, dtype, lambda names: send({"event": "memory", "models": names}))
    room, cores = (settings.rows, settings.tokens), ThreadLimiter(settings.threads, torch.set_num_threads)
    batcher = BatchScheduler(inbox, models, room, send, cores)
    send({"event": "ready"})
    batcher.run()


CHECK_EVERY_S = 0.5
PROC_STAT = Path("/proc/stat")


class ThreadLimiter:
    """Calls `use` with a new thread count, at most `limit`, when what other processes use has changed it."""

    def __init__(self, limit: int, use: Callable[[int], None]) -> None:
        self._limit = limit
        self._use = use
        self._threads = limit
        self._seen = (time.monotonic(), busy_seconds(), time.process_time())
        use(limit)

    def look(self) -> None:
        now = (time.monotonic(), busy_seconds(), time.process_time())
        wall, busy, own = (new - old for new, old in zip(now, self._seen, strict=True))
        if wall < CHECK_EVERY_S:
            return
        self._seen = now
        threads = free_threads(self._limit, os.cpu_count() or 1, (busy - own) / wall)
        if threads != self._threads:
            self._threads = threads
            self._use(threads)


def free_threads(limit: int, cores: int, used_by_others: float) -> int:
    """`used_by_others` in cores; at least one thread."""
    return max(1, min(limit, round(cores - max(0.0, used_by_others))))


def busy_seconds() -> float:
    """Processor time that all processes have used since boot; 0 where the system does not tell."""
    try:
        fields = PROC_STAT.read_text("ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
