"""What the HTTP processes of our services have in common: their command line, and how they are served."""

import argparse

import uvicorn
from fastapi import FastAPI


def address_parser(module: str, *, port: int | None, note: str = "") -> argparse.ArgumentParser:
    """`python -m MODULE [--host H] [--port P]`; without a usual `port` it has to be named."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--host", default="127.0.0.1", help=note or None)
    parser.add_argument("--port", type=int, default=port, required=port is None)
    return parser


def server_config(app: FastAPI, given: argparse.Namespace, *, grace_s: int) -> uvicorn.Config:
    """Our log lines instead of uvicorn's, no name of the server; `grace_s` for what runs when the end comes."""
    return uvicorn.Config(
        app,
        host=given.host,
        port=given.port,
        access_log=False,
        log_config=None,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=grace_s,
    )
