"""The atomic steps of the job store as Lua, one file a step."""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def source(name: str) -> str:
    """A step's text behind the common prelude."""
    return (FOLDER / "prelude.lua").read_text() + (FOLDER / f"{name}.lua").read_text()
