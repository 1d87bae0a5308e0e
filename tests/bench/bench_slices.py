"""What 24 of 100,000 examples cost a worker: the first slice on a machine, a later one, and the whole set as before.

.venv/bin/python -m tests.bench.bench_slices
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared.contracts.base import ObjectRef
from shared.contracts.records import Example, Provenance
from shared.storage.directory import DirectoryStore
from shared.storage.records import dump_records, read_records, read_slice

ROWS, OFFSET, LIMIT = 100_000, 77_000, 24


def example(number: int) -> Example:
    """About 700 bytes, as collected ones have."""
    return Example(
        example_id=f"{number:016x}",
        database_id="0" * 64,
        domain="bench",
        split="train",
        level="medium",
        question=f"Which of the {number} orders were paid in the month in which they were placed, by city?",
        evidence="A paid order has a payment with state 'settled'.",
        gold=f"SELECT city, COUNT(*) FROM orders JOIN payments USING (order_id) WHERE n = {number} GROUP BY city",
        provenance=Provenance(writer="grammar", writer_version="g", seed=number, source="bench"),
    )


def run(what: str, work: Callable[[], object]) -> None:
    """In this process, which does nothing else."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    more = (after.ru_maxrss - before.ru_maxrss) / 1024
    print(f"{what:<28} {took:7.3f} s   {cpu:7.3f} s of processor   {more:6.1f} MB more at the peak", flush=True)


def main() -> None:
    """Prints a line a way of reading."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        store, copies = DirectoryStore(Path(folder) / "objects"), Path(folder) / "rows"
        ref = store.put("jobs/j/s/0.1.examples.jsonl", b"".join(dump_records([example(n)]) for n in range(ROWS)))
        print(f"{ROWS:,} rows, {ref.size / 1e6:.0f} MB")
        for what, work in (("all, then cut", whole), ("first slice", part), ("later slice", part)):
            process = spawn.Process(target=work, args=(what, store.root, ref, copies))
            process.start()
            process.join()


def whole(what: str, root: Path, ref: ObjectRef, _: Path) -> None:
    """As it was."""
    store = DirectoryStore(root)
    run(what, lambda: list(read_records(store, ref, Example))[OFFSET : OFFSET + LIMIT])


def part(what: str, root: Path, ref: ObjectRef, copies: Path) -> None:
    """As it is."""
    store = DirectoryStore(root)
    run(what, lambda: list(read_slice(store, [ref], OFFSET, LIMIT, Example, copies)))


if __name__ == "__main__":
    main()
