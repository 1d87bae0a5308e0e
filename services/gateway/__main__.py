"""The gateway process: `python -m services.gateway --host 127.0.0.1 --port 8100`."""

import sys
from types import FrameType

import uvicorn

from services.gateway.app import create_app
from services.gateway.backend import Backend, open_backend
from services.gateway.keys.service import KeyRing
from shared.errors import InvalidInputError, SenseError, UnavailableError
from shared.http.guard import is_loopback
from shared.http.server import address_parser, uvicorn_config
from shared.logging import configure_logging, get_logger
from shared.processes.lifecycle import exit_with_parent

GRACE_S = 5
DEFAULT_PORT = 8100
log = get_logger()


def check_host(host: str, ring: KeyRing) -> None:
    """Lets other machines in without keys only if the operator has disabled keys. Raises `InvalidInputError`."""
    try:
        ring.refresh()
    except UnavailableError as error:
        if not is_loopback(host):
            raise
        log.warning("gateway.keys_unread", reason=error.message)  # until they are read, nobody is let in
        return
    if ring.locked:
        log.info("gateway.keys", reason="callers need a key")
    elif is_loopback(host):
        log.warning("gateway.open", reason="no API keys are set: every program on this machine may use the gateway")
    elif ring.disabled:
        log.warning("gateway.open", reason="SENSE_AUTH=disabled: everyone who reaches this address may use the gateway")
    else:
        raise InvalidInputError(
            f"--host {host} would open the gateway to other machines without keys; "
            "set SENSE_ADMIN_KEY, use 127.0.0.1, or set SENSE_AUTH=disabled where the network itself is closed"
        )


class Server(uvicorn.Server):
    """Ends event streams at the first signal; otherwise they would hold the process for its whole grace period."""

    def __init__(self, config: uvicorn.Config, backend: Backend) -> None:
        super().__init__(config)
        self.backend = backend

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.backend.stopping.set()
        super().handle_exit(sig, frame)


def main() -> int:
    chosen = address_parser("services.gateway", port=DEFAULT_PORT).parse_args()
    configure_logging("gateway")
    try:
        # Wrong settings end the process here, before it listens.
        backend = open_backend()
        app = create_app(backend)
        check_host(chosen.host, app.state.keys)
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    exit_with_parent()
    Server(uvicorn_config(app, chosen, grace_s=GRACE_S), backend).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
