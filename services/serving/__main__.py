"""The serving service's HTTP process: `python -m services.serving --port 8103`."""

import argparse
import sys

import uvicorn

from services.serving.asking.app import create_app
from services.serving.asking.settings import AskSettings
from shared.errors import SenseError
from shared.lifeline import exit_with_parent
from shared.logging import configure_logging
from shared.settings import EngineSettings, SandboxSettings
from shared.storage.open import open_store
from shared.storage.settings import StoreSettings

GRACE_S = 6


def main() -> int:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.serving")
    parser.add_argument("--host", default="127.0.0.1", help="it has no keys: only the gateway should reach it")
    parser.add_argument("--port", type=int, default=8103)
    chosen = parser.parse_args()
    configure_logging("serving-http")
    try:
        objects = open_store(StoreSettings())
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    exit_with_parent()
    uvicorn.run(
        create_app(objects, EngineSettings().url, SandboxSettings().url, AskSettings()),
        host=chosen.host,
        port=chosen.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
