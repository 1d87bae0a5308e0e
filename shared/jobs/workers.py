"""Which workers are alive and how many slots they have; the dispatcher sends no more than they can take."""

from shared.contracts.base import Queue
from shared.redis import RedisClient, redis_errors

SILENT_S = 20.0  # four beats of a worker: then it counts as gone


class WorkerRegistry:
    """Workers by queue and last beat. Times are by the clock of Redis."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self.client = client
        self.prefix = prefix

    def beat(self, queue: Queue, worker: str, slots: int) -> None:
        with redis_errors():
            self.client.hset(self._slots(queue), worker, slots)
            self.client.zadd(self._seen(queue), {worker: self.client.time()[0]})

    def drain(self, queue: Queue, worker: str) -> None:
        """Removes a stopping worker. Its tasks see the key at their next renewal and hand back their shards."""
        with redis_errors():
            self.client.set(f"{self.prefix}draining:{worker}", 1, ex=600)
            self.client.zrem(self._seen(queue), worker)
            self.client.hdel(self._slots(queue), worker)

    def slots(self, queue: Queue) -> int:
        return self.living()[queue.value]

    def living(self) -> dict[str, int]:
        """Slots of living workers by queue; forgets silent workers."""
        with redis_errors():
            since = self.client.time()[0] - SILENT_S
            pipe = self.client.pipeline(transaction=False)
            for queue in Queue:
                pipe.zrangebyscore(self._seen(queue), "-inf", since)
                pipe.hgetall(self._slots(queue))
            found = iter(pipe.execute())
            return {queue.value: self._living(queue, set(next(found)), next(found)) for queue in Queue}

    def _living(self, queue: Queue, silent: set[str], slots: dict[str, str]) -> int:
        if silent:
            self.client.zrem(self._seen(queue), *silent)
            self.client.hdel(self._slots(queue), *silent)
        return sum(int(value) for worker, value in slots.items() if worker not in silent)

    def _seen(self, queue: Queue) -> str:
        return f"{self.prefix}queue:{queue.value}:seen"

    def _slots(self, queue: Queue) -> str:
        return f"{self.prefix}queue:{queue.value}:slots"
