"""The cluster's `.env`: what it has to hold, and a first one with random secrets.

    python -m infra.compose.secrets_file        # writes .env where there is none, adds secrets that are missing

Standard library alone: it runs before any setup.
"""

import os
import secrets
import sys
from pathlib import Path

FILE = Path(".env")
SECRETS = {
    "SENSE_REDIS_PASSWORD": "password of Redis",
    "SENSE_STORE_ACCESS_KEY": "access key of the object store (MinIO's root user)",
    "SENSE_STORE_SECRET_KEY": "secret key of the object store (MinIO's root password)",
    "SENSE_ADMIN_KEY": "the operator's own key of the gateway; send it as: Authorization: Bearer …",
    "SENSE_INTERNAL_TOKEN": "what the services show each other: engine, sandbox-http, serving-http, metrics ports",
    "SENSE_KEY_SECRET": "signs the keys of the gateway; no other service has it",
    "SENSE_METRICS_KEY": "Prometheus' own key of the gateway; it opens /metrics alone",
    "SENSE_FLOWER_PASSWORD": "password of Flower's user `sense`",
    "SENSE_GRAFANA_PASSWORD": "password of Grafana's user `admin` (profile monitoring)",
}
LEAST = 12
GUESSED = frozenset({"password", "changeme", "secret", "minioadmin", "admin", "sense", "example", "test", "default"})


def read_env(path: Path) -> dict[str, str]:
    """Names and values, quotes taken off; what is commented out is not set."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def weak_secrets(values: dict[str, str]) -> list[str]:
    """A sentence for every secret that is missing, short, or a word that everybody tries first."""
    said = []
    for name, meaning in SECRETS.items():
        value = values.get(name, "")
        if not value:
            said.append(f"{name} is not set ({meaning}); make env writes one")
        elif value.lower() in GUESSED or len(set(value)) < 5:
            said.append(f"{name} is a default that can be guessed ({meaning}); delete its line and run make env")
        elif len(value) < LEAST:
            said.append(f"{name} has {len(value)} characters, {LEAST} are the least ({meaning})")
        elif not all(char.isalnum() or char in "-_" for char in value):
            said.append(f"{name} holds characters that break addresses; use letters, digits, - and _")
    return said


def add_missing(path: Path) -> list[str]:
    """Writes secrets that are not there; what is there stays. The file is its owner's alone. Gives the new names."""
    known = read_env(path)
    missing = [name for name in SECRETS if not known.get(name)]
    if missing:
        lines = [f"# {SECRETS[name]}\n{name}={secrets.token_hex(24)}\n" for name in missing]
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(("\n" if before and not before.endswith("\n") else "") + "".join(lines))
    if path.exists():
        path.chmod(0o600)
    return missing


def main() -> int:
    """Says what it wrote, never the secrets."""
    added = add_missing(FILE)
    print(f"{FILE}: added {', '.join(added)}" if added else f"{FILE} has every secret; nothing was changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
