"""Database files of a benchmark or of one's own: NAME/NAME.sqlite, or NAME.sqlite, in one folder or several."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from shared.errors import InvalidInputError, NotFoundError
from shared.storage.local_files import read_chunks

SUFFIXES = (".sqlite", ".db", ".sqlite3")


class DatabaseFolders:
    """Several folders as one; the first that has a name counts.

    Raises NotFoundError for a folder that is not there, InvalidInputError where none holds a database.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        self.files: dict[str, Path] = {}
        for folder in self.folders:
            if not folder.is_dir():
                raise NotFoundError(f"there is no folder {folder}; give the folder of databases with --db")
            for name, path in files_of(folder).items():
                self.files.setdefault(name, path)
        if not self.files:
            said = ", ".join(str(folder) for folder in self.folders) or "(none given)"
            raise InvalidInputError(f"no databases in {said}; expected NAME/NAME.sqlite there, or name another: --db")
        self._ids: dict[str, str] = {}

    def id_of(self, name: str) -> str:
        """SHA-256 (hex) of the file."""
        if name not in self._ids:
            digest = hashlib.sha256()
            for chunk in read_chunks(self.files[name]):
                digest.update(chunk)
            self._ids[name] = digest.hexdigest()
        return self._ids[name]


def files_of(folder: Path) -> dict[str, Path]:
    """Name -> file: a file itself, or the one in a folder of its own that has the folder's name, else the first."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in SUFFIXES:
            found.setdefault(path.stem, path)
        elif path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and one.is_file())
            named = [one for one in inside if one.stem == path.name] or inside[:1]
            if named:
                found[path.name] = named[0]
    return found
