"""When a failed call is made again, and after how long."""

import random
from dataclasses import dataclass

from shared.llm.errors import LlmError, LlmRateLimitError


@dataclass(frozen=True)
class RetryPolicy:
    """Bounded tries with full jitter: a wait is drawn from 0 to `base_s` * 2**failures, at most `cap_s`.

    Rate limits have a bound of their own, since they end by waiting. A server that asks for more than
    `longest_wait_s` is not waited for.
    """

    tries: int = 6
    rate_limit_tries: int = 20
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_wait_s: float = 300.0

    def wait_s(self, failures: int, error: LlmError, rng: random.Random) -> float | None:
        """Seconds before the next try after `failures` failures of this kind; None to give up."""
        bound = self.rate_limit_tries if isinstance(error, LlmRateLimitError) else self.tries
        asked = error.retry_after_s or 0.0
        if not error.retryable or failures >= bound or asked > self.longest_wait_s:
            return None
        return asked + rng.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(failures, 16)))
