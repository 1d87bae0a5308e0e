"""The child process: holds torch and the weights, speaks lines of JSON, and ends when its stdin does."""

import json
import os
import queue
import sys
import threading
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

    from services.serving.embedded.batcher import Batcher
    from services.serving.embedded.cores import Cores
    from services.serving.embedded.models import Shelf
    from services.serving.embedded.multiply import pick_dtype
    from services.serving.embedded.settings import EngineSettings

    settings = EngineSettings()
    dtype = pick_dtype(settings.dtype)
    shelf = Shelf(settings, dtype, lambda names: send({"event": "memory", "models": names}))
    room, cores = (settings.rows, settings.tokens), Cores(settings.threads, torch.set_num_threads)
    batcher = Batcher(inbox, shelf, room, send, cores)
    send({"event": "ready"})
    batcher.run()


if __name__ == "__main__":
    main()
