"""Entry point of the model process, which holds torch and the weights: JSON lines on stdin and stdout."""

import json
import os
import queue
import sys
import threading
from typing import Any, TextIO


def _read(inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Ends the process at the end of stdin: the parent is gone or wants the memory back."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(0)


def _private_stdout() -> TextIO:
    """The pipe to the parent; what libraries print goes to stderr."""
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

    # after the reader thread has started, so that the end of stdin also ends a process that is still importing
    import torch

    from services.serving.embedded.llama import pick_dtype
    from services.serving.embedded.model_cache import ModelCache
    from services.serving.embedded.scheduler import BatchScheduler, ThreadLimiter
    from services.serving.settings import EmbeddedEngineSettings

    settings = EmbeddedEngineSettings()
    dtype = pick_dtype(settings.dtype)
    models = ModelCache(settings, dtype, lambda names: send({"event": "memory", "models": names}))
    room, threads = (settings.max_sequences, settings.tokens), ThreadLimiter(settings.threads, torch.set_num_threads)
    scheduler = BatchScheduler(inbox, models, room, send, threads)
    send({"event": "ready"})
    scheduler.run()


if __name__ == "__main__":
    main()
