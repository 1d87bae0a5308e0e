"""Local copies of immutable objects: brought once, named by their key's last part, never changed."""

from pathlib import Path

from shared.storage.base import ObjectStore


def local_copy(objects: ObjectStore, key: str, folder: Path) -> Path:
    """The object as a read-only file in `folder`; two processes may bring it at once. Raises `NotFoundError`."""
    path = folder / key.rsplit("/", 1)[-1]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        objects.get_file(key, path)
    return path


def local_folder(objects: ObjectStore, prefix: str, names: list[str], folder: Path) -> Path:
    """Several objects under `prefix` (without its closing slash) as files of `folder`."""
    for name in names:
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            objects.get_file(f"{prefix}/{name}", path)
    return folder
