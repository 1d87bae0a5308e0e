"""Short ways to say what the client's tests need."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import SecretStr

from shared.contracts.records import Message
from shared.errors import SenseError
from shared.llm.client import ChatClient, RetryPolicy
from shared.llm.endpoints import EndpointProfile
from shared.llm.messages import ChatAnswer, ChatRequest
from tests.support.openai_server import OpenAiServer

StartServer = Callable[..., OpenAiServer]
QUICK = RetryPolicy(tries=4, base_s=0.01, cap_s=0.05)
KEY = "sk-very-secret-value"


def ask(text: str = "How many singers?", **fields: Any) -> ChatRequest:
    return ChatRequest.model_validate(
        {"model": "test-model", "messages": [Message(role="user", content=text)], "max_tokens": 64} | fields
    )


def profile_of(server: OpenAiServer, **fields: Any) -> EndpointProfile:
    values = {"name": "test", "base_url": server.base_url, "api_key": SecretStr(KEY), "timeout_s": 10.0}
    return EndpointProfile.model_validate(values | fields)


def complete_many(client: ChatClient, requests: Sequence[ChatRequest]) -> list[ChatAnswer]:
    """Answers in the order of the requests; raises the first request's error, after the others have ended."""
    outcomes = [outcome for _, outcome in sorted(client.stream_many(requests), key=lambda item: item[0])]
    for outcome in outcomes:
        if isinstance(outcome, SenseError):
            raise outcome
    return [answer for answer in outcomes if isinstance(answer, ChatAnswer)]
