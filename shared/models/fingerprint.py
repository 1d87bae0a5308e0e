"""Which base a model was trained on, beyond its name."""

import hashlib
from pathlib import Path

SAMPLE = 1 << 20


def base_fingerprint(folder: Path) -> str:
    """Hex digest over config.json and, of every safetensors file, its name, size, first and last MiB.

    Whole files of a large base take minutes to read; two bases that share all of these bytes and differ between them
    have not been seen.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"\0{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE))
            file.seek(max(0, size - SAMPLE))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()
