"""A process that ends when its parent does: no orphans, whatever killed the parent."""

import os
import signal
import threading
import time

POLL_S = 1.0


def exit_with_parent() -> None:
    """Watches the parent from a thread; at its end this process gets SIGTERM, and five seconds later SIGKILL."""
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os.kill(os.getpid(), signal.SIGKILL)
