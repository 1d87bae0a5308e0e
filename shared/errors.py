"""Errors that cross a boundary: a stable code, a sentence for a person, and whether a retry can help."""


class SenseError(Exception):
    """`code` is stable; `message` names the thing and the remedy."""

    code = "internal_error"
    retryable = False
    http_status = 500

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class InvalidInputError(SenseError):
    """The user's input cannot be used; the message says what and where."""

    code = "invalid_input"
    http_status = 422


class NotFoundError(SenseError):
    """The named thing does not exist."""

    code = "not_found"
    http_status = 404


class ConflictError(SenseError):
    """The thing is in a state that forbids the step."""

    code = "conflict"
    http_status = 409


class LimitError(SenseError):
    """The caller has reached a limit; the message names it and who can raise it."""

    code = "limit_reached"
    http_status = 429


class UnavailableError(SenseError):
    """A server that this process needs does not answer; a retry can help."""

    code = "unavailable"
    retryable = True
    http_status = 503


class LostLeaseError(SenseError):
    """The shard belongs to another worker now: stop at once and write nothing more."""

    code = "lost_lease"


class CancelledError(SenseError):
    """The job was cancelled while this shard ran."""

    code = "cancelled"
