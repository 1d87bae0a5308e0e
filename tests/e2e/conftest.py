from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.models.bases import resolve_base
from tests.support.openai_server import OpenAiServer
from tests.support.stack import MODELS, Golds, Stack, running_stack
from tests.support.writers import strong_writer, weak_writer

STRONG_LATENCY_S = 0.3


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all end-to-end tests, with a strong and a weak endpoint that the tests serve."""
    resolve_base("builtin:smollm2-135m", MODELS)
    state: Path = tmp_path_factory.mktemp("e2e") / "state"
    weak = weak_writer(Golds(state / "objects"), correct=0.6)
    with (
        OpenAiServer(strong_writer, latency_s=STRONG_LATENCY_S, models=["s"]) as strong_server,
        OpenAiServer(weak, latency_s=0.02, models=["w"]) as weak_server,
        running_stack(
            state,
            SENSE_ENDPOINT_STRONG_BASE_URL=strong_server.base_url,
            SENSE_ENDPOINT_WEAK_BASE_URL=weak_server.base_url,
        ) as running,
    ):
        yield running
