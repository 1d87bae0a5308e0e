"""Model servers as they are: what they refuse, what they answer in place of text, and in which words they fail."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import InvalidInputError
from shared.llm import call, errors
from shared.llm.budgets import Budget
from shared.llm.client import ChatClient
from shared.llm.endpoints import LlmSettings, load_profiles
from shared.llm.messages import ChatAnswer, Usage
from shared.llm.responses import (
    BrokenBodyError,
    ErrorBodyError,
    UnexpectedBodyError,
    parse_server_error,
    read_completion,
    redact,
)
from shared.sampling import count_endings, describe_endings
from shared.sql.extraction import extract_sql
from shared.storage.directory import DirectoryStore
from tests.support.openai_server import OpenAiServer, Request
from tests.unit.llm.helpers import KEY, QUICK, StartServer, ask, complete_many, profile_of

SQL = "SELECT name FROM singer"


@pytest.fixture(autouse=True)
def nothing_learned() -> Iterator[None]:
    call._learned.clear()
    yield
    call._learned.clear()


def client(server: OpenAiServer, store: DirectoryStore, **fields: Any) -> ChatClient:
    return ChatClient(profile_of(server, **fields), store, policy=QUICK)


def one_choice(choice: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    return {"id": "c", "model": "test-model", "choices": [{"index": 0, **choice}], "usage": usage, **more}


# One choice, whatever `n` is


@pytest.mark.parametrize("given", [1, 3])
def test_as_many_calls_as_samples(given: int, openai_server: StartServer, store: DirectoryStore) -> None:
    """A server that gives fewer choices than asked for: every sample is bought once, paid for once, and differs."""
    server = openai_server(quirk=lambda request: choices(request, given))
    used: list[Usage] = []
    profile = profile_of(server, usd_per_million_in=1e6, usd_per_million_out=1e6)
    budget = Budget(max_usd=1e9)
    requests = [ask(f"question {number}", n=4, seed=5, temperature=1.0) for number in range(3)]
    buyer = ChatClient(profile, store, policy=QUICK, on_usage=used.append, budget=budget)
    answers = complete_many(buyer, requests)
    assert all(len(answer.texts) == len(answer.finish_reasons) == 4 for answer in answers)
    assert all(len(set(answer.texts)) == 4 for answer in answers)
    most = 3 * 4 if given == 1 else 3 * 2
    assert len(server.bodies) <= most
    assert sum(body.get("n", 1) == 1 for body in server.bodies) >= 3
    assert len(set(server.calls.values())) == 1
    spent = sum(usage.prompt_tokens + usage.completion_tokens for usage in used)
    assert budget.spent.tokens == spent == 12 * len(server.bodies)
    assert [answer.prompt_tokens + answer.completion_tokens for answer in answers].count(0) == 0
    before = len(server.bodies)
    again = complete_many(ChatClient(profile, store, policy=QUICK, on_usage=used.append), requests)
    assert [one.texts for one in again] == [one.texts for one in answers] and len(server.bodies) == before


def choices(request: Request, given: int) -> tuple[int, Any]:
    wanted = min(int(request.get("n", 1)), given)
    texts = [f"{request['messages'][-1]['content']}: {request['seed']}.{place}" for place in range(wanted)]
    listed = [
        {"index": place, "message": {"content": text}, "finish_reason": "stop"} for place, text in enumerate(texts)
    ]
    return 200, {"model": "m", "choices": listed, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}


def test_samples_bought_before_a_failure_are_not_bought_again(
    openai_server: StartServer, store: DirectoryStore
) -> None:
    broken = {"seed": 7}
    server = openai_server(
        quirk=lambda request: (400, {"error": "no"}) if request["seed"] == broken["seed"] else choices(request, 1)
    )
    with pytest.raises(errors.LlmBadRequestError, match="no"):
        complete_many(client(server, store), [ask(n=4, seed=5)])
    sold = len(server.bodies)
    broken["seed"] = -1
    assert len(complete_many(client(server, store), [ask(n=4, seed=5)])[0].texts) == 4
    assert len(server.bodies) == sold + 1


def test_more_choices_than_asked_for_are_left_alone(openai_server: StartServer, store: DirectoryStore) -> None:
    body = one_choice({"message": {"content": "a"}})
    body["choices"].append({"index": 1, "message": {"content": "b"}})
    server = openai_server(quirk=lambda _request: (200, body))
    assert complete_many(client(server, store), [ask()])[0].texts == ["a"]


# Parameters that are refused

REFUSALS = {
    "openai value": ("temperature", {"error": {"message": "Unsupported value: 'temperature' does not support 0.0 with "
        "this model. Only the default (1) value is supported.", "type": "invalid_request_error",
        "param": "temperature", "code": "unsupported_value"}}),
    "openai unknown": ("seed", {"error": {"message": "Unrecognized request argument supplied: seed", "param": None}}),
    "fastapi list": ("seed", {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"],
        "msg": "Extra inputs are not permitted", "input": 5}]}),
    "fastapi text": ("top_p", {"detail": "top_p is not supported by this model"}),
    "google": ("seed", [{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "seed": Cannot '
        "find field.", "status": "INVALID_ARGUMENT"}}]),
    "both": ("top_p", {"type": "error", "error": {"type": "invalid_request_error",
        "message": "`temperature` and `top_p` cannot both be specified for this model."}}),
    "groq": ("n", {"error": {"message": "'n' : number must be at most 1", "type": "invalid_request_error"}}),
    "one choice": ("n", {"error": {"message": "Only one completion choice is allowed", "type": "invalid"}}),
    "plain": ("temperature", "temperature: this model has a fixed one"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_parameter_is_left_out_from_then_on(
    name: str, status: int, openai_server: StartServer, store: DirectoryStore
) -> None:
    parameter, refusal = REFUSALS[name]
    server = openai_server(lambda _: SQL, quirk=lambda request: (status, refusal) if parameter in request else None)
    requests = [ask(str(number), temperature=0.0, top_p=0.9, seed=5) for number in range(6)]
    answers = complete_many(client(server, store, max_concurrency=1), requests)
    assert all(answer.texts == [SQL] for answer in answers)
    assert len(server.bodies) == 7
    assert sum(parameter in body for body in server.bodies) == 1
    assert {"temperature", "top_p", "seed"} - set(server.bodies[-1]) == {parameter} - {"n"}
    omitted = [parameter] if parameter != "n" else []
    assert all(answer.omitted == omitted for answer in answers)
    replayed = complete_many(client(server, store), requests)
    assert [one.omitted for one in replayed] == [omitted] * 6 and len(server.bodies) == 7


def test_a_server_that_refuses_nearly_all(openai_server: StartServer, store: DirectoryStore) -> None:
    def quirk(request: Request) -> tuple[int, Any] | None:
        for name in ("n", "seed", "top_p", "temperature"):
            if name in request:
                return 400, {"error": {"message": f"Unknown parameter: '{name}'.", "param": name}}
        if "max_tokens" in request:
            said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            return 400, {"error": {"message": f"{said}instead.", "param": "max_tokens"}}
        return None

    server = openai_server(lambda _: SQL, quirk=quirk)
    answer = complete_many(client(server, store), [ask(temperature=0.0, top_p=0.9, seed=5, n=2)])[0]
    assert answer.texts == [SQL, SQL] and answer.omitted == ["seed", "temperature", "top_p"]
    assert set(server.bodies[-1]) == {"model", "messages", "max_completion_tokens"}
    told = describe_endings(count_endings([answer], 0), "weak.max_tokens")
    assert told[0] == "2 answers were asked for without temperature, which the endpoint does not take"


def test_a_refusal_that_names_nothing_to_leave_out_is_an_error_at_once(
    openai_server: StartServer, store: DirectoryStore
) -> None:
    said = "max_tokens is too large: 64. This model takes at most 32"
    server = openai_server(quirk=lambda _request: (400, {"error": {"message": said}}))
    with pytest.raises(errors.LlmBadRequestError, match=said):
        complete_many(client(server, store), [ask()])
    assert len(server.bodies) == 1


def test_a_profile_leaves_out_and_adds(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(lambda _: SQL)
    given = {
        "SENSE_ENDPOINT_TEST_BASE_URL": f"{server.base_url}?api-version=2026-01-01",
        "SENSE_ENDPOINT_TEST_OMIT": "temperature, n",
        "SENSE_ENDPOINT_TEST_EXTRA": '{"reasoning_effort": "low", "top_k": 1}',
    }
    profile = load_profiles(LlmSettings(), given)["test"]
    request = ask(temperature=0.0, seed=5, n=2)
    answer = complete_many(ChatClient(profile, store, policy=QUICK), [request])[0]
    assert answer.texts == [SQL, SQL] and len(server.bodies) == 2
    assert all("temperature" not in body and "n" not in body for body in server.bodies)
    assert all((body["reasoning_effort"], body["top_k"]) == ("low", 1) for body in server.bodies)
    assert set(server.paths) == {"/v1/chat/completions?api-version=2026-01-01"}
    other = profile.model_copy(update={"extra": {"reasoning_effort": "high"}})
    complete_many(ChatClient(other, store, policy=QUICK), [request])
    assert len(server.bodies) == 4, "another setting is another answer"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("EXTRA", "{", "no JSON"), ("EXTRA", '{"max_tokens": 5}', "max_tokens is not"), ("OMIT", "model", "omit")],
)
def test_a_profile_that_cannot_be_kept_is_refused(field: str, value: str, said: str) -> None:
    given = {"SENSE_ENDPOINT_A_BASE_URL": "http://a.example/v1", f"SENSE_ENDPOINT_A_{field}": value}
    with pytest.raises(InvalidInputError, match=said):
        load_profiles(LlmSettings(), given)


# Answers in other shapes

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "SELECT 0"}]}
SHAPES: dict[str, dict[str, Any]] = {
    "chunks": {"message": {"content": [THOUGHT, {"type": "text", "text": "SELECT name "}, {"text": "FROM singer"}]}},
    "one chunk": {"message": {"content": {"type": "text", "text": SQL}}},
    "strings": {"message": {"content": ["SELECT name ", "FROM singer"]}},
    "reasoning beside": {"message": {"content": SQL, "reasoning_content": "SELECT 0", "reasoning": None}},
    "tool call": {"message": {"content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "sql", "arguments": json.dumps({"sql": SQL})}}]}},
    "arguments as an object": {"message": {"content": "", "function_call": {"arguments": {"query": SQL}}}},
    "legacy text": {"text": SQL},
    "delta": {"delta": {"content": SQL}},
    "no index": {"message": {"content": SQL}, "index": None, "finish_reason": "eos"},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_valid_shapes_are_read_and_bought_once(name: str, openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(quirk=lambda _request: (200, one_choice(SHAPES[name])))
    answer = complete_many(client(server, store), [ask()])[0]
    assert extract_sql(answer.texts[0]) == SQL
    assert len(server.bodies) == 1


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
@pytest.mark.parametrize("where", ["reasoning", "reasoning_content"])
def test_reasoning_that_ate_all_tokens_is_cut_off(
    finish: str, where: str, openai_server: StartServer, store: DirectoryStore
) -> None:
    choice = {"message": {"content": None, where: "hm, SELECT 0"}, "finish_reason": finish}
    server = openai_server(quirk=lambda _request: (200, one_choice(choice)))
    answer = complete_many(client(server, store), [ask()])[0]
    assert (answer.texts, answer.finish_reasons) == ([""], ["length"])
    (told,) = describe_endings(count_endings([answer], 1), "weak.max_tokens")
    assert "raise weak.max_tokens" in told


def test_events_that_nobody_asked_for(openai_server: StartServer, store: DirectoryStore) -> None:
    parts = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("SELECT name", " FROM singer")]
    parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    parts.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    text = "".join(f"data: {json.dumps(one)}\n\n" for one in parts) + "data: [DONE]\n\n"
    server = openai_server(quirk=lambda _request: (200, text))
    answer = complete_many(client(server, store), [ask()])[0]
    assert (answer.texts, answer.finish_reasons, answer.completion_tokens) == ([SQL], ["length"], 4)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}, "many", {"total": 3}])
def test_missing_usage_is_estimated(usage: object, openai_server: StartServer, store: DirectoryStore) -> None:
    body = one_choice({"message": {"content": SQL}}, usage=usage)
    answer = complete_many(client(openai_server(quirk=lambda _request: (200, body)), store), [ask()])[0]
    assert answer.prompt_tokens > 0 and answer.completion_tokens > 0


def test_half_a_surrogate_pair_is_stored(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(quirk=lambda _request: (200, one_choice({"message": {"content": "SELECT '\ud83d'"}})))
    for _ in range(2):
        assert complete_many(client(server, store), [ask()])[0].texts == ["SELECT '?'"]
    assert len(server.bodies) == 1


UNREADABLE: list[Any] = [
    {"object": "list", "data": []},
    [],
    "[1, 2]",
    '"text"',
    {"choices": "none"},
    {"choices": [7]},
    {"choices": [{"message": 7}]},
    {"choices": [{"message": {"content": 7}}]},
    {"choices": [{"message": {"content": [7]}}]},
    {"message": {"content": SQL}, "done": True},
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_a_shape_that_cannot_be_read_is_not_bought_again(
    body: object, openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(quirk=lambda _request: (200, body))
    outcomes = dict(client(server, store, max_concurrency=1).stream_many([ask(str(number)) for number in range(20)]))
    assert {type(one) for one in outcomes.values()} == {errors.LlmUnreadableError}
    assert not any(one.retryable for one in outcomes.values() if isinstance(one, errors.LlmError))
    assert len(server.bodies) <= 2


# Errors in every common shape

WORDS = "the model is overloaded with tigers"
ERROR_BODIES: dict[str, Any] = {
    "openai": {"error": {"message": WORDS, "type": "x", "code": "y"}},
    "text in error": {"error": WORDS},
    "fastapi": {"detail": WORDS},
    "fastapi list": {"detail": [{"loc": ["body", "messages", 0], "msg": WORDS, "type": "value_error"}]},
    "message": {"object": "error", "message": WORDS, "code": 40303},
    "errors": {"errors": [{"message": WORDS}, WORDS]},
    "list": [{"error": {"message": WORDS, "code": 400}}],
    "openrouter": {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": WORDS}}},
    "html": f"<html><head><style>p {{}}</style><title>Oops</title></head><body><p>{WORDS}</p></body></html>",
    "plain": WORDS,
}
KINDS = {
    400: errors.LlmBadRequestError,
    401: errors.LlmAuthError,
    402: errors.LlmQuotaError,
    403: errors.LlmAuthError,
    404: errors.LlmUnknownModelError,
    422: errors.LlmBadRequestError,
    429: errors.LlmRateLimitError,
    500: errors.LlmUnreachableError,
    501: errors.LlmBadRequestError,
    503: errors.LlmUnreachableError,
}


@pytest.mark.parametrize("status", KINDS)
@pytest.mark.parametrize("name", ERROR_BODIES)
def test_the_servers_own_words_reach_the_user(
    name: str, status: int, openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(quirk=lambda _request: (status, ERROR_BODIES[name]))
    (outcome,) = dict(client(server, store).stream_many([ask()])).values()
    assert type(outcome) is KINDS[status]
    assert WORDS in outcome.message and "<" not in outcome.message
    assert len(server.bodies) == (1 if not outcome.retryable else 20 if status == 429 else 4)


@pytest.mark.parametrize("name", ["openai", "text in error", "openrouter"])
def test_a_success_with_an_error_in_it_is_an_error(
    name: str, openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(quirk=lambda _request: (200, ERROR_BODIES[name]))
    (outcome,) = dict(client(server, store).stream_many([ask()])).values()
    assert isinstance(outcome, errors.LlmBadRequestError) and WORDS in outcome.message
    assert len(server.bodies) == 1


def test_a_success_with_a_passing_error_is_tried_again(openai_server: StartServer, store: DirectoryStore) -> None:
    said = iter([(200, {"error": {"message": "busy", "code": code}}) for code in (502, "429")])
    server = openai_server(lambda _: SQL, quirk=lambda _request: next(said, None))
    assert complete_many(client(server, store), [ask()])[0].texts == [SQL]
    assert len(server.bodies) == 3


def test_an_empty_error_is_told_by_its_status(openai_server: StartServer, store: DirectoryStore) -> None:
    for status in (400, 500):
        server = openai_server(quirk=lambda _request, status=status: (status, ""))
        (outcome,) = dict(client(server, store).stream_many([ask()])).values()
        assert isinstance(outcome, errors.LlmError) and str(status) in outcome.message


def test_no_key_is_quoted(openai_server: StartServer, store: DirectoryStore) -> None:
    for words in (KEY, "sk-proj-abcdefghijklmnop", "Bearer abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrst"):
        for status in (400, 401, 429, 500):
            body = {"error": {"message": f"Incorrect API key provided: {words}. " + "x " * 5000}}
            server = openai_server(quirk=lambda _request, body=body, status=status: (status, body))
            (outcome,) = dict(client(server, store).stream_many([ask()])).values()
            assert isinstance(outcome, errors.LlmError)
            assert words not in outcome.message and "Incorrect API key provided" in outcome.message
            assert len(outcome.message) < 700


def test_error_bodies_are_read_in_bounded_time() -> None:
    deep: Any = "end"
    for _ in range(200):
        deep = {"error": [deep]}
    assert parse_server_error(json.dumps(deep)).words == ""
    assert parse_server_error("<" * 200_000).words
    assert parse_server_error("{" * 200_000).words
    assert redact("word " * 100_000).endswith("…")


NAMES = ["choices", "message", "content", "text", "error", "usage", "index", "finish_reason", "delta", "tool_calls"]
NAMES += [
    "function",
    "arguments",
    "model",
    "prompt_tokens",
    "refusal",
    "detail",
    "loc",
    "msg",
    "metadata",
    "raw",
    "code",
]


def some_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth > 4 or kind < 0.3:
        return rng.choice([None, 1, True, "x", "", 1.5, "\ud800", [], {}])
    if kind < 0.6:
        return [some_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(NAMES): some_value(rng, depth + 1) for _ in range(rng.randint(0, 5))}


def test_any_json_is_an_answer_or_one_of_three_errors() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        value = some_value(rng)
        if isinstance(value, dict) and rng.random() < 0.7:
            value["choices"] = [{"message": some_value(rng), "index": some_value(rng), "delta": some_value(rng)}]
        text = json.dumps(value)
        for said in (text, f"data: {text}\n\ndata: [DONE]\n"):
            redact(parse_server_error(said).words).encode()
            try:
                found = read_completion(said)
            except (UnexpectedBodyError, BrokenBodyError, ErrorBodyError):
                continue
            assert found.choices and all(one.text.encode() is not None for one in found.choices)


def test_what_was_learned_is_told_with_the_answers(openai_server: StartServer, store: DirectoryStore) -> None:
    refusal = REFUSALS["openai value"][1]
    server = openai_server(lambda _: SQL, quirk=lambda body: (400, refusal) if "temperature" in body else None)
    answer = complete_many(client(server, store), [ask(temperature=0.0)])[0]
    assert isinstance(answer, ChatAnswer) and answer.omitted == ["temperature"]
    assert count_endings([answer], 0)["without_temperature"] == 1
