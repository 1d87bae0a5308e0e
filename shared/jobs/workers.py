"""Which workers live and how many slots they have: the dispatcher sends no more than they can take."""

from shared.contracts.base import Queue
from shared.jobs.connect import Client, redis_errors

SILENT_S = 20.0


class WorkerBoard:
    """Workers by queue, by their last beat (Redis's clock)."""

    def __init__(self, client: Client, prefix: str) -> None:
        self.client = client
        self.prefix = prefix

    def beat(self, queue: Queue, worker: str, slots: int) -> None:
        """This worker lives."""
        with redis_errors():
            self.client.hset(self._slots(queue), worker, slots)
            self.client.zadd(self._seen(queue), {worker: self.client.time()[0]})

    def drain(self, queue: Queue, worker: str) -> None:
        """This worker is stopping: it takes no more, and its tasks hand back what they hold."""
        with redis_errors():
            self.client.set(f"{self.prefix}draining:{worker}", 1, ex=600)
            self.client.zrem(self._seen(queue), worker)
            self.client.hdel(self._slots(queue), worker)

    def slots(self, queue: Queue) -> int:
        """Slots of living workers; forgets silent ones."""
        with redis_errors():
            since = self.client.time()[0] - SILENT_S
            for silent in self.client.zrangebyscore(self._seen(queue), "-inf", since):
                self.client.zrem(self._seen(queue), silent)
                self.client.hdel(self._slots(queue), silent)
            return sum(int(value) for value in self.client.hvals(self._slots(queue)))

    def living(self) -> dict[str, int]:
        """Slots by queue."""
        return {queue.value: self.slots(queue) for queue in Queue}

    def _seen(self, queue: Queue) -> str:
        return f"{self.prefix}queue:{queue.value}:seen"

    def _slots(self, queue: Queue) -> str:
        return f"{self.prefix}queue:{queue.value}:slots"
