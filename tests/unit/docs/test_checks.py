"""`make check` leaves out what it says, and nothing that is gone."""

import re
from pathlib import Path

from tests.unit.conftest import SLOW_FILES

ROOT = Path(__file__).parents[3]


def test_every_slow_file_exists() -> None:
    paths = [path.with_suffix("").as_posix() for path in (ROOT / "tests" / "unit").rglob("test_*.py")]
    gone = [name for name in SLOW_FILES if not any(path.endswith(f"/{name}") for path in paths)]
    assert sorted(gone) == [], "renamed or gone: change SLOW_FILES in tests/unit/conftest.py"


def test_every_fast_folder_exists() -> None:
    line = re.search(
        r"^FAST_TESTS := .*addprefix tests/unit/,([\w ]+)\)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert line is not None
    assert [name for name in line[1].split() if not (ROOT / "tests" / "unit" / name).is_dir()] == []
