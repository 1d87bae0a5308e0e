"""`make chaos RUNS=200 SEED=1`: seeded rounds and a table; exit code 1 where one went wrong."""

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.failure.chaos.faults import HAPPENINGS
from tests.failure.chaos.on_jobs import POISONS
from tests.failure.chaos.rounds import Chaos
from tests.failure.chaos.world import VARIANTS, chaos_world

A_BATCH = 10 * VARIANTS  # rounds a stack: then everything is made anew, as the file of Redis and the store grow


def main() -> int:
    """Prints each round as it ends, and a summary by what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.failure.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=1, help="how much happens to one job")
    parser.add_argument("--poison", action="store_true", help="only what is wrong with a job beside it")
    arguments = parser.parse_args()
    kinds, slower = POISONS if arguments.poison else HAPPENINGS, list[float]()
    good, retried, bad, began = Counter[str](), Counter[str](), Counter[str](), time.monotonic()
    equal = 0
    for start in range(0, arguments.runs, A_BATCH):
        runs = min(A_BATCH, arguments.runs - start)
        with tempfile.TemporaryDirectory(prefix="sense-chaos-") as folder, chaos_world(Path(folder)) as world:
            chaos = Chaos(world, arguments.seed + start, arguments.faults, kinds)
            chaos.calm()
            calm = [(round(run.seconds, 1), run.paid) for run in chaos.references.values()]
            usual = chaos.usual_seconds()
            print(f"seed {chaos.seed}, {time.monotonic() - began:.0f} s; undisturbed: {calm}, warm {usual}", flush=True)
            for one in chaos.rounds(runs):
                print(one.line(), flush=True)
                equal += not one.problems
                slower.append(one.seconds / usual[one.variant])
                (bad if one.problems else retried if one.retried else good).update(one.names)
    print(f"\n{'what happened':<28} equal  equal after a retry  wrong")
    for name in sorted(good | retried | bad):
        print(f"{name:<28} {good[name]:>5}  {retried[name]:>19}  {bad[name]:>5}")
    times = f"median {statistics.median(slower):.2f}, most {max(slower):.2f}, above twice {sum(n > 2 for n in slower)}"
    print(
        f"{equal} of {arguments.runs} rounds equal, {time.monotonic() - began:.0f} s; of the undisturbed time: {times}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
