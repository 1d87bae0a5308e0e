"""The handwritten set: one YAML file a database, read as written examples."""

from pathlib import Path
from typing import Any

import yaml

from shared.contracts.records import DatabaseScript, Provenance, WrittenExample

QUESTIONS = Path(__file__).parent / "handwritten_questions"
WRITER_VERSION = "handwritten/1"


def load_handwritten() -> list[WrittenExample]:
    """All handwritten examples, by file name, in the order of the file."""
    return [written for file in sorted(QUESTIONS.glob("*.yaml")) for written in read_file(file)]


def read_file(file: Path) -> list[WrittenExample]:
    described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    database = DatabaseScript(ddl=described["ddl"], inserts=described["inserts"])
    source = Provenance(writer="handwritten", writer_version=WRITER_VERSION, seed=0, source=file.name)
    shared: dict[str, Any] = {"domain": file.stem, "split": "handwritten", "database": database, "provenance": source}
    return [WrittenExample(**entry, **shared) for entry in described["questions"]]


__all__ = ["load_handwritten"]
