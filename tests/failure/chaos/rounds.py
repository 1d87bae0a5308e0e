"""Rounds: a job, something that happens to it at a seeded moment, and the comparison with an undisturbed run."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.errors import NotFoundError, SenseError
from shared.jobs.state import JobStatus
from tests.failure.chaos.faults import HAPPENINGS, NO_FAULTS
from tests.failure.chaos.world import CONCURRENCY, VARIANTS, ChaosWorld, small_job
from tests.failure.test_kill import Run, check_rows, settle
from tests.support.stack import wait_until


@dataclass
class Round:
    """What happened to one job, and what came of it."""

    number: int
    happening: str
    after_s: float
    variant: int
    job: str = ""
    seconds: float = 0.0
    extra: int = 0
    retried: bool = False
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """As a table's row."""
        end = "; ".join(self.problems).replace("\n", " ")[:300] if self.problems else "equal"
        more = " after a retry" if self.retried else ""
        return (
            f"{self.number:>4}  {self.happening:<28} {self.after_s:5.1f} s  {self.job:<13} {self.seconds:6.1f} s"
            f"  {self.extra:+3d}  {end}{more}"
        )


@dataclass
class Chaos:
    """A world, the seed, and what undisturbed runs of the variants leave."""

    world: ChaosWorld
    seed: int
    references: dict[int, Run] = field(default_factory=dict)
    batch: list[Round] = field(default_factory=list)

    def calm(self) -> None:
        """The undisturbed runs, one after the other."""
        for variant in range(VARIANTS):
            before = self.world.paid()
            self.references[variant] = settle(self.world, self.submit(variant), before)

    def submit(self, variant: int) -> str:
        """A job by the REST API, which may be restarting."""
        found: list[str] = []

        def sent() -> bool:
            try:
                found.append(self.world.stack.client.submit(small_job(variant)).id)
            except SenseError:
                return False
            return True

        wait_until(sent, "a gateway that takes a job", limit_s=60)
        return found[0]

    def rounds(self, runs: int) -> Iterator[Round]:
        """Seeded rounds, as many jobs at a time as there are variants. Every kind comes before one comes again."""
        deck: list[str] = []
        for start in range(0, runs, VARIANTS):
            batch = []
            for number in range(start, min(start + VARIANTS, runs)):
                rng = random.Random(f"{self.seed}/{number}")
                if not deck:
                    deck = random.Random(f"{self.seed}/deck/{number}").sample(sorted(HAPPENINGS), len(HAPPENINGS))
                variant = number % VARIANTS
                batch.append(Round(number, deck.pop(), rng.uniform(0.3, self._span(variant)), variant))
            self._play(batch)
            yield from batch

    def _span(self, variant: int) -> float:
        return max(1.0, 0.9 * self.references[variant].seconds)

    def _play(self, batch: list[Round]) -> None:
        self.batch = batch
        self.world.forget_answers()
        before = self.world.paid()
        for one in batch:
            one.job = self.submit(one.variant)
        threads = [threading.Thread(target=self._disturb, args=(one,)) for one in batch]
        for thread in threads:
            thread.start()
        for one in batch:
            try:
                self._check(one)
            except Exception as error:  # a table of all rounds says more than one trace
                one.problems.append(f"{type(error).__name__}: {error}")
        for thread in threads:
            thread.join()
        self._check_money(batch, before)

    def _disturb(self, one: Round) -> None:
        time.sleep(one.after_s)
        try:
            HAPPENINGS[one.happening](self.world, one.job, random.Random(f"{self.seed}/{one.number}/what"))
        except NotFoundError as error:
            one.problems.append(f"the disturbance met {error.message}")
        except SenseError:
            return  # another one had taken Redis away: what this one had to do is done

    def _check(self, one: Round) -> None:
        run = self._end(one)
        one.seconds = run.seconds
        reference = self.references[one.variant]
        assert run.exports == reference.exports, "the exports differ"
        assert run.candidates == reference.candidates, "the candidates differ"
        wait_until(self._gateway_answers, "the gateway", limit_s=60)  # another round may have killed it just now
        if not one.retried:
            check_rows(self.world, one.job)

    def _gateway_answers(self) -> bool:
        try:
            self.world.stack.client.job(self.batch[0].job)
        except SenseError:
            return False
        return True

    def _end(self, one: Round) -> Run:
        """A shard that kills whoever meets it may end its job, with its name; a retry then has to bring the rest."""
        try:
            return settle(self.world, one.job, (0, 0))
        except AssertionError:
            job = self.world.stack.jobs.job(one.job)
            named = job.status is JobStatus.FAILED and job.error is not None and "lost shard" in job.error.message
            if not (named and any(other.happening == "poisoned shard" for other in self.batch)):
                raise
        self.world.stack.jobs.retry(one.job)
        one.retried = True
        return settle(self.world, one.job, (0, 0))

    def _check_money(self, batch: list[Round], before: tuple[int, int]) -> None:
        """Everything was bought once, and of each killed call at the most what was in flight."""
        after = self.world.paid()
        allowed = CONCURRENCY * len(batch) * 2
        for kind in (0, 1):
            wanted = sum(self.references[one.variant].paid[kind] for one in batch)
            extra = after[kind] - before[kind] - wanted
            batch[0].extra += extra
            if not 0 <= extra <= allowed:
                batch[0].problems.append(f"bought {extra:+d} calls at endpoint {kind}; {allowed} may be lost")
        self.world.strong.faults = self.world.weak.faults = NO_FAULTS
