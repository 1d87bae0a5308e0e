"""`python -m services.serving.embedded --port P --state DIR`: the embedded engine."""

import sys
from pathlib import Path

import uvicorn

from services.serving.embedded.app import create_app
from services.serving.settings import EmbeddedEngineSettings
from shared.errors import SenseError
from shared.http.guard import Guard, check_bind_address
from shared.http.server import address_parser
from shared.processes.lifecycle import exit_with_parent


def main() -> int:
    note = "beyond the loopback SENSE_INTERNAL_TOKEN has to be set"
    parser = address_parser("services.serving.embedded", port=None, note=note)
    parser.add_argument("--state", type=Path, required=True, help="folder of models.json, the names it serves")
    given = parser.parse_args()
    try:
        check_bind_address(given.host, Guard.from_settings())
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    exit_with_parent()
    app = create_app(given.state, EmbeddedEngineSettings())
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning", server_header=False, ws="none")
    return 0


if __name__ == "__main__":
    sys.exit(main())
