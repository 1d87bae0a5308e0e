"""The handwritten set: questions over databases that no grammar domain resembles, one YAML file a database."""

from pathlib import Path
from typing import Any

import yaml

from shared.contracts.records import DatabaseScript, Provenance, WrittenExample

QUESTIONS = Path(__file__).parent / "handwritten_questions"
WRITER_VERSION = "handwritten/1"


def load_handwritten() -> list[WrittenExample]:
    examples: list[WrittenExample] = []
    # Sorted: the order of a folder differs between file systems.
    for file in sorted(QUESTIONS.glob("*.yaml")):
        described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        shared = {
            "domain": file.stem,
            "split": "handwritten",
            "database": DatabaseScript(ddl=described["ddl"], inserts=described["inserts"]),
            "provenance": Provenance(writer="handwritten", writer_version=WRITER_VERSION, seed=0, source=file.name),
        }
        examples += [WrittenExample(**entry, **shared) for entry in described["questions"]]
    return examples
