"""Fixtures for tests that speak to real servers; import them in a conftest or a test module."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.openai_server import OpenAiServer


@pytest.fixture
def openai_server() -> Iterator[Callable[..., OpenAiServer]]:
    """A function that starts an `OpenAiServer` with the given arguments; all are stopped after the test."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> OpenAiServer:
            return stack.enter_context(OpenAiServer(*args, **options))

        yield start
