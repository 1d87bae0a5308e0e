"""Which of the active jobs are worked on: all that have a plan, and as many new ones as there is room for."""

import time
from collections import deque
from itertools import islice

from shared.jobs.store import BATCH, JobStore, batches

PAUSE_S, LONGEST_S = 1.0, 60.0
LOOKED_AT = 2 * BATCH


class Backoff:
    """Pauses of jobs whose last step failed. Only this process knows them: a new leader tries each job at once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def is_due(self, job_id: str) -> bool:
        return time.monotonic() >= self._known.get(job_id, (0, 0.0))[1]

    def add(self, job_id: str) -> int:
        """Doubles the pause, up to a minute, and returns how many times in a row the job has failed."""
        count = self._known.get(job_id, (0, 0.0))[0] + 1
        # the exponent is bounded, or a job that keeps failing would overflow the pause
        self._known[job_id] = count, time.monotonic() + min(LONGEST_S, PAUSE_S * 2 ** min(count - 1, 10))
        return count

    def clear(self, job_id: str) -> None:
        self._known.pop(job_id, None)


class AdmissionQueue:
    """Admits queued jobs, oldest first, `most` at once. A waiting job costs a round nothing.

    The leader keeps the queue in memory and compares it with the store at each sweep.
    """

    def __init__(self, store: JobStore, most: int) -> None:
        self.store = store
        self.most = most
        self.admitted: dict[str, None] = {}
        self.waiting: deque[str] = deque()
        self._places: dict[str, float] = {}
        self._looked = 0

    def refresh(self) -> None:
        active = set(self.store.active())
        self.admitted = {job_id: None for job_id in self.admitted if job_id in active}
        known = {*self.admitted, *(job_id for job_id in self.waiting if job_id in active)}
        self._places = {job_id: place for job_id, place in self._places.items() if job_id in known}
        for some in batches(sorted(active - known), BATCH):
            for job_id, planned, place in self.store.submissions(some):
                if planned:
                    self.admitted[job_id] = None
                else:
                    self._places[job_id] = place
        self.waiting = deque(sorted(self._places, key=lambda job_id: (self._places[job_id], job_id)))

    def admits(self, job_id: str, *, planned: bool = False) -> bool:
        """Returns True if the job is already admitted, has a plan, or is next in line and there is room."""
        if job_id not in self.admitted and not planned:
            if job_id not in self._places:
                ((_, planned, place),) = self.store.submissions([job_id])
                self._places[job_id] = place
                self.waiting.append(job_id)
            # a newer job must not overtake those that wait
            if not planned and (len(self.admitted) >= self.most or self.waiting[0] != job_id):
                return False
        self._admit(job_id)
        return True

    def admit_next(self) -> list[str]:
        found: list[str] = []
        while self.waiting and len(self.admitted) < self.most:
            found.append(self.waiting[0])
            self._admit(found[-1])
        return found

    def remove(self, job_id: str) -> None:
        self.admitted.pop(job_id, None)
        self._leave(job_id)

    def cancelled_while_waiting(self) -> list[str]:
        """Finds waiting jobs whose cancellation no event reported; each call looks at the next two thousand."""
        some = list(islice(self.waiting, self._looked, self._looked + LOOKED_AT))
        # at the end of the queue, the next call starts from the front
        self._looked = self._looked + LOOKED_AT if len(some) == LOOKED_AT else 0
        return [job_id for job_id, status in zip(some, self.store.statuses(some), strict=True) if status != "queued"]

    def _admit(self, job_id: str) -> None:
        self._leave(job_id)
        self.admitted[job_id] = None

    def _leave(self, job_id: str) -> None:
        if self._places.pop(job_id, None) is None:
            return
        if self.waiting and self.waiting[0] == job_id:
            self.waiting.popleft()
        else:
            self.waiting.remove(job_id)
