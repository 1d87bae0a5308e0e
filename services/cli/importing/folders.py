"""Database files of a benchmark or of one's own: NAME/NAME.sqlite, or NAME.sqlite, in one folder or several."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from services.cli.evaluate.layout import databases_in, folder_hint
from shared.errors import InvalidInputError, NotFoundError
from shared.files import read_chunks


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
            for name, paths in databases_in(folder).items():
                self.files.setdefault(name, paths[0])
        if not self.files:
            said = ", ".join(str(folder) for folder in self.folders) or "(none given)"
            hints = "".join(folder_hint(folder) for folder in self.folders)
            raise InvalidInputError(
                f"no databases in {said}; expected NAME/NAME.sqlite there, or name another: --db{hints}"
            )
        self._ids: dict[str, str] = {}

    def id_of(self, name: str) -> str:
        """SHA-256 (hex) of the file."""
        if name not in self._ids:
            digest = hashlib.sha256()
            for chunk in read_chunks(self.files[name]):
                digest.update(chunk)
            self._ids[name] = digest.hexdigest()
        return self._ids[name]
