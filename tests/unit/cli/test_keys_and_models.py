"""`sense keys`, `sense models`, and what is removed by the command line."""

import json
from dataclasses import replace

import pytest

from services.gateway.backend import Backend
from services.gateway.settings import AuthSettings
from tests.support.gateway import serve
from tests.unit.cli.conftest import Sense


def test_keys_are_made_shown_once_and_removed(sense: Sense, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no keys" in sense("keys").out
    assert sense("keys", "add", "me").code == 2  # the first has to be an admin's
    made = sense("keys", "add", "me", "--role", "admin")
    text = made.out.strip()
    assert made.code == 0 and text.startswith("sense_") and text not in made.err
    refused = sense("jobs")
    assert refused.code == 2 and "SENSE_API_KEY" in refused.err
    monkeypatch.setenv("SENSE_API_KEY", text)
    assert sense("jobs").code == 0
    reader = json.loads(sense("keys", "add", "ci", "--role", "read", "--per-minute", "60", "--json").out)
    assert (reader["role"], reader["per_minute"]) == ("read", 60)
    made = sense("keys", "add", "bob", "--jobs", "2", "--usd-per-day", "1.5", "--stored-bytes", "1000", "--json")
    limits = json.loads(made.out)["limits"]
    assert (limits["jobs"], limits["usd_per_day"], limits["stored_bytes"], limits["examples"]) == (2, 1.5, 1000, None)
    assert "usd_per_day 1.5" in " ".join(sense("keys").out.split())
    assert sense("keys", "change", "bob", "--jobs", "9", "--per-minute", "50").code == 0
    assert sense("keys", "change", "bob", "--examples", "7").code == 0  # what is not named stays
    (bob,) = (one for one in json.loads(sense("keys", "--json").out) if one["name"] == "bob")
    limits = bob["limits"]
    assert (bob["per_minute"], limits["jobs"], limits["usd_per_day"], limits["examples"]) == (50, 9, 1.5, 7)
    assert sense("keys", "change", "nobody", "--jobs", "9").code == 2
    assert sense("keys", "remove", "bob").code == 0
    assert json.loads(sense("jobs", "--owner", "me", "--json").out) == []
    listed = sense("keys")
    assert "ci" in listed.out and reader["key"] not in listed.out
    assert sense("keys", "remove", "ci").code == 0
    assert [one["name"] for one in json.loads(sense("keys", "--json").out)] == ["me"]


@pytest.mark.parametrize(("words", "said"), [(("Not A Name",), "cannot name a key"), (("x", "--role", "boss"), "boss")])
def test_keys_that_cannot_be(sense: Sense, stack: str, words: tuple[str, ...], said: str) -> None:
    ended = sense("keys", "add", *words)
    assert ended.code == 2 and said in ended.err


def test_a_key_that_no_header_takes(sense: Sense, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSE_API_KEY", "line\nbreak")
    ended = sense("jobs")
    assert ended.code == 2 and "copy it again" in ended.err


def test_the_operators_own_key_opens(sense: Sense, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "k" * 32
    with serve(replace(backend, auth=AuthSettings.model_validate({"admin_key": own}))) as url:
        monkeypatch.setenv("SENSE_URL", url)
        assert sense("jobs").code == 2
        monkeypatch.setenv("SENSE_ADMIN_KEY", own)
        assert sense("jobs").code == 0


def test_models_and_what_is_absent(sense: Sense, stack: str) -> None:
    assert "no trained models" in sense("models").out
    for words in (
        ("models", "show", "x"),
        ("models", "deploy", "x"),
        ("databases", "remove", "x"),
        ("datasets", "remove", "x"),
    ):
        ended = sense(*words)
        assert ended.code == 2 and "there is no" in ended.err, words
