"""The glossary is short, and names each thing once."""

import re
from pathlib import Path

GLOSSARY = Path(__file__).parents[3] / "docs" / "glossary.md"
ENTRY = re.compile(r"^- (\*\*.+?\*\*(?:, \*\*.+?\*\*)*): \S.*[.\w)]$", re.MULTILINE)
MAX_ENTRIES = 70


def test_at_most_70_entries_each_with_a_meaning() -> None:
    text = GLOSSARY.read_text(encoding="utf-8")
    entries = ENTRY.findall(text)
    assert 0 < len(entries) <= MAX_ENTRIES
    assert len(entries) == text.count("\n- "), "an entry is `- **term**: meaning`, on one line"


def test_no_term_is_defined_twice() -> None:
    terms = [
        term
        for entry in ENTRY.findall(GLOSSARY.read_text(encoding="utf-8"))
        for term in re.findall(r"\*\*(.+?)\*\*", entry)
    ]
    assert len(terms) == len(set(terms))
