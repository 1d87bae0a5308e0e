"""`python -m services.serving.vllm --port P --state DIR`: the front before vLLM."""

import sys
from pathlib import Path

import uvicorn

from services.serving.settings import VllmSettings
from services.serving.vllm.app import create_app
from shared.errors import SenseError
from shared.http.guard import Guard, check_bind_address
from shared.http.server import address_parser, uvicorn_config
from shared.logging import configure_logging
from shared.processes.lifecycle import exit_with_parent

GRACE_S = 10


def main() -> int:
    note = "beyond the loopback SENSE_INTERNAL_TOKEN has to be set"
    parser = address_parser("services.serving.vllm", port=None, note=note)
    parser.add_argument("--state", type=Path, required=True, help="folder of models.json and vLLM's log")
    given = parser.parse_args()
    configure_logging("engine")
    exit_with_parent()
    try:
        check_bind_address(given.host, Guard.from_settings())
        app = create_app(given.state, VllmSettings())
    except SenseError as error:
        print(error.message, file=sys.stderr)
        return 2
    uvicorn.Server(uvicorn_config(app, given, grace_s=GRACE_S)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
