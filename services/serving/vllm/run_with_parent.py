"""Runs a command that is not ours and ends it with its parent: `python -m services.serving.vllm.run_with_parent COMMAND…`.

The parent holds the pipe to this process's standard input. At its end (the parent died, or wants the memory back) the
command's whole process group gets SIGTERM and, after a grace, SIGKILL. Exits with the command's own code.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_S = 15.0


def main() -> int:
    """Waits for the command."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: signal_group(child.pid, signal.SIGTERM))
    threading.Thread(target=watch, args=(child,), daemon=True).start()
    code = child.wait()
    signal_group(child.pid, signal.SIGKILL)  # what it started and left behind
    return code if code >= 0 else 128 - code


def watch(child: "subprocess.Popen[bytes]") -> None:
    """Ends the group at the end of the pipe."""
    while os.read(0, 4096):
        pass
    signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        signal_group(child.pid, signal.SIGKILL)


def signal_group(group: int, number: signal.Signals) -> None:
    """Sends it, where the group still is."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
