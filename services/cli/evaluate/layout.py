"""Where a benchmark keeps its databases: one folder a database, with one SQLite file, or with a test suite of them."""

from functools import cached_property
from pathlib import Path

from shared.errors import InvalidInputError, NotFoundError

SUITE_FILE = "suite.json"
SUFFIXES = (".sqlite", ".db", ".sqlite3")


class Databases:
    """The databases below a folder. Raises NotFoundError or InvalidInputError where there is none."""

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise NotFoundError(f"there is no folder {folder}; give the benchmark's database folder with --db")
        if not folder.is_dir():
            raise InvalidInputError(f"{folder} is no folder; give the one that has a folder for each database")
        self.folder = folder
        if not self.known:
            raise InvalidInputError(f"{folder} has no databases; expected {folder}/NAME/NAME.sqlite")

    @cached_property
    def known(self) -> dict[str, list[Path]]:
        """Name -> its files, the one named like the folder first, the others by name."""
        found: dict[str, list[Path]] = {}
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
            if files:
                found[folder.name] = [path for path in files if path.stem == folder.name] + [
                    path for path in files if path.stem != folder.name
                ]
        return found

    def main(self, name: str) -> Path:
        """The database itself."""
        return self.known[name][0]

    def suite(self, name: str) -> list[Path]:
        """All files of the database: itself and its test suite."""
        return self.known[name]


def is_generated(folder: Path) -> bool:
    """Whether `sense suite build` made the folder."""
    return (folder / SUITE_FILE).is_file()
