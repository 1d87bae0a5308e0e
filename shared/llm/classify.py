"""Names the cause of a failed call, with the server's own words: cut, and without what may be a key."""

import email.utils
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.llm import errors
from shared.llm.profiles import EndpointProfile
from shared.llm.reading import ServerError, quote, server_error

if TYPE_CHECKING:
    import openai

CONTEXT = re.compile(
    r"context[ _]?(?:length|window|size)|maximum context|too many tokens|prompt is too long|max_model_len",
    re.IGNORECASE,
)
FILTERED = re.compile(r"content[ _](?:filter|policy|management)", re.IGNORECASE)
NEVER = (501, 505)  # not implemented: asking again does not help
QUOTA = re.compile(r"insufficient_quota|current quota|billing|credit", re.IGNORECASE)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from `Retry-After-Ms` or `Retry-After` (RFC 9110 section 10.2.3: seconds or a date); None without."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * scale)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError):
        return None


def classify_connection(error: "openai.APIConnectionError", profile: EndpointProfile, model: str) -> errors.LlmError:
    """A call without an HTTP status: nothing connected, the line broke, or the time was up."""
    import openai

    cause = type(error.__cause__).__name__
    never_sent = cause in ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")
    if isinstance(error, openai.APITimeoutError) and not never_sent:
        return timed_out(profile, model)
    how = "cannot be reached" if never_sent else "broke the connection"
    return errors.LlmUnreachableError(
        f"endpoint {profile.name!r} {how} for model {model!r} ({cause}); check that its server runs at its base URL",
        may_be_billed=not never_sent,
        fatal=never_sent,
    )


def timed_out(profile: EndpointProfile, model: str) -> errors.LlmTimeoutError:
    """The profile's `timeout_s` passed."""
    return errors.LlmTimeoutError(
        f"endpoint {profile.name!r} did not answer for model {model!r} within {profile.timeout_s:g} s; "
        "raise its timeout_s or lower max_tokens"
    )


def classify_status(error: "openai.APIStatusError", profile: EndpointProfile, model: str) -> errors.LlmError:
    """A call that the server answered with a status of 4xx or 5xx."""
    asked = retry_after_s(error.response.headers)
    return classify_said(error.status_code, server_error(error.response.text), profile, model, asked)


def classify_said(
    status: int, error: ServerError, profile: EndpointProfile, model: str, asked: float | None = None
) -> errors.LlmError:
    """An error by its status and its words, wherever they stood."""
    said = f"{error.code} {error.words}"
    at = f"endpoint {profile.name!r}"
    secret = profile.api_key.get_secret_value() if profile.api_key is not None else None
    words = quote(error.words, secret)
    told = f": {words}" if words else ""
    if status == 402 or (status == 429 and QUOTA.search(said)):
        return errors.LlmQuotaError(f"{at} has no credit left for model {model!r} ({status}{told}); top up its account")
    if status == 429:
        message = f"{at} limits the rate for model {model!r} (429{told}); lower its max_concurrency or wait"
        return errors.LlmRateLimitError(message, retry_after_s=asked)
    if status in (401, 403):
        return errors.LlmAuthError(
            f"{at} refuses its key for model {model!r} ({status}{told}); set a valid key in its profile"
        )
    if status == 408:
        return timed_out(profile, model)
    if status == 409 or (status >= 500 and status not in NEVER):
        message = f"{at} answers {status} for model {model!r}{told}; wait, or check its server"
        return errors.LlmUnreachableError(message, retry_after_s=asked, overload=status in (503, 529))
    if status == 413 or CONTEXT.search(said):
        return errors.LlmContextLengthError(
            f"the prompt is too long for model {model!r} at {at}{told}; shorten it or lower max_tokens"
        )
    if FILTERED.search(said):
        return errors.LlmContentFilterError(f"{at} filters this prompt for model {model!r}{told}; change its words")
    if status == 404:
        return errors.LlmUnknownModelError(
            f"{at} does not know model {model!r} (404{told}); check the model's name and the endpoint's base URL"
        )
    refused = errors.LlmBadRequestError(
        f"{at} rejects the request for model {model!r} ({status}{told}); change the parameter it names, or leave it "
        f"out with SENSE_ENDPOINT_{profile.name.upper().replace('-', '_')}_OMIT"
    )
    refused.said, refused.param = said, error.param
    return refused
