"""What children do while they run, read from /proc by a thread: memory, CPU, and files open for writing."""

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

EVERY_S = 0.01
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ACCESS = os.O_WRONLY | os.O_RDWR


@dataclass
class Seen:
    """Since `begin`: the largest resident memory, CPU seconds a process, and files that were open for writing."""

    peak_bytes: int = 0
    cpu_s: dict[int, float] = field(default_factory=dict)
    writable: set[str] = field(default_factory=set)


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def peak_bytes(pid: int) -> int:
    """The largest resident memory of its life; 0 for a process that is ending."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def writable_files(pid: int) -> set[str]:
    """Files on any disk that the process holds open for writing; memory that its parent shares with it is none."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        flags = int(Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0], 8)
        name = str(entry.readlink())
        if flags & ACCESS and stat.S_ISREG(entry.stat().st_mode) and not name.startswith("/memfd:"):
            found.add(name)
    return found


class Watch(threading.Thread):
    """Looks at the processes that `pids` gives, until `stop`."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        super().__init__(daemon=True)
        self.pids = pids
        self.seen = Seen()
        self._began: dict[int, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def begin(self) -> None:
        """Forget what was seen."""
        with self._lock:
            self.seen = Seen()
            self._began = {pid: cpu_seconds(pid) for pid in self.pids()}

    def end(self) -> Seen:
        """Look once more, and say what was seen."""
        self.look()
        return self.seen

    def look(self) -> None:
        """One look at every process that lives."""
        with self._lock:
            for pid in self.pids():
                try:
                    self.seen.peak_bytes = max(self.seen.peak_bytes, peak_bytes(pid))
                    self.seen.cpu_s[pid] = cpu_seconds(pid) - self._began.get(pid, 0.0)
                    self.seen.writable |= writable_files(pid)
                except OSError:  # it ended meanwhile
                    continue

    def run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.look()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self.join()
