"""The sandbox's HTTP process: `python -m services.sandbox --port 8102`."""

import sys
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from services.sandbox.app import create_app
from services.sandbox.execution.child_process import report_walls
from services.sandbox.service import SandboxService
from shared.errors import SenseError
from shared.http.guard import Guard, check_bind_address
from shared.http.server import address_parser, uvicorn_config
from shared.logging import configure_logging
from shared.metrics import expose_metrics
from shared.processes.lifecycle import exit_with_parent
from shared.settings import PathSettings, SandboxSettings
from shared.storage.open import StoreSettings, open_store

GRACE_S = 6
QUERIES_S = 3.0  # after a signal; below GRACE_S, so that answers still go out


class Server(uvicorn.Server):
    """Gives running queries a moment after a signal, then kills their children."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        service = getattr(self.app.state, "service", None)
        if isinstance(service, SandboxService):
            last = threading.Timer(QUERIES_S, service.kill)
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)


def main() -> int:
    note = "beyond the loopback SENSE_INTERNAL_TOKEN has to be set"
    chosen = address_parser("services.sandbox", port=8102, note=note).parse_args()
    configure_logging("sandbox-http")
    try:
        check_bind_address(chosen.host, Guard.from_settings())
        objects = open_store(StoreSettings())
        walls = report_walls()
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    exit_with_parent()
    expose_metrics()
    app = create_app(objects, SandboxSettings(), PathSettings().databases.parent / "incoming", walls)
    Server(uvicorn_config(app, chosen, grace_s=GRACE_S), app).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
