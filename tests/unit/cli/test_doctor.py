"""`sense doctor` says what is wrong, how to mend it, and goes on where a check breaks."""

import json
from collections.abc import Iterator

import pytest

from services.cli.doctor import Finding, run_checks
from services.gateway.backend import Backend
from shared.errors import UnavailableError
from tests.unit.cli.conftest import Sense


def found(out: str) -> dict[str, dict[str, str]]:
    return {one["subject"]: one for one in json.loads(out)}


def test_a_running_stack_is_looked_at(
    sense: Sense, stack: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_REDIS_URL", backend.redis_url)
    monkeypatch.setenv("SENSE_STORE_ROOT", str(backend.objects.root))  # type: ignore[attr-defined]
    ended = sense("doctor", "--json")
    seen = found(ended.out)
    assert seen["gateway"]["said"] == f"ready at {stack}"
    assert "tuned" in seen["engine"]["said"]
    assert (seen["sandbox child"]["grade"], seen["object store"]["grade"]) == ("ok", "ok")
    assert seen["sandbox service"]["grade"] == "wrong"  # none runs in this test
    assert seen["keys"]["grade"] == "note"
    assert ended.code == 1
    assert list(backend.objects.list("doctor/")) == []


def test_a_redis_that_may_lose_work_is_wrong(
    sense: Sense, stack: str, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSE_REDIS_URL", backend.redis_url)
    before = backend.jobs.client.config_get("appendonly")["appendonly"]
    backend.jobs.client.config_set("appendonly", "no")
    try:
        ended = sense("doctor")
    finally:
        backend.jobs.client.config_set("appendonly", before)
    assert "no append-only file" in ended.out and "set appendonly yes" in ended.out


def test_without_a_stack_it_says_how_to_start_one(sense: Sense, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_URL", "http://127.0.0.1:9")
    ended = sense("doctor")
    assert ended.code == 0, ended.out
    assert "sense up" in ended.out


def test_a_check_that_breaks_is_a_finding() -> None:
    def away() -> Iterator[Finding]:
        yield Finding("a", "ok", "fine")
        raise UnavailableError("the store does not answer; check it")

    def broken() -> Iterator[Finding]:
        raise KeyError("x")

    seen = list(run_checks({"away": away, "broken": broken, "after": lambda: iter([Finding("c", "ok", "fine")])}))
    assert [(one.subject, one.grade) for one in seen] == [
        ("a", "ok"),
        ("away", "wrong"),
        ("broken", "wrong"),
        ("c", "ok"),
    ]


def test_an_old_name_of_a_setting_is_wrong_with_its_new_one(sense: Sense, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_SANDBOX_LONGEST_S", "5")
    ended = sense("doctor", "--json")
    settings = next(one for one in json.loads(ended.out) if one["subject"] == "settings")
    assert settings["grade"] == "wrong" and "SENSE_SANDBOX_LONGEST_S" in settings["said"]
    assert settings["remedy"] == "rename it to SENSE_SANDBOX_MAX_DEADLINE_S"
    assert ended.code == 1
