"""What parent and child share: never half written, and never believed beyond a child's time."""

import os
import subprocess
import sys
import time
from pathlib import Path

from services.sandbox.execution.protocol import MAX_STATEMENTS, NOT_BEGUN, Progress, create_progress_memory
from services.sandbox.execution.requests import MAX_BATCH_STATEMENTS

ROOT = Path(__file__).resolve().parents[4]


def test_number_and_time_come_back() -> None:
    descriptor = create_progress_memory()
    mine, theirs = Progress(descriptor), Progress(descriptor)
    os.close(descriptor)
    assert mine.get()[0] == NOT_BEGUN
    for number in (0, 1, MAX_BATCH_STATEMENTS, MAX_STATEMENTS):
        before = time.monotonic()
        theirs.set(number)
        found, began = mine.get()
        assert found == number
        assert before - 1e-5 <= began <= time.monotonic()


WRITER = """
import sys
from services.sandbox.execution.protocol import Progress
progress, number = Progress(int(sys.argv[1])), 0
while True:
    progress.set(number % 32)
    number += 1
"""


def test_a_reader_sees_no_half_written_record() -> None:
    """Two numbers written one after the other were seen half written: a statement looked as if it began long ago."""
    descriptor = create_progress_memory()
    mine = Progress(descriptor)
    first = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(descriptor)]
    with subprocess.Popen(command, pass_fds=(descriptor,), env=environment) as writer:
        while mine.get()[0] == NOT_BEGUN:
            assert writer.poll() is None
        seen = [mine.get() for _ in range(300_000)]
        writer.kill()
    os.close(descriptor)
    assert all(NOT_BEGUN <= number < MAX_BATCH_STATEMENTS for number, _ in seen)
    times = [began for _, began in seen]
    assert times == sorted(times)
    assert first - 1e-3 <= times[0] < times[-1] <= time.monotonic()
