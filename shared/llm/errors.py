"""What can go wrong between this process and a model, by cause."""

from copy import copy
from typing import Self

from shared.errors import SenseError


class LlmError(SenseError):
    """`fatal`: other calls to this endpoint and model would fail too, so a batch stops.

    `may_be_billed`: the server may have done the work although no answer arrived. `retry_after_s`: the pause
    that the server requests, in seconds. `overload`: fewer calls at once would have helped.
    """

    code = "llm_error"
    http_status = 502
    fatal = False
    may_be_billed = False
    overload = False

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        may_be_billed: bool | None = None,
        fatal: bool | None = None,
        overload: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        if may_be_billed is not None:
            self.may_be_billed = may_be_billed
        if fatal is not None:
            self.fatal = fatal
        if overload is not None:
            self.overload = overload

    def again(self, suffix: str = "") -> Self:
        """A fresh error of the same cause, without the traceback of the first."""
        fresh = copy(self)
        fresh.message += suffix
        fresh.args = (fresh.message,)
        return fresh


class LlmRateLimitError(LlmError):
    """429: too many requests or tokens a minute."""

    code = "llm_rate_limit"
    retryable = True
    http_status = 429
    fatal = True


class LlmQuotaError(LlmError):
    """The account has no credit left; waiting does not help."""

    code = "llm_quota"
    fatal = True


class LlmAuthError(LlmError):
    """The key is missing, wrong, or not allowed to do this."""

    code = "llm_auth"
    fatal = True


class LlmUnknownModelError(LlmError):
    """The endpoint, or the operator's allow list, does not have the model."""

    code = "llm_unknown_model"
    http_status = 422
    fatal = True


class LlmContextLengthError(LlmError):
    """The prompt and `max_tokens` do not fit the model's window."""

    code = "llm_context_length"
    http_status = 422


class LlmContentFilterError(LlmError):
    """The endpoint refused the prompt or every answer."""

    code = "llm_content_filter"
    http_status = 422


class LlmBadRequestError(LlmError):
    """The endpoint rejects the request's form, for example a parameter that it does not know.

    `server_text` is the server's message, `param` the parameter that it names in a field of its own.
    """

    code = "llm_bad_request"
    http_status = 422
    server_text = ""
    param = ""


class LlmMalformedError(LlmError):
    """A 200 whose body is incomplete or not a model server's: HTML, broken JSON, no choices."""

    code = "llm_malformed"
    retryable = True
    may_be_billed = True


class LlmUnreadableError(LlmError):
    """A 200 with a complete body that is no chat completion: a retry would get the same."""

    code = "llm_unreadable"
    may_be_billed = True


class LlmTimeoutError(LlmError):
    """The endpoint took the request and did not finish in time."""

    code = "llm_timeout"
    retryable = True
    http_status = 504
    may_be_billed = True
    overload = True


class LlmUnreachableError(LlmError):
    """No connection (fatal), a connection lost, or a 5xx."""

    code = "llm_unreachable"
    retryable = True
    http_status = 503


class LlmBudgetError(LlmError):
    """The next call could exceed the cap, so it was not made."""

    code = "llm_budget"
    http_status = 402
    fatal = True
