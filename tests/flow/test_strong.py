"""Strong data from an endpoint, from prompts to exports: waves, seeds, own databases, evidence, both targets."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.sandbox.building.databases import store_database
from services.sandbox.execution.pool import SandboxPool
from services.synthesis.writers.grammar.writer import write_examples
from services.synthesis.writers.seeds import BUILTIN, BUILTIN_LICENCE
from shared.catalog.databases import CardCache
from shared.catalog.datasets import newest_datasets
from shared.contracts.base import Owner
from shared.contracts.records import Example, Policy, RejectedExample, SftRecord
from shared.contracts.spec import parse_spec
from shared.jobs.state import JobRecord, JobStatus
from shared.llm.budgets import set_day_limits, spent_today
from shared.sql.extraction import extract_sql
from shared.sql.prompt import render_messages
from shared.storage.keys import database_key
from shared.storage.store import ObjectStore
from tests.flow.conftest import StartStack
from tests.flow.harness import Stack
from tests.flow.test_weak_endpoint import bring
from tests.support.datasets import make_file
from tests.support.openai_server import OpenAiServer, Request
from tests.support.writers import asked_level, render_written, request_rng

Strong = Callable[[Request], list[str]]
SHOP = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, town TEXT);
CREATE TABLE purchase (no INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customer(id), item TEXT, price REAL);
INSERT INTO customer VALUES (1, 'Ada', 'Ulm'), (2, 'Bela', 'Linz'), (3, 'Cleo', 'Ulm'), (4, 'Dov', 'Brno');
INSERT INTO purchase VALUES (1, 1, 'lamp', 30), (2, 1, 'chair', 55.5), (3, 2, 'lamp', 28), (4, 3, 'desk', 120);
"""
OWN = "The database that you write for"


def asked(request: Request) -> str:
    return str(request["messages"][-1]["content"])


def domains_to_avoid(text: str) -> list[str]:
    found = re.search(r"which the collection already has: (.*?)\.\n", text)
    return found.group(1).split(", ") if found else []


def invented(request: Request) -> str:
    """An example of the grammar's on one set of rows, not far down their order: what lies before is drawn too."""
    text, shard = asked(request), request_rng(request, "shard").randrange(1 << 12)
    written = write_examples(seed=1, split="train", shard=shard, count=1, levels={asked_level(text): 1.0})
    return render_written(written[0])


def writer(request: Request) -> list[str]:
    """Own databases by a number of their own; all else as the grammar does, with what is asked for."""
    text = asked(request)
    if OWN in text:
        price = request_rng(request, "price").randrange(10_000) / 1000
        parts = f"Question: Which items cost more than {price}?\n"
        sql = f"SELECT item FROM purchase WHERE price > {price}"
    else:
        parts, _, sql = invented(request).partition("Answer:")
    if "Evidence:" in text.split("Now write")[-1].split("Write one")[-1]:
        parts += "Evidence: Prices are in euros.\n"
    if "Reasoning:" in text.split("Now write")[-1].split("Write one")[-1]:
        parts += "Reasoning: One table is read and filtered.\n"
    return [f"{parts}Answer:{sql}" if OWN not in text else f"{parts}Answer: {sql}"]


@pytest.fixture
def serve(openai_server: Callable[..., OpenAiServer], monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenAiServer]:
    def start(strong: Strong = writer, **fields: Any) -> OpenAiServer:
        server = openai_server(strong, models=("s",), **fields)
        monkeypatch.setenv("SENSE_ENDPOINT_STRONG_BASE_URL", server.base_url)
        monkeypatch.setenv("SENSE_ENDPOINT_STRONG_USD_PER_MILLION_IN", "2.5")
        monkeypatch.setenv("SENSE_ENDPOINT_STRONG_USD_PER_MILLION_OUT", "10")
        return server

    return start


def spec(amount: int = 12, per_shard: int = 4, own: float | None = None, **fields: Any) -> dict[str, Any]:
    strong = {"endpoint": "strong", "model": "s", **fields.pop("strong", {})}
    source = {"synthesis": amount, "per_shard": per_shard, **({} if own is None else {"user_database_share": own})}
    return {"kind": "synthesis", "train": {"sft": [source]}, "strong": strong, **fields}


def bring_shop(objects: ObjectStore, folder: Path) -> str:
    file = make_file(folder / "shop.sqlite", SHOP)
    name = hashlib.sha256(file.read_bytes()).hexdigest()
    with SandboxPool(1) as pool:
        store_database(objects, file, name, pool)
    return name


def examples(stack: Stack, job: str) -> list[Example]:
    lines = stack.output(job, "collect.train", "examples").splitlines()
    return [Example.model_validate_json(line) for line in lines]


def sft(stack: Stack, job: str) -> list[SftRecord]:
    return [SftRecord.model_validate_json(line) for line in stack.output(job, "collect.train", "sft").splitlines()]


def exports(stack: Stack, job: str) -> dict[str, bytes]:
    names = ("sft", "examples", "selection", "rejected", "card", "card_html")
    return {name: stack.output(job, "collect.train", name) for name in names}


def test_the_same_answers_give_the_same_bytes_and_later_waves_know_the_earlier_ones(
    start_stack: StartStack, serve: Callable[..., OpenAiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.orchestrator.planning.synthesis.FIRST_WAVE_EXAMPLES", 4)
    server, stack = serve(), start_stack()
    first = stack.succeed(spec(12))
    calls = len(server.bodies)
    assert [row.params["before"] for row in stack.jobs.shards(first, "write.train")][:3] == [0, 1, 2]
    avoided = [domains_to_avoid(asked(body)) for body in server.bodies]
    assert all(len(one) <= 2 for one in avoided[:4])
    assert all(len(one) > 2 for one in avoided[4:])
    written = {" ".join(one.domain.lower().split()) for one in examples(stack, first)}
    assert {name for one in avoided[4:] for name in one} & written

    shuffled = start_stack(seed=4)
    again = shuffled.succeed(spec(12))
    assert exports(shuffled, again) == exports(stack, first)
    assert len(server.bodies) == calls, "recorded answers are not bought again"
    assert stack.counts(first, "write.train")["micro_usd"] > 0 == shuffled.counts(again, "write.train")["micro_usd"]


def test_a_keys_day_is_charged_and_ends_its_jobs_alone(
    start_stack: StartStack, serve: Callable[..., OpenAiServer]
) -> None:
    server, stack = serve(), start_stack()
    bob, carol = Owner(id="k1", name="bob"), Owner(id="k2", name="carol")

    def run(owner: Owner, **fields: Any) -> JobRecord:
        return stack.run(stack.jobs.submit(parse_spec(spec(8, **fields)), owner=owner)[0])

    set_day_limits(stack.jobs, bob.id, tokens=None, usd=1000.0)
    first = run(bob)
    assert first.status is JobStatus.SUCCEEDED and first.owner == bob
    spent = spent_today(stack.jobs, bob.id)
    assert round(spent.usd * 1e6) == pytest.approx(stack.counts(first.id, "write.train")["micro_usd"], abs=5)
    set_day_limits(stack.jobs, bob.id, tokens=None, usd=spent.usd)
    calls = len(server.bodies)
    assert run(bob).status is JobStatus.SUCCEEDED  # recorded answers cost nothing
    second = run(bob, seed=8)
    assert second.status is JobStatus.FAILED and second.error is not None
    assert "the key bob has spent" in second.error.message and len(server.bodies) == calls
    assert run(carol, seed=8).status is JobStatus.SUCCEEDED
    assert spent_today(stack.jobs, bob.id) == spent


def test_rows_carry_their_lineage_and_the_card_its_cost(
    start_stack: StartStack, serve: Callable[..., OpenAiServer]
) -> None:
    serve()
    stack = start_stack()
    job = stack.succeed(spec(8))
    for example, row in zip(examples(stack, job), sft(stack, job), strict=True):
        made = example.provenance
        assert stack.objects.exists(made.source) and row.source == made.source
        assert (
            (row.seed_source, row.seed_licence) == (made.seed_source, made.seed_licence) == (BUILTIN, BUILTIN_LICENCE)
        )
        assert row.seed_examples == made.seed_examples and len(row.seed_examples) == 2
        card = CardCache(stack.objects).card(example.database_id)
        assert row.prompt == render_messages(card, example.question, rows=3)
        assert row.completion[0].content == example.gold
    markdown, page = (stack.output(job, "collect.train", name).decode() for name in ("card", "card_html"))
    assert "US dollars at the endpoint's prices" in markdown and BUILTIN in markdown
    for text in (markdown, page):
        assert BUILTIN_LICENCE in text or BUILTIN_LICENCE.replace("'", "&#39;") in text
    assert "<svg" in page and "<script" not in page and "Samples" in page


def test_own_databases_are_mixed_in_by_their_share(
    start_stack: StartStack, serve: Callable[..., OpenAiServer], tmp_path: Path
) -> None:
    serve()
    stack = start_stack()
    shop = bring_shop(stack.objects, tmp_path)
    before = stack.objects.get(database_key(shop))
    job = stack.succeed(spec(8, own=0.5, databases=[{"id": shop}], strong={"evidence": True}))
    found = examples(stack, job)
    own = [one for one in found if one.database_id == shop]
    counts = stack.counts(job, "write.train")
    assert abs(counts["for_user_databases"] - counts["written"] / 2) <= 1 and own and len(own) < len(found)
    assert {one.evidence for one in found} == {"Prices are in euros."}
    assert all("External knowledge: Prices are in euros." in row.prompt[-1].content for row in sft(stack, job))
    assert stack.objects.get(database_key(shop)) == before
    card = stack.output(job, "collect.train", "card").decode()
    assert f"{len(own)} examples ({100 * len(own) / len(found):.0f} %) are on databases of the user's" in card


def test_own_databases_need_no_strong_model(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack()
    shop = bring_shop(stack.objects, tmp_path)
    job_spec = spec(8, own=0.5, databases=[{"id": shop}])
    job = stack.succeed({**job_spec, "strong": {}})
    found = examples(stack, job)
    own = [one for one in found if one.database_id == shop]
    assert own and len(found) > len(own)
    assert {one.provenance.writer_version for one in own} == {"own-grammar/1"}
    again = stack.succeed({**job_spec, "strong": {}})
    assert exports(stack, again) == exports(stack, job)


@pytest.mark.parametrize("strong", [True, False])
def test_reasoning_before_sql_is_taught_where_it_is_wanted(
    start_stack: StartStack, serve: Callable[..., OpenAiServer], strong: bool
) -> None:
    serve()
    stack = start_stack()
    settings = {"sample_rows": 1, "comments": True, "foreign_keys": True}
    job_spec = spec(8, target="reasoning_sql", prompt=settings)
    job = stack.succeed(job_spec if strong else {**job_spec, "strong": {}})
    for example, row in zip(examples(stack, job), sft(stack, job), strict=True):
        said = row.completion[0].content
        assert extract_sql(said, last=True) == example.gold.rstrip("; \n")
        assert said.startswith("One table is read and filtered.\n```sql\n" if strong else "The rows come from ") or (
            not strong and said.startswith("Two queries are combined")
        )
        assert "Say in two or three short sentences" in row.prompt[0].content
        assert "foreign keys:" in row.prompt[1].content
    assert "reasoning_sql" in stack.output(job, "collect.train", "card").decode()


def test_seeds_come_from_a_data_set_that_the_spec_names(
    start_stack: StartStack, serve: Callable[..., OpenAiServer], tmp_path: Path
) -> None:
    server, stack = serve(), start_stack()
    texts = {
        "Name the singers over 30.": "SELECT name FROM singer WHERE age > 30",
        "How many?": "SELECT COUNT(*) FROM singer",
    }
    rows = [{"question": one, "db": "singers", "sql": sql, "split": "train"} for one, sql in texts.items()]
    bring(stack.objects, tmp_path, rows, Policy.STRICT)
    (manifest,) = newest_datasets(stack.objects)
    job = stack.succeed(spec(4, strong={"seeds": {"dataset": "mine"}}))
    assert all(set(texts) == {line for line in texts if f"Question: {line}" in asked(body)} for body in server.bodies)
    assert "INSERT INTO \"singer\" VALUES (1, 'Ann', 41)" in asked(server.bodies[0])
    (made,) = {(one.provenance.seed_source, one.provenance.seed_licence) for one in examples(stack, job)}
    assert made == (manifest.ref, "none stated")
    assert manifest.ref in stack.output(job, "collect.train", "card").decode()


def test_seeds_that_cannot_be_used_fail_the_job_with_what_to_do(
    start_stack: StartStack, serve: Callable[..., OpenAiServer], tmp_path: Path
) -> None:
    serve()
    stack = start_stack()
    bad = [{"question": "Q?", "db": "singers", "sql": "SELECT name FROM singer", "split": "train"}]
    bring(stack.objects, tmp_path, bad, Policy.STRICT)
    record = stack.run(stack.submit(spec(4, strong={"seeds": {"dataset": "mine"}})))
    assert record.status is JobStatus.FAILED and record.error is not None
    assert "1 usable seed(s)" in record.error.message and "strong.seeds" in record.error.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"strong": {"seeds": {"dataset": "nowhere"}}}, "there is no dataset 'nowhere'"),
        ({"databases": [{"id": "0" * 64}]}, "there is no database 0000"),
    ],
)
def test_what_is_not_there_fails_the_job_before_it_begins(
    start_stack: StartStack, serve: Callable[..., OpenAiServer], fields: dict[str, Any], said: str
) -> None:
    server, stack = serve(), start_stack()
    record = stack.run(stack.submit(spec(4, **fields)))
    assert record.status is JobStatus.FAILED and record.error is not None
    assert said in record.error.message
    assert not server.bodies


def test_every_answer_that_is_no_example_is_kept_with_its_reason(
    start_stack: StartStack, serve: Callable[..., OpenAiServer]
) -> None:
    def careless(request: Request) -> list[str]:
        whole = writer(request)[0]
        ways = ["", "I'm sorry, but I cannot help with that.", whole.split("Question:")[0], whole, whole, whole]
        return [request_rng(request, "care").choice(ways)]

    serve(careless)
    stack = start_stack()
    job = stack.succeed(spec(6))
    lines = stack.output(job, "collect.train", "rejected").splitlines()
    reasons = Counter(RejectedExample.model_validate_json(line).reason for line in lines)
    counted = stack.counts(job, "write.train")
    assert counted["unparsed"] == sum(n for name, n in reasons.items() if name.startswith("answer_")) > 0
    assert set(reasons) & {"answer_empty", "answer_refused", "answer_without_question"}
    card = stack.output(job, "collect.train", "card").decode()
    assert all(name in card for name in reasons)
    assert json.loads(lines[0])["written"]["provenance"]["source"].startswith("answers/")


def test_a_golds_empty_line_cuts_nothing_off(start_stack: StartStack, serve: Callable[..., OpenAiServer]) -> None:
    said: set[str] = set()

    def fenced(request: Request) -> list[str]:
        (text,) = writer(request)
        head, _, sql = text.partition("Answer:")
        bare = sql.strip().removeprefix("```sql\n").removesuffix("```").strip()
        whole = bare.rstrip(";").replace(" FROM ", "\nFROM ").replace(" WHERE ", "\n\nWHERE ")
        said.add(whole)
        return [f"{head}Answer:\n```sql\n{whole};\n```"]

    serve(fenced)
    stack = start_stack()
    golds = {one.gold for one in examples(stack, stack.succeed(spec(12)))}
    assert golds <= said
    assert any("\n\nWHERE" in one for one in golds)


def test_a_model_that_only_reasons_fails_the_job_with_the_setting_to_raise(
    start_stack: StartStack, serve: Callable[..., OpenAiServer]
) -> None:
    choice = {"index": 0, "message": {"content": None, "reasoning_content": "hm"}, "finish_reason": "length"}
    serve(quirk=lambda _request: (200, {"choices": [choice]}))
    stack = start_stack()
    job = stack.submit(spec(60, per_shard=30))
    record = stack.run(job)
    assert record.status is JobStatus.FAILED
    assert "strong.max_tokens" in str(record.error) and "raise it" in str(record.error)
