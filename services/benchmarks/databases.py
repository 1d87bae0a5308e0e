"""Where a benchmark keeps its databases: one folder a database, with one SQLite file, or with a test suite of them."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from shared.errors import InvalidInputError, NotFoundError
from shared.files import read_chunks

SUITE_FILE = "suite.json"
SUFFIXES = (".sqlite", ".db", ".sqlite3", ".db3")
STRANGERS = ("__MACOSX",)  # macOS leaves such folders, and `._NAME` files, in archives and on foreign disks
SEARCHED = 200


def is_database_file(path: Path) -> bool:
    """Whether a name is that of a database, whatever the case of its ending; not what starts with a dot."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder, by name, without what systems put there."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in STRANGERS)


def databases_in(folder: Path) -> dict[str, list[Path]]:
    """Name -> its files: NAME/NAME.sqlite first and what is beside it, or NAME.sqlite."""
    found: dict[str, list[Path]] = {}
    for path in entries_of(folder):
        if path.is_dir():
            files = [one for one in entries_of(path) if is_database_file(one)]
            if files:
                found[path.name] = sorted(files, key=lambda one: one.stem != path.name)
    for path in entries_of(folder):
        if is_database_file(path):
            found.setdefault(path.stem, [path])
    return found


def folder_hint(folder: Path) -> str:
    """Where databases are, when the folder that was given is one too high."""
    near = next((one for one in subfolders(folder) if databases_in(one)), None)
    return f"; {near} has some" if near else ""


def subfolders(folder: Path) -> Iterator[Path]:
    """Folders below, level by level, some of them."""
    level, seen = [folder], 0
    while level and seen < SEARCHED:
        level = [one for above in level for one in entries_of(above) if one.is_dir()][: SEARCHED - seen]
        seen += len(level)
        yield from level


class Databases:
    """The databases below a folder. Raises NotFoundError or InvalidInputError where there is none."""

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise NotFoundError(f"there is no folder {folder}; give the benchmark's database folder with --db")
        if not folder.is_dir():
            raise InvalidInputError(f"{folder} is no folder; give the one that has a folder for each database")
        self.folder = folder
        if not self.known:
            raise InvalidInputError(
                f"{folder} has no databases; expected {folder}/NAME/NAME.sqlite{folder_hint(folder)}"
            )

    @cached_property
    def known(self) -> dict[str, list[Path]]:
        """Name -> its files, the one named like the folder first, the others by name."""
        return databases_in(self.folder)

    def main(self, name: str) -> Path:
        """The database itself."""
        return self.known[name][0]

    def suite(self, name: str) -> list[Path]:
        """All files of the database: itself and its test suite."""
        return self.known[name]


def is_generated(folder: Path) -> bool:
    """Whether `sense suite build` made the folder."""
    return (folder / SUITE_FILE).is_file()


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
