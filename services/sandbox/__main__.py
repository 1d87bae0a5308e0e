"""The sandbox's HTTP process: `python -m services.sandbox --port 8102`."""

import argparse
import sys
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from services.sandbox.app import create_app
from services.sandbox.desk import Desk
from shared.errors import SenseError
from shared.lifeline import exit_with_parent
from shared.logging import configure_logging
from shared.metrics import expose_metrics
from shared.settings import PathSettings, SandboxSettings
from shared.storage.open import open_store
from shared.storage.settings import StoreSettings

GRACE_S = 6
QUERIES_S = 3.0


class Server(uvicorn.Server):
    """After a signal queries have a moment to end; then their children are killed and their callers told so."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        desk = getattr(self.app.state, "desk", None)
        if isinstance(desk, Desk):
            last = threading.Timer(QUERIES_S, desk.kill)
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.sandbox")
    parser.add_argument("--host", default="127.0.0.1", help="it has no keys: only the gateway should reach it")
    parser.add_argument("--port", type=int, default=8102)
    chosen = parser.parse_args()
    configure_logging("sandbox-http")
    try:
        objects = open_store(StoreSettings())
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    exit_with_parent()
    expose_metrics()
    app = create_app(objects, SandboxSettings(), PathSettings().databases.parent / "incoming")
    config = uvicorn.Config(
        app,
        host=chosen.host,
        port=chosen.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    Server(config, app).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
