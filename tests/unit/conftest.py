"""Marks the slow unit tests, so that `make check-unit` can leave them out."""

from pathlib import Path

import pytest

# Files that take more than about five seconds of processor time, or wait for servers that they start. They stand here
# and not in each file so that one place says what `make check` does not run. A folder before a name tells two apart.
SLOW_FILES = frozenset(
    {
        "test_compose",
        "test_isolation",
        "test_lengths",
        "sql/test_parser",
        "sql/test_patterns",
        "sql/test_untrusted_text",
        "test_admission",
        "planning/test_rounds",
        "pairing/test_spider",
        "test_store_users",
        "test_retention_shared_objects",
        "grammar/test_writer",
        "test_retention",
    }
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(Path(item.path).with_suffix("").as_posix().endswith(f"/{name}") for name in SLOW_FILES):
            item.add_marker(pytest.mark.slow)
