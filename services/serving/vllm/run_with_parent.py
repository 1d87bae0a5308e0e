"""Runs a command that ends with its parent: `python -m services.serving.vllm.run_with_parent COMMAND…`.

The parent holds a pipe to this process's standard input. When it closes (the parent died, or wants the memory back),
the command's process group gets SIGTERM and, after a grace period, SIGKILL. Exits with the command's exit code.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_S = 15.0


def main() -> int:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: signal_group(child.pid, signal.SIGTERM))
    threading.Thread(target=end_with_parent, args=(child,), daemon=True).start()
    code = child.wait()
    signal_group(child.pid, signal.SIGKILL)  # processes that it started and left behind
    # a shell's code for a command that a signal ended
    return code if code >= 0 else 128 - code


def end_with_parent(child: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        signal_group(child.pid, signal.SIGKILL)


def signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
