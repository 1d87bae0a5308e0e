"""`python -m services.serving.vllm --port P --state DIR`: the front before vLLM."""

import argparse
import sys
from pathlib import Path

import uvicorn

from services.serving.vllm.app import create_app
from services.serving.vllm.settings import VllmSettings
from shared.errors import SenseError
from shared.lifeline import exit_with_parent
from shared.logging import configure_logging

GRACE_S = 10


def main() -> int:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.serving.vllm", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="it has no keys: only gateway and workers should reach it")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="folder of models.json and vLLM's log")
    given = parser.parse_args()
    configure_logging("engine")
    exit_with_parent()
    try:
        app = create_app(given.state, VllmSettings())
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    uvicorn.run(
        app,
        host=given.host,
        port=given.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
