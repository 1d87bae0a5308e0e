"""The client against a real HTTP server: order, cache, faults, abort."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from shared.contracts.base import ObjectRef
from shared.errors import LostLeaseError, UnavailableError
from shared.llm import errors, messages
from shared.llm.client import ChatClient, RetryPolicy
from shared.llm.endpoints import EndpointProfile
from shared.llm.messages import AnswerLog, ChatAnswer, Usage, answer_hash
from shared.storage.directory import DirectoryStore
from tests.support.faults import Fault, FaultPlan
from tests.support.openai_server import OpenAiServer, Request
from tests.support.s3_server import free_ports
from tests.unit.llm.helpers import KEY, QUICK, StartServer, ask, complete_many, profile_of


def echo(request: Request) -> str:
    return f"echo: {request['messages'][-1]['content']}"


def test_answers_keep_the_order_and_are_recorded_under_their_key(
    openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(echo, latency_s=0.01)
    requests = [ask(f"question {number}") for number in range(30)]
    answers = complete_many(ChatClient(profile_of(server), store), requests)
    assert [answer.texts for answer in answers] == [[f"echo: question {number}"] for number in range(30)]
    assert answers[0].key == f"answers/{answer_hash('test', requests[0])}.json"
    recorded = AnswerLog(store).find(answer_hash("test", requests[0]))
    assert recorded is not None
    assert (recorded.request, recorded.texts) == (requests[0], ["echo: question 0"])
    assert not any(answer.cached for answer in answers)
    assert server.peak > 1


def test_what_goes_over_the_wire(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo)
    request = ask(temperature=0.5, seed=7, n=2, max_tokens=9)
    answer = complete_many(ChatClient(profile_of(server), store), [request])[0]
    assert server.bodies == [
        {
            "model": "test-model",
            "messages": [{"role": "user", "content": "How many singers?"}],
            "max_tokens": 9,
            "n": 2,
            "temperature": 0.5,
            "seed": 7,
        }
    ]
    assert len(answer.texts) == len(answer.finish_reasons) == 2
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 8)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["idempotency-key"] == answer_hash("test", request)


def test_without_a_key_nothing_of_the_environment_is_sent(
    openai_server: StartServer, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "leaked-value")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_ports(1)[0]}")
    server = openai_server(echo)
    complete_many(ChatClient(profile_of(server, api_key=None), store), [ask()])
    assert "leaked-value" not in str(server.headers)
    assert "authorization" not in server.headers[0]


def test_a_second_run_buys_nothing(openai_server: StartServer, store: DirectoryStore) -> None:
    server, used = openai_server(echo), list[Usage]()
    requests = [ask("same", slot=slot, try_number=again) for slot in range(4) for again in range(2)]
    profile = profile_of(server, usd_per_million_in=1e6, usd_per_million_out=2e6)
    first = complete_many(ChatClient(profile, store, on_usage=used.append), requests)
    assert len(server.bodies) == 8
    second = complete_many(ChatClient(profile, store, on_usage=used.append), requests)
    assert len(server.bodies) == 8
    assert [answer.model_copy(update={"cached": True}) for answer in first] == second
    assert [usage.cached for usage in used] == [False] * 8 + [True] * 8
    assert [usage.usd for usage in used] == [1 + 2 * 2.0] * 8 + [0.0] * 8


def test_equal_requests_of_one_batch_are_bought_once(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, latency_s=0.05)
    answers = complete_many(ChatClient(profile_of(server), store), [ask()] * 12)
    assert len(server.bodies) == 1
    assert len({answer.key for answer in answers}) == 1


def test_the_hash_sees_everything_that_changes_an_answer() -> None:
    variants = [
        ask(),
        ask("other"),
        ask(model="other"),
        ask(temperature=0.1),
        ask(top_p=0.9),
        ask(max_tokens=65),
        ask(seed=1),
        ask(n=2),
        ask(slot=1),
        ask(try_number=1),
    ]
    hashes = {answer_hash("test", request) for request in variants} | {answer_hash("other", ask())}
    assert len(hashes) == len(variants) + 1
    assert answer_hash("test", ask()) == "f3e6c02ed4eca2f51c9b30c967233c48263886793d225e4a50924b076e337069"


RETRIED = [
    Fault.RATE_LIMIT,
    Fault.SERVER_ERROR,
    Fault.OVERLOADED,
    Fault.RESET,
    Fault.TRUNCATED,
    Fault.MALFORMED,
    Fault.HTML,
    Fault.EMPTY_CHOICES,
]


@pytest.mark.parametrize("fault", RETRIED)
def test_a_passing_fault_is_tried_again(fault: Fault, openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[fault, fault]))
    answer = complete_many(ChatClient(profile_of(server), store, policy=QUICK), [ask()])[0]
    assert answer.texts == ["echo: How many singers?"]
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.RATE_LIMIT, errors.LlmRateLimitError),
        (Fault.SERVER_ERROR, errors.LlmUnreachableError),
        (Fault.OVERLOADED, errors.LlmUnreachableError),
        (Fault.RESET, errors.LlmUnreachableError),
        (Fault.TRUNCATED, errors.LlmUnreachableError),
        (Fault.STALL, errors.LlmTimeoutError),
        (Fault.TRICKLE, errors.LlmTimeoutError),
        (Fault.MALFORMED, errors.LlmMalformedError),
        (Fault.HTML, errors.LlmMalformedError),
        (Fault.EMPTY_CHOICES, errors.LlmMalformedError),
    ],
)
def test_a_lasting_fault_ends_after_bounded_tries(
    fault: Fault, kind: type[errors.LlmError], openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[fault] * 50))
    policy = RetryPolicy(tries=3, rate_limit_tries=3, base_s=0.01)
    client = ChatClient(profile_of(server, timeout_s=0.3), store, policy=policy)
    with pytest.raises(kind, match=r"endpoint 'test'.*'test-model'.*\(tried 3 times\)$") as caught:
        complete_many(client, [ask()])
    assert len(server.bodies) == 3
    assert caught.value.retryable
    assert list(store.list("answers/")) == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.QUOTA, errors.LlmQuotaError),
        (Fault.CONTEXT_LENGTH, errors.LlmContextLengthError),
        (Fault.CONTENT_FILTER, errors.LlmContentFilterError),
        (Fault.BAD_REQUEST, errors.LlmBadRequestError),
    ],
)
def test_a_refusal_is_not_tried_again(
    fault: Fault, kind: type[errors.LlmError], openai_server: StartServer, store: DirectoryStore
) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[fault]))
    with pytest.raises(kind, match="endpoint 'test'") as caught:
        complete_many(ChatClient(profile_of(server), store, policy=QUICK), [ask()])
    assert len(server.bodies) == 1
    assert not caught.value.retryable


def test_a_filtered_prompt_is_recorded_and_not_asked_again(openai_server: StartServer, store: DirectoryStore) -> None:
    """Else another run of the job, with the same answers, might end otherwise."""
    server = openai_server(echo, faults=FaultPlan(first=[Fault.CONTENT_FILTER]))
    said = []
    for _ in range(2):
        (outcome,) = dict(ChatClient(profile_of(server), store, policy=QUICK).stream_many([ask()])).values()
        assert isinstance(outcome, errors.LlmContentFilterError)
        said.append(outcome.message)
    assert len(server.bodies) == 1 and said[0] == said[1]


def test_every_call_is_counted_by_its_end(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[Fault.SERVER_ERROR, Fault.RATE_LIMIT]))
    profile = profile_of(server, name="counted", usd_per_million_in=1e6, usd_per_million_out=2e6)
    for _ in range(2):
        complete_many(ChatClient(profile, store, policy=QUICK), [ask()])
    names = {"endpoint": "counted", "model": "test-model"}
    for end in ("ok", "llm_unreachable", "llm_rate_limit", "cached"):
        assert REGISTRY.get_sample_value("sense_llm_calls_total", {**names, "end": end}) == 1.0
    assert REGISTRY.get_sample_value("sense_llm_call_seconds_count", names) == 1.0
    assert REGISTRY.get_sample_value("sense_llm_usd_total", names) == 3 + 2 * 4.0
    assert (REGISTRY.get_sample_value("sense_llm_concurrency", {"endpoint": "counted"}) or 0.0) >= 1.0


def test_a_wrong_key_stops_the_batch_and_is_never_printed(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, api_key="another")
    requests = [ask(str(number)) for number in range(60)]
    client = ChatClient(profile_of(server, max_concurrency=2), store, policy=QUICK)
    outcomes = dict(client.stream_many(requests))
    assert len(outcomes) == 60
    assert {type(outcome) for outcome in outcomes.values()} == {errors.LlmAuthError}
    assert len(server.bodies) <= 2
    assert KEY not in str(outcomes.values())
    chain = outcomes[0]
    assert isinstance(chain, errors.LlmAuthError)
    assert chain.code == "llm_auth"


def test_an_unknown_model(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo)
    with pytest.raises(errors.LlmUnknownModelError, match="'no-model'"):
        complete_many(ChatClient(profile_of(server), store), [ask(model="no-model")])
    assert len(server.bodies) == 1
    with pytest.raises(errors.LlmUnknownModelError, match="name one of small, large"):
        complete_many(ChatClient(profile_of(server, models=["small", "large"]), store), [ask()])
    assert len(server.bodies) == 1


def test_an_endpoint_that_is_down(store: DirectoryStore) -> None:
    down = EndpointProfile(name="down", base_url=f"http://127.0.0.1:{free_ports(1)[0]}/v1")
    with pytest.raises(errors.LlmUnreachableError, match="'down' cannot be reached") as caught:
        complete_many(ChatClient(down, store, policy=QUICK), [ask(str(number)) for number in range(20)])
    assert not caught.value.may_be_billed


def test_a_server_that_only_fails_stops_the_batch(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[Fault.OVERLOADED] * 500))
    client = ChatClient(profile_of(server, max_concurrency=2), store, policy=RetryPolicy(tries=2, base_s=0.01))
    outcomes = dict(client.stream_many([ask(str(number)) for number in range(60)]))
    assert {type(outcome) for outcome in outcomes.values()} == {errors.LlmUnreachableError}
    # Three requests given up after two tries each; the neighbour may be on its way.
    assert 6 <= len(server.bodies) <= 8


def test_a_poisoned_request_leaves_the_others_alone(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[Fault.SERVER_ERROR] * 2))
    client = ChatClient(profile_of(server, max_concurrency=1), store, policy=RetryPolicy(tries=2, base_s=0.01))
    outcomes = dict(client.stream_many([ask(str(number)) for number in range(4)]))
    assert isinstance(outcomes[0], errors.LlmUnreachableError)
    assert all(isinstance(outcomes[index], ChatAnswer) for index in (1, 2, 3))


def test_text_that_is_no_unicode_is_refused_before_it_costs_anything() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        ask("half a \ud800 pair")


def test_one_bad_request_does_not_harm_its_neighbours(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[None, Fault.CONTEXT_LENGTH]))
    client = ChatClient(profile_of(server, max_concurrency=1), store, policy=QUICK)
    outcomes = dict(client.stream_many([ask(str(number)) for number in range(5)]))
    assert [type(outcomes[index]) for index in range(5)] == [
        ChatAnswer,
        errors.LlmContextLengthError,
        ChatAnswer,
        ChatAnswer,
        ChatAnswer,
    ]


def test_a_seeded_storm_gets_every_answer_and_sells_none_twice_that_arrived(
    openai_server: StartServer, store: DirectoryStore
) -> None:
    rates = {Fault.RATE_LIMIT: 0.2, Fault.SERVER_ERROR: 0.1, Fault.RESET: 0.1, Fault.HTML: 0.1, Fault.MALFORMED: 0.1}
    server = openai_server(echo, faults=FaultPlan(rates=rates, seed=5), report_usage=False)
    requests = [ask(f"question {number}") for number in range(120)]
    answers = complete_many(ChatClient(profile_of(server), store, policy=QUICK), requests)
    assert [answer.texts[0] for answer in answers] == [f"echo: question {number}" for number in range(120)]
    assert set(server.faults_done) == set(rates)
    assert len(server.sold) == 120
    assert set(server.sold.values()) == {1}


def test_retry_after_holds_back_the_next_call(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[Fault.RATE_LIMIT], retry_after="1"))
    complete_many(ChatClient(profile_of(server), store, policy=QUICK), [ask()])
    assert server.arrivals[1] - server.arrivals[0] >= 1.0


def test_a_retry_after_beyond_patience_is_an_error_at_once(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, faults=FaultPlan(first=[Fault.RATE_LIMIT], retry_after="86400"))
    with pytest.raises(errors.LlmRateLimitError):
        complete_many(ChatClient(profile_of(server), store), [ask()])
    assert len(server.bodies) == 1


def wait_until_open(server: OpenAiServer, calls: int) -> None:
    ends = time.monotonic() + 20
    while server.open_calls != calls:
        assert time.monotonic() < ends, f"{server.open_calls} calls are open, not {calls}"
        time.sleep(0.01)


def test_abort_drops_the_calls_in_flight(openai_server: StartServer, store: DirectoryStore) -> None:
    server, abort = openai_server(echo, latency_s=60.0), threading.Event()
    client = ChatClient(profile_of(server, timeout_s=120.0, max_concurrency=8), store, abort=abort)
    caught: list[BaseException] = []

    def run() -> None:
        try:
            complete_many(client, [ask(str(number)) for number in range(20)])
        except LostLeaseError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until_open(server, 8)
    abort.set()
    wait_until_open(server, 0)
    thread.join(20)
    assert len(caught) == 1
    assert (server.broken_off, len(server.bodies)) == (8, 8)
    with pytest.raises(LostLeaseError):
        complete_many(client, [ask()])


def test_leaving_the_stream_early_drops_the_rest(openai_server: StartServer, store: DirectoryStore) -> None:
    def slow_after_first(request: Request) -> str:
        return echo(request)

    server = openai_server(slow_after_first, latency_s=0.2)
    client = ChatClient(profile_of(server, max_concurrency=2), store)
    stream = client.stream_many([ask(str(number)) for number in range(200)])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    wait_until_open(server, 0)
    assert len(server.bodies) < 20


class BrokenStore(DirectoryStore):
    """A store whose disk goes away."""

    def get(self, key: str) -> bytes:
        raise UnavailableError(f"no space left in {self.root}; free some and retry the job")


def test_a_store_that_is_down_stops_before_anything_is_bought(openai_server: StartServer, tmp_path: Path) -> None:
    server = openai_server(echo)
    with pytest.raises(UnavailableError, match="no space left"):
        complete_many(ChatClient(profile_of(server), BrokenStore(tmp_path)), [ask(), ask("b")])
    assert server.bodies == []


class FullStore(DirectoryStore):
    """A store that can be read and takes nothing, the first `refusals` times."""

    refusals = 3

    def put(self, key: str, data: bytes) -> ObjectRef:
        if self.refusals:
            self.refusals -= 1
            raise UnavailableError(f"no space left in {self.root}; free some and retry the job")
        return super().put(key, data)


def test_an_answer_that_a_full_store_refuses_is_kept_and_not_bought_again(
    openai_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "FIRST_PAUSE_S", 0.01)
    server, store = openai_server(echo), FullStore(tmp_path)
    answers = complete_many(ChatClient(profile_of(server), store), [ask(), ask("b")])
    assert [answer.texts for answer in answers] == [["echo: How many singers?"], ["echo: b"]]
    assert set(server.sold.values()) == {1}
    assert len(list(store.list("answers/"))) == 2


def test_a_store_that_stays_full_is_an_error_and_no_more_is_bought(
    openai_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "RECORD_PATIENCE_S", 0.0)
    server, store = openai_server(echo), FullStore(tmp_path)
    store.refusals = 1000
    with pytest.raises(UnavailableError, match="no space left"):
        complete_many(ChatClient(profile_of(server, max_concurrency=2), store), [ask(str(n)) for n in range(20)])
    assert server.sold.total() <= 2


def test_an_abort_does_not_wait_for_a_full_store(openai_server: StartServer, tmp_path: Path) -> None:
    server, store, abort = openai_server(echo), FullStore(tmp_path), threading.Event()
    store.refusals = 1000
    log = AnswerLog(store, abort)
    abort.set()
    answer = complete_many(ChatClient(profile_of(server), DirectoryStore(tmp_path / "other")), [ask()])[0]
    recorded = AnswerLog(DirectoryStore(tmp_path / "other")).find(answer.key.split("/")[1].removesuffix(".json"))
    assert recorded is not None
    with pytest.raises(UnavailableError, match="no space left"):
        log.record("0" * 64, recorded)
    assert store.refusals == 999


def test_a_damaged_record_is_named_and_not_bought_again(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo)
    client = ChatClient(profile_of(server), store)
    key = complete_many(client, [ask()])[0].key
    store.put(key, store.get(key)[:-10])
    with pytest.raises(Exception, match=key):
        complete_many(client, [ask()])
    assert len(server.bodies) == 1


BUYER = """
import sys
from pathlib import Path
from shared.llm.client import ChatClient
from shared.llm.endpoints import EndpointProfile
from shared.storage.directory import DirectoryStore
from tests.unit.llm.helpers import ask

profile = EndpointProfile(name="test", base_url=sys.argv[1], max_concurrency=8)
client = ChatClient(profile, DirectoryStore(Path(sys.argv[2])))
for index, answer in client.stream_many([ask(f"question {number}") for number in range(60)]):
    print(answer.texts[0], flush=True)
"""


def test_a_kill_repeats_at_most_the_calls_in_flight(openai_server: StartServer, store: DirectoryStore) -> None:
    server = openai_server(echo, latency_s=0.05)
    command = [sys.executable, "-c", BUYER, server.base_url, str(store.root)]
    buyer = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert buyer.stdout is not None
    seen = [buyer.stdout.readline() for _ in range(15)]
    buyer.send_signal(signal.SIGKILL)
    seen += buyer.stdout.readlines()
    buyer.wait()
    buyer.stdout.close()
    wait_until_open(server, 0)
    recorded = {key.removeprefix("answers/").removesuffix(".json") for key in store.list("answers/")}
    assert len(seen) <= len(recorded) < 60, "an answer was handed out before it was stored, or the kill came too late"
    again = complete_many(ChatClient(profile_of(server), store), [ask(f"question {number}") for number in range(60)])
    assert [answer.texts[0] for answer in again] == [f"echo: question {number}" for number in range(60)]
    assert {server.calls[hashed] for hashed in recorded} == {1}
    twice = [key for key, count in server.calls.items() if count > 1]
    assert len(twice) <= 8
    assert max(server.calls.values()) <= 2
