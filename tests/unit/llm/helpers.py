"""Short ways to say what the client's tests need."""

from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from shared.contracts.records import Message
from shared.llm.client import RetryPolicy
from shared.llm.endpoints import EndpointProfile
from shared.llm.messages import ChatRequest
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
