"""What the gateway refused, as the product's own errors: its code and its sentence."""

import httpx
from pydantic import ValidationError

from shared.client.models import Fault, Problem
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError, UnavailableError


class GatewayUnreachableError(UnavailableError):
    """No gateway answers at the address."""

    code = "gateway_unreachable"

    def __init__(self, url: str) -> None:
        super().__init__(f"no gateway answers at {url}; start the stack with: sense up")


class RejectedError(InvalidInputError):
    """What was sent cannot be used: `faults` holds every fault with its path."""

    def __init__(self, message: str, *, code: str, faults: list[Fault]) -> None:
        super().__init__(message, code=code)
        self.faults = faults


def error_from(answer: httpx.Response) -> SenseError:
    """The error that a read answer of 400 or above stands for."""
    try:
        found = Problem.model_validate_json(answer.content)
    except ValidationError:
        return UnavailableError(
            f"{answer.url} answered {answer.status_code} and is no Sense gateway; check the URL", code="not_a_gateway"
        )
    match found.status:
        case 404:
            return NotFoundError(found.detail, code=found.code)
        case 409:
            return ConflictError(found.detail, code=found.code)
        case 429 | 502 | 503 | 504:
            return UnavailableError(found.detail, code=found.code)
        case status if status < 500:
            return RejectedError(found.detail, code=found.code, faults=found.errors)
    return SenseError(found.detail, code=found.code)
