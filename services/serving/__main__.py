"""The serving service's HTTP process: `python -m services.serving --port 8103`."""

import sys

import uvicorn

from services.serving.settings import SqlServiceSettings
from services.serving.sql.app import create_app
from shared.errors import SenseError
from shared.http.guard import Guard, check_bind_address
from shared.http.server import address_parser, uvicorn_config
from shared.logging import configure_logging
from shared.processes.lifecycle import exit_with_parent
from shared.settings import EngineSettings, SandboxSettings
from shared.storage.open import StoreSettings, open_store

GRACE_S = 6


def main() -> int:
    note = "beyond the loopback SENSE_INTERNAL_TOKEN has to be set"
    chosen = address_parser("services.serving", port=8103, note=note).parse_args()
    configure_logging("serving-http")
    try:
        check_bind_address(chosen.host, Guard.from_settings())
        objects = open_store(StoreSettings())
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    exit_with_parent()
    app = create_app(objects, EngineSettings().url, SandboxSettings().url, SqlServiceSettings())
    uvicorn.Server(uvicorn_config(app, chosen, grace_s=GRACE_S)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
