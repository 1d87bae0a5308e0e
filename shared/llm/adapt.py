"""What a server was found not to take: asked for once, then left out for the rest of this process.

OpenAI's reasoning models refuse any temperature but their own and the name `max_tokens`; others refuse `seed` or `n`,
or give one choice whatever `n` is. A profile can say all of it beforehand (`omit`, `extra`, `max_tokens_field`).
"""

import re
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from shared.llm.errors import LlmBadRequestError
from shared.llm.messages import ChatRequest
from shared.llm.profiles import EndpointProfile

SAMPLING = ("temperature", "top_p", "seed")
LEAVABLE = (*SAMPLING, "n")
BOUNDS = ("max_tokens", "max_completion_tokens")
UNKNOWN = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|extra (?:inputs|fields?)|not permitted|not allowed|"
    r"cannot find field|deprecated|instead|invalid (?:argument|parameter|field)",
    re.IGNORECASE,
)
WORD = re.compile(r"[\w-]++")
NAMED_N = re.compile(r"['\"`]n['\"`]|\bn\s*+(?:[=>]|must)")
ONE_CHOICE = re.compile(
    r"only one (?:completion|choice|sample|candidate)|multiple (?:completions|choices)", re.IGNORECASE
)
_learned: dict[tuple[str, str, str], "Learned"] = {}
_lock = Lock()


@dataclass(slots=True)
class Learned:
    """Of one model at one endpoint: parameters to leave out, the name of the bound, whether `n` is one choice."""

    left_out: set[str] = field(default_factory=set)
    bound: str | None = None
    single: bool = False

    def body(self, request: ChatRequest, profile: EndpointProfile) -> dict[str, Any]:
        """The JSON body; parameters that are None are left out, and what the profile and the server do not want."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [message.model_dump() for message in request.messages],
            self.bound or profile.max_tokens_field: request.max_tokens,
            "n": request.n,
        }
        body |= {name: value for name in SAMPLING if (value := getattr(request, name)) is not None}
        unwanted = self.left_out | set(profile.omit)
        return {name: value for name, value in body.items() if name not in unwanted} | profile.extra

    def missing(self, request: ChatRequest, profile: EndpointProfile) -> list[str]:
        """Sampling parameters that the request has and the body does not."""
        body = self.body(request, profile)
        return [name for name in SAMPLING if getattr(request, name) is not None and name not in body]

    def learn(self, error: LlmBadRequestError, body: dict[str, Any]) -> bool:
        """Whether the error names a parameter of this body that can be left out or renamed, and it now is."""
        for bound in BOUNDS:
            if bound in body and names(error, bound) and UNKNOWN.search(error.said):
                other = BOUNDS[1 - BOUNDS.index(bound)]
                if self.bound == other:  # known since this call was made
                    return True
                if self.bound is not None:
                    return False
                self.bound = other
                return True
        exact = [name for name in LEAVABLE if name in body and error.param.rpartition(".")[2] == name]
        said = [name for name in LEAVABLE if name in body and names(error, name)]
        if "top_p" in said:  # "temperature and top_p cannot both be given": the temperature is what was chosen
            said = ["top_p"]
        for name in exact or said[:1]:
            self.left_out.add(name)
            self.single = self.single or name == "n"
            return True
        return False


def names(error: LlmBadRequestError, parameter: str) -> bool:
    """Whether an error speaks of a parameter: in a field of its own, or by its name in quotes or as a word."""
    if error.param.rpartition(".")[2] == parameter:
        return True
    if parameter == "n":
        return ONE_CHOICE.search(error.said) is not None or NAMED_N.search(error.said) is not None
    return parameter in WORD.findall(error.said)


def learned_of(profile: EndpointProfile, model: str) -> Learned:
    """What this process knows of a model at an endpoint."""
    key = (profile.name, profile.base_url, model)
    with _lock:
        return _learned.setdefault(key, Learned())
