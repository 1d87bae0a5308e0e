"""Prints the OpenAPI document: `python -m services.gateway.openapi > docs/openapi.json`."""

import json
import sys

from services.gateway.app import create_app


def render() -> str:
    """The document as it is committed."""
    return json.dumps(create_app().openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
