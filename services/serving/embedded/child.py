"""The child process: holds torch and the weights, speaks lines of JSON, and ends when its stdin does."""

import json
import os
import sys
import threading
from typing import Any, TextIO


def _read(batcher_inbox: Any) -> None:
    """Pass messages on; at the end of stdin the parent is gone or wants the memory back, so leave at once."""
    for line in sys.stdin:
        batcher_inbox.put(json.loads(line))
    os._exit(0)


def _private_stdout() -> TextIO:
    """The pipe to the parent; what libraries print goes to stderr instead."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return pipe


def main() -> None:
    pipe = _private_stdout()
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            pipe.write(json.dumps(message) + "\n")

    import torch

    from services.serving.embedded.batcher import Batcher
    from services.serving.embedded.loading import pick_dtype
    from services.serving.embedded.models import Shelf
    from services.serving.embedded.settings import EngineSettings

    settings = EngineSettings()
    torch.set_num_threads(settings.threads)
    dtype = pick_dtype(settings.dtype)
    shelf = Shelf(settings, dtype, lambda names: send({"event": "memory", "models": names}))
    batcher = Batcher(shelf, settings.rows, send)
    threading.Thread(target=_read, args=(batcher.inbox,), daemon=True).start()
    send({"event": "ready"})
    batcher.run()


if __name__ == "__main__":
    main()
