"""The serving service's HTTP process for tests: real HTTP in a thread, before an engine and a sandbox."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from services.serving.settings import SqlServiceSettings
from services.serving.sql.app import create_app
from shared.storage.store import ObjectStore
from tests.support.s3_server import free_ports


@contextmanager
def serve_app(app: FastAPI) -> Iterator[str]:
    """Serves until the block ends; yields the address."""
    port = free_ports(1)[0]
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def serve_asking(objects: ObjectStore, engine_url: str, sandbox_url: str, **settings: Any) -> Iterator[str]:
    """The service over this store, engine and sandbox."""
    with serve_app(create_app(objects, engine_url, sandbox_url, SqlServiceSettings.model_validate(settings))) as url:
        yield url
