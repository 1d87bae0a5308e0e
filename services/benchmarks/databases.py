"""Where a benchmark keeps its databases: a folder for each, with one SQLite file or a whole test suite."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from shared.errors import InvalidInputError, NotFoundError
from shared.files import read_chunks

SUITE_FILE = "suite.json"
SUFFIXES = (".sqlite", ".db", ".sqlite3", ".db3")
STRANGERS = ("__MACOSX",)  # macOS leaves such folders, and `._NAME` files, in archives and on foreign disks
# Folders that a hint in an error message looks through at most.
SEARCHED = 200


def is_database_file(path: Path) -> bool:
    """Goes by the ending in any case; never a hidden file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def entries_of(folder: Path) -> list[Path]:
    """The content of a folder by name, without what operating systems put there."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in STRANGERS)


def databases_in(folder: Path) -> dict[str, list[Path]]:
    """Name -> files: NAME/NAME.sqlite first and its test-suite databases in the folder, or NAME.sqlite."""
    found: dict[str, list[Path]] = {}
    for path in entries_of(folder):
        if path.is_dir():
            files = [one for one in entries_of(path) if is_database_file(one)]
            if files:
                found[path.name] = sorted(files, key=lambda one: one.stem != path.name)
    for path in entries_of(folder):
        if is_database_file(path):
            # A folder takes precedence over a file of the same name.
            found.setdefault(path.stem, [path])
    return found


def folder_hint(folder: Path) -> str:
    """The folder below that has databases, for one that is given a level too high."""
    near = next((one for one in subfolders(folder) if databases_in(one)), None)
    return f"; {near} has some" if near else ""


def subfolders(folder: Path) -> Iterator[Path]:
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
        """Name -> files, the one named like the folder first."""
        return databases_in(self.folder)

    def main(self, name: str) -> Path:
        return self.known[name][0]

    def suite(self, name: str) -> list[Path]:
        return self.known[name]


def is_generated(folder: Path) -> bool:
    return (folder / SUITE_FILE).is_file()


class DatabaseFolders:
    """Several folders as one; the first that has a name counts.

    Raises NotFoundError for a missing folder, InvalidInputError where none holds a database.
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
            given = ", ".join(str(folder) for folder in self.folders) or "(none given)"
            hints = "".join(folder_hint(folder) for folder in self.folders)
            raise InvalidInputError(
                f"no databases in {given}; expected NAME/NAME.sqlite there, or name another: --db{hints}"
            )
        self._ids: dict[str, str] = {}

    def id_of(self, name: str) -> str:
        """SHA-256 (hex) of the file."""
        if name not in self._ids:
            self._ids[name] = file_sha256(self.files[name])
        return self._ids[name]


def suite_label(folder: Path) -> str | None:
    """The note for reports about a suite that `sense suite build` wrote, whose TS is not official; None for others."""
    try:
        label = json.loads((folder / SUITE_FILE).read_text(encoding="utf-8"))["label"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(label)


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()
