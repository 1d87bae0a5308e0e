"""Spider's real dev set, where it is at hand."""

import json

from tests.support.benchmarks import DATA, needs_data
from tests.unit.cli.conftest import Sense


@needs_data
def test_spider_dev_has_its_known_counts(sense: Sense) -> None:
    ended = sense("import", "spider", DATA / "spider", "--check", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["questions"], found["databases"], found["skipped"]) == (1034, 20, {})
    assert found["hardness"] == {"easy": 248, "medium": 446, "hard": 174, "extra": 166}
    assert (found["health"]["failed"], found["health"]["timeouts"], found["ceiling"]) == ([], [], 1.0)
    assert found["release"] == "Spider 1.0 dev (1,034 questions)"


@needs_data
def test_bird_dev_is_known_and_lacks_ten_databases(sense: Sense) -> None:
    found = json.loads(sense("import", "bird", DATA / "bird", "--check", "--json").out)
    assert (found["questions"], len(found["skipped"]), sum(found["skipped"].values())) == (129, 10, 1405)
    assert found["release"] and found["health"]["failed"] == []
