"""The sandbox's HTTP service for tests: real HTTP in a thread, real children, a real directory store."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvicorn

from services.sandbox.app import create_app
from shared.settings import SandboxSettings
from shared.storage.directory import DirectoryStore
from tests.support.s3_server import free_ports

SHOP = """
CREATE TABLE customer( -- who buys
  id INTEGER PRIMARY KEY, -- never reused
  name TEXT NOT NULL, city TEXT /* where they live */);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), total REAL);
CREATE VIEW big AS SELECT * FROM orders WHERE total > 10;
INSERT INTO customer VALUES (1,'Ada','Paris'),(2,'Bob','Oslo'),(3,'Cyd','Paris');
INSERT INTO orders VALUES (1,1,10.0),(2,1,20.5),(3,2,5.25);
CREATE TRIGGER t AFTER INSERT ON orders BEGIN DELETE FROM customer; END;
"""
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def make_database(path: Path, script: str = SHOP) -> bytes:
    """A database file of this script; its bytes."""
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path.read_bytes()


@dataclass(frozen=True)
class Sandbox:
    """A running service: its settings (with its address), its store, and where files arrive."""

    settings: SandboxSettings
    objects: DirectoryStore
    incoming: Path

    @property
    def url(self) -> str:
        return self.settings.url

    def received(self) -> list[str]:
        """Files that are being received, or were left behind."""
        return [path.name for path in self.incoming.iterdir() if path.name != ".lock"]


@contextmanager
def serve_sandbox(root: Path, **settings: Any) -> Iterator[Sandbox]:
    """Serves the store in `root` until the block ends. Local copies go where SENSE_STATE says."""
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )
    port = free_ports(1)[0]
    own = SandboxSettings.model_validate({"url": f"http://127.0.0.1:{port}", "intake_timeout_s": 10.0, **settings})
    sandbox = Sandbox(own, DirectoryStore(root / "objects"), root / "incoming")
    app = create_app(sandbox.objects, own, sandbox.incoming)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield sandbox
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One service for all tests of a module, with small bounds."""
    root = tmp_path_factory.mktemp("sandbox")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSE_STATE", str(root / "state"))
        bounds = {"max_deadline_s": 5.0, "max_rows": 200, "max_upload_bytes": 2_000_000, "wait_s": 0.3}
        with serve_sandbox(root, **bounds) as running:
            yield running
