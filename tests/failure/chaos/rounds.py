"""Rounds: jobs, what happens to them at seeded moments, and the comparison with undisturbed runs."""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from shared.errors import SenseError, UnavailableError
from shared.jobs.state import JobStatus
from tests.failure.chaos.draw import Round, draw
from tests.failure.chaos.faults import HAPPENINGS
from tests.failure.chaos.on_servers import NO_FAULTS
from tests.failure.chaos.world import CONCURRENCY, VARIANTS, ChaosWorld, small_job
from tests.failure.test_kill import Run, check_rows, settle
from tests.support.stack import wait_until

END_S = 120
USED_UP = ("lease_expired", "unavailable")  # what a process or a server that is gone leaves as the last attempt's error


@dataclass
class Chaos:
    """A world, the seed, how much happens to a job, and what undisturbed runs of the variants leave."""

    world: ChaosWorld
    seed: int
    faults: int = 1
    kinds: Collection[str] = field(default_factory=lambda: HAPPENINGS)
    references: dict[int, Run] = field(default_factory=dict)
    batch: list[Round] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def calm(self) -> None:
        """The undisturbed runs, all at a time as later the disturbed ones."""
        jobs = {variant: self.submit(variant) for variant in range(VARIANTS)}
        runs = {variant: settle(self.world, job, (0, 0)) for variant, job in jobs.items()}
        self.references = {variant: replace(run, paid=self.world.paid_for(variant)) for variant, run in runs.items()}

    def usual_seconds(self) -> dict[int, float]:
        """How long undisturbed jobs take on a stack that is warm, as later the disturbed ones find it."""
        self.world.forget_answers()
        jobs = {variant: self.submit(variant) for variant in range(VARIANTS)}
        return {variant: settle(self.world, job, (0, 0)).seconds for variant, job in jobs.items()}

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
        """Seeded rounds, as many jobs at a time as there are variants."""
        drawn = draw(self.seed, runs, self.faults, self.kinds)
        for start in range(0, runs, VARIANTS):
            self.batch = drawn[start : start + VARIANTS]
            self._play()
            yield from self.batch

    def _play(self) -> None:
        self.world.forget_answers()
        before = {one.variant: self.world.paid_for(one.variant) for one in self.batch}
        for one in self.batch:
            one.job = self.submit(one.variant)
        self.threads = [
            threading.Thread(target=self._disturb, args=(one, place))
            for one in self.batch
            for place in range(len(one.happenings))
        ]
        for thread in self.threads:
            thread.start()
        for one in self.batch:
            self._gather(one, self._end)
        for thread in self.threads:
            thread.join()
        wait_until(self._gateway_answers, "the gateway", limit_s=60)
        for one in self.batch:
            self._gather(one, self._check)
            self._check_money(one, before[one.variant])
        self.world.strong.faults = self.world.weak.faults = NO_FAULTS

    @staticmethod
    def _gather(one: Round, step: Callable[[Round], None]) -> None:
        """A table of all rounds says more than one trace."""
        try:
            step(one)
        except Exception as error:
            one.problems.append(f"{type(error).__name__}: {error}")

    def _disturb(self, one: Round, place: int) -> None:
        name, after_s = one.happenings[place]
        time.sleep(after_s)
        with suppress(SenseError):
            one.struck += not self.world.stack.jobs.job(one.job).status.terminal
        try:
            HAPPENINGS[name](self.world, one.job, random.Random(f"{self.seed}/{one.number}/{name}"))
        except Exception as error:  # what was to happen did not: the round proves nothing
            one.problems.append(f"{name} met {type(error).__name__}: {error}")

    def _end(self, one: Round) -> None:
        """A shard that is met again and again may use up its attempts and end its job, with its name.

        A retry then has to bring the rest. Any other reason to fail is wrong.
        """
        wait_until(lambda: self._over(one), f"the end of job {one.job}", limit_s=END_S)
        job = self.world.stack.jobs.job(one.job)
        named = job.status is JobStatus.FAILED and job.error is not None and "lost shard" in job.error.message
        met = self.faults > 1 or any("poisoned shard" in other.names for other in self.batch)
        if named and met and job.error is not None and job.error.code in USED_UP:
            for thread in self.threads:
                thread.join()  # whoever retries a job waits until the trouble is over
            self.world.stack.jobs.retry(one.job)
            one.retried = True
            wait_until(lambda: self._over(one), f"the end of job {one.job} after a retry", limit_s=END_S)

    def _over(self, one: Round) -> bool:
        try:
            return self.world.stack.jobs.job(one.job).status.terminal
        except UnavailableError:
            return False

    def _check(self, one: Round) -> None:
        """When all is quiet: the same files, the same answers, and every shard stands once and is done."""
        run, reference = settle(self.world, one.job, (0, 0)), self.references[one.variant]
        one.seconds = run.seconds
        assert run.exports == reference.exports, "the exports differ"
        assert run.candidates == reference.candidates, "the candidates differ"
        if not one.retried:
            check_rows(self.world, one.job)

    def _gateway_answers(self) -> bool:
        try:
            self.world.stack.client.job(self.batch[0].job)
        except SenseError:
            return False
        return True

    def _check_money(self, one: Round, before: tuple[int, int]) -> None:
        """Everything was bought once, and again at the most what was in flight when something happened to the stack."""
        allowed = CONCURRENCY * sum(len(other.happenings) for other in self.batch)
        now, wanted = self.world.paid_for(one.variant), self.references[one.variant].paid
        for kind, endpoint in enumerate(("strong", "weak")):
            extra = now[kind] - before[kind] - wanted[kind]
            one.extra += extra
            if not 0 <= extra <= allowed:
                one.problems.append(f"bought {extra:+d} calls at {endpoint}; {allowed} may be lost")
