"""Whatever a caller sends, reading it is bounded, and so is what is said about it."""

import time

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from shared.errors import InvalidInputError
from shared.parsing import MAX_VALUES, check_json, read_json, read_yaml
from tests.support.deadline import within
from tests.support.gateway import SMALL_SPEC

YAML, JSON = {"Content-Type": "application/yaml"}, {"Content-Type": "application/json"}
MOST_ANSWER = 60_000
DEADLINE_S = 20.0


def repeated(unit: str, size: int) -> str:
    return unit * (size // len(unit))


WORST_YAML = {
    "list": repeated("- a\n", 250_000),
    "flow": "a: [" + repeated("1,", 250_000) + "1]",
    "keys": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "depth": "[" * 250_000,
    "mappings": "{a: " * 60_000,
    "dashes": "- " * 120_000,
    "aliases": "a: &a [1]\nb: [" + repeated("*a,", 250_000) + "]",
    "bomb": "a: &a [1,1]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(1000)),
    "tags": repeated("- !a b\n", 250_000),
    "blank": "\n" * 250_000,
    "quoted": '"' + repeated("\\x41", 250_000) + '"',
    "folded": "a: >\n" + repeated("  x\n\n", 250_000),
    "numbers": "- " + "1" * 250_000,
    "documents": repeated("---\n", 250_000),
}
WORST_JSON = {
    "models": '{"kind":"evaluation","models":[' + repeated('{"a":1},', 960_000) + "{}]}",
    "numbers": '{"kind":"evaluation","models":[' + "1," * (MAX_VALUES - 20) + "1]}",
    "few models": '{"kind":"evaluation","models":[' + '{"a":1},' * (MAX_VALUES // 2 - 20) + "{}]}",
    "long names": "{" + ",".join(f'"{"k" * 5000}{n}":1' for n in range(45)) + "}",
    "lists": "[" + repeated("[],", 240_000) + "[]]",
    "depth": repeated('{"a":', 240_000),
    "open text": '"' + repeated('\\"', 240_000),
}


@pytest.mark.parametrize("name", WORST_YAML)
def test_yaml_is_read_or_refused_in_time(api: TestClient, name: str) -> None:
    begin = time.process_time()
    answer = api.post("/v1/specs/check", content=WORST_YAML[name], headers=YAML)
    assert answer.status_code in (413, 422)
    assert len(answer.content) < MOST_ANSWER
    assert time.process_time() - begin < DEADLINE_S


@pytest.mark.parametrize("name", WORST_JSON)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/execute", "/v1/sql", "/v1/keys"])
def test_what_is_said_about_a_body_is_bounded(api: TestClient, path: str, name: str) -> None:
    answer = api.post(path, content=WORST_JSON[name], headers=JSON)
    assert answer.status_code in (413, 422)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) < MOST_ANSWER
    assert len(answer.json()["errors"]) <= 50


def test_a_spec_with_many_faults_says_how_many_there_are(api: TestClient) -> None:
    spec = {"kind": "evaluation", "models": [1] * 64}
    answer = api.post("/v1/jobs", json=spec).json()
    assert answer["detail"].startswith("the spec has 64 fault(s): models.0")
    assert [one["path"] for one in answer["errors"]] == [f"models.{n}" for n in range(50)]


def test_a_spec_has_a_bound_of_its_own(api: TestClient, backend: Backend) -> None:
    most = backend.settings.max_spec_bytes
    answer = api.post("/v1/jobs", json={**SMALL_SPEC, "name": "x" * most})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert str(most) in answer.json()["detail"]


def test_query_strings_and_paths_do_not_come_back_whole(api: TestClient) -> None:
    many = api.get("/v1/jobs?" + "&".join(["limit=x", "status=" + "y" * 40_000, "kind=" + "A" * 10_000]))
    assert many.status_code == 422
    assert len(many.content) < MOST_ANSWER
    long = api.get("/nowhere/" + "z" * 50_000)
    assert long.status_code == 404
    assert len(long.content) < MOST_ANSWER


def test_yaml_is_read_by_its_core_schema(api: TestClient) -> None:
    """What PyYAML reads by the older 1.1: Norway's code is no truth value, a date no date, an underscore no number."""
    text = (
        "on: yes\nno: [NO, off, y, 1_000, 0o17, 0x1F, 010, 1:30, 2026-01-01, ~, null, true, 1e3, .5, -3, '5', !!str 6]"
    )
    given = read_yaml(text.encode())
    listed = ["NO", "off", "y", "1_000", 15, 31, 10, "1:30", "2026-01-01", None, None, True, 1000.0, 0.5, -3, "5", "6"]
    assert given == {"on": "yes", "no": listed}
    answer = api.post("/v1/specs/check", content="kind: synthesis\nname: on\n", headers=YAML)
    assert answer.json()["given"] == {"kind": "synthesis", "name": "on"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a 1\nb: *a", "the body is not YAML at line 2, column 4: aliases are not read here; write the value out"),
        ("a: 1\na: 2", "the body is not YAML at line 2, column 1: the key 'a' stands here twice"),
        ("a: !secret b", "the body is not YAML at line 1, column 4: tags are not read here"),
        ("[a]: 1", "the body is not YAML at line 1, column 1: a key is a list or a mapping; it must be a text"),
        ("a\n---\nb", "the body is not YAML at line 2, column 1: there is a second document; send one at a time"),
        ("[" * 60, "the body is nested deeper than 50 levels"),
        ("[" + "1," * 10_000 + "]", "the body holds more than 3,000 values; send less at once"),
    ],
)
def test_a_refusal_names_the_place_and_the_reason(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_yaml(text.encode())
    assert refused.value.message == said


def test_json_is_counted_without_being_made() -> None:
    """Commas and brackets inside of texts do not count, whatever stands before their quotes."""
    text = repeated('[{,\\",\\\\', 100_000)
    assert read_json(f'{{"sql": "{text}"}}'.encode())
    check_json(b"[" + b"1," * (MAX_VALUES - 3) + b"1]")
    for wide in (b"[" + b"1," * MAX_VALUES, b"[" + b"[]," * MAX_VALUES, b"[" * 60):
        with pytest.raises(InvalidInputError):
            check_json(wide)
    assert within(DEADLINE_S, check_json, b'"' + b'\\"' * 500_000) is None
