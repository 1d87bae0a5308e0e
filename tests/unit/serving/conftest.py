from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.serving.engine_process import EngineProcess
from tests.unit.serving.tiny import save_adapter, save_model


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> None:
    """Tiny models gain nothing from a second thread, and lose much where another process holds a core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_llama, tmp_path_factory) -> Path:
    return save_adapter(tiny_llama, tmp_path_factory.mktemp("tiny") / "adapter")


@pytest.fixture(scope="module")
def served(tiny_llama, tiny_adapter, tmp_path_factory) -> Iterator[EngineProcess]:
    """An engine that serves `base` and `tuned` in float32, 16 sequences."""
    engine = EngineProcess(tmp_path_factory.mktemp("state"), dtype="float32", max_sequences="16")
    engine.engine.load("base", str(tiny_llama))
    engine.engine.load("tuned", str(tiny_llama), str(tiny_adapter))
    yield engine
    engine.stop()
