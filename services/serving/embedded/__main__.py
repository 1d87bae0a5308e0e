"""`python -m services.serving.embedded --port P --state DIR`: the embedded engine."""

from pathlib import Path

import uvicorn

from services.serving.embedded.app import create_app
from services.serving.embedded.settings import EngineSettings
from shared.http_process import address_parser
from shared.lifeline import exit_with_parent


def main() -> None:
    parser = address_parser("services.serving.embedded", port=None)
    parser.add_argument("--state", type=Path, required=True, help="folder of models.json, the names it serves")
    given = parser.parse_args()
    exit_with_parent()
    app = create_app(given.state, EngineSettings())
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
