"""A budget that all shards and workers of a job draw on: its sums are in Redis, every step on them is atomic."""

from math import ceil

from shared.errors import UnavailableError
from shared.jobs.store import JobStore
from shared.llm.budget import Budget, Cost
from shared.logging import get_logger

NANO = 1_000_000_000
log = get_logger()


class JobBudget(Budget):
    """Calls reserve what they may cost at worst, before they are made, whichever process makes them.

    `holder` is the shard. What a killed attempt had reserved is counted as spent when the shard is begun again, for
    its calls may have been billed; until then the others wait.
    """

    def __init__(
        self,
        jobs: JobStore,
        where: tuple[str, str, str],
        *,
        max_tokens: int | None = None,
        max_usd: float | None = None,
    ) -> None:
        super().__init__(max_tokens=max_tokens, max_usd=max_usd)
        self.jobs, self.where = jobs, where
        jobs.steps.run("budget_open", *where)

    def reserve(self, cost: Cost, endpoint: str, model: str, *, last: bool = False) -> bool:
        """As `Budget.reserve`, over all of the job."""
        most = (-1 if self.max_tokens is None else self.max_tokens, -1 if self.max_usd is None else nano(self.max_usd))
        answer, tokens, spent = self.jobs.steps.run(
            "budget_reserve", *self.where, *most, cost.tokens, nano(cost.usd), int(last)
        )
        self._spent = Cost(int(tokens), int(spent) / NANO)
        if answer == "never":
            raise self.refusal(cost, endpoint, model)
        return bool(answer == "ok")

    def settle(self, reserved: Cost, paid: Cost) -> None:
        """As `Budget.settle`; without Redis the reservation stays, and counts at its worst. No paid answer is lost."""
        sums = (reserved.tokens, nano(reserved.usd), paid.tokens, nano(paid.usd))
        try:
            self.jobs.steps.run("budget_settle", *self.where, *sums)
        except UnavailableError as error:
            log.warning("budget.not_settled", error=error.message)


def nano(usd: float) -> int:
    """Whole billionths of a dollar, rounded up: sums of whole numbers do not drift."""
    return ceil(usd * NANO - 1e-6)
