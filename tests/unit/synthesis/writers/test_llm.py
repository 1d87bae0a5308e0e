"""The LLM writer: which calls are made, and what an answer becomes."""

from collections import Counter
from typing import Any

import pytest

from services.synthesis.steering import WritingGoals, distribute_levels, plan_slots
from services.synthesis.writers.llm import Call, make_calls, read_answer
from services.synthesis.writers.llm_prompts import EMPTY_HISTORY, PROMPT_VERSION, PromptContext, count_history
from services.synthesis.writers.seeds import BUILTIN, builtin_seeds
from services.synthesis.writers.user_databases import UserDatabase
from shared.catalog.databases import ColumnCard, SchemaCard, TableCard
from shared.contracts.records import Example, Provenance, RejectedExample, WrittenExample
from shared.contracts.synthesis import WriteExamples
from shared.llm.messages import ChatAnswer
from tests.support.writers import asked_level
from tests.unit.synthesis.writers.test_llm_answers import PLAIN

SHOP = SchemaCard(
    database_id="f" * 64,
    tables=[
        TableCard(
            name="orders",
            ddl="CREATE TABLE orders(id INTEGER PRIMARY KEY, colour TEXT -- {braces}\n)",
            columns=[
                ColumnCard(name="id", type="INTEGER", primary_key=True, samples=[1, 2]),
                ColumnCard(name="colour", type="TEXT", comment="as painted", samples=["red", "teal {blue}"]),
            ],
            row_count=2,
            sample_rows=[[1, "red"], [2, "teal {blue}"]],
        ),
        TableCard(name="empty", ddl="CREATE TABLE empty(x)", columns=[ColumnCard(name="x", type="")], row_count=0),
    ],
)
SHOP_CONTEXT = PromptContext(user_databases=[UserDatabase("shop", SHOP)])


def command(**fields: Any) -> WriteExamples:
    base = {"job_id": "j", "stage": "write", "shard": 0, "attempt": 1, "correlation_id": "c", "writer": "llm"}
    more = {"split": "train", "count": 3, "levels": {"easy": 1.0}, "seed": 7, "endpoint": "strong", "model": "m"}
    return WriteExamples.model_validate(base | more | fields)


def answer(text: str, finish: str = "stop") -> ChatAnswer:
    return ChatAnswer(
        texts=[text],
        finish_reasons=[finish],
        prompt_tokens=1,
        completion_tokens=1,
        key="answers/abc.json",
        cached=False,
        seconds=0.1,
    )


def calls(context: PromptContext | None = None, **fields: Any) -> list[Call]:
    given = command(**fields)
    return make_calls(given, WritingGoals(given.levels, given.features), context or PromptContext())


def prompt(call: Call) -> str:
    return call.request.messages[0].content


def example(domain: str, database: str = "d", question: str = "q") -> Example:
    made = Provenance(writer="llm", writer_version="v", seed=1, source="s")
    return Example(
        example_id="e",
        database_id=database,
        domain=domain,
        split="train",
        level="easy",
        question=question,
        gold="SELECT 1",
        provenance=made,
    )


def test_the_same_command_makes_the_same_calls_in_any_job_and_attempt() -> None:
    assert calls() == calls(job_id="k", attempt=2, correlation_id="x")


def test_every_place_shard_and_seed_is_another_call() -> None:
    variants = [calls(count=4, **fields) for fields in ({}, {"shard": 1}, {"seed": 8}, {"split": "selection"})]
    assert len({call.request.model_dump_json() for made in variants for call in made}) == 16


def test_the_prompt_names_the_level_and_shows_two_different_seeds() -> None:
    for level in ("easy", "medium", "hard"):
        for call in calls(levels={level: 1.0}):
            text = prompt(call)
            assert asked_level(text.split("The levels mean")[0]) == level == call.level
            assert len(set(call.provenance.seed_examples)) == 2
            assert text.count("\nDomain: ") == text.count("\nAnswer: ") == 2
            for headings in ("Domain:, Schema:, Question: and Answer:",):
                assert headings in text
            assert (call.request.model, call.request.n, call.request.max_tokens) == ("m", 1, 2000)


def test_seeds_are_drawn_all_over_the_set() -> None:
    drawn = Counter(name for call in calls(count=300) for name in call.provenance.seed_examples)
    assert len(drawn) == len(builtin_seeds().seeds)
    assert max(drawn.values()) < 30


def test_domains_to_avoid_are_the_papers_the_seeds_and_what_is_common() -> None:
    history = count_history(
        [*(example("Retail Trade") for _ in range(3)), example("retail  trades"), example("fishing")]
    )
    assert history.common_domains() == ["retail trade", "fishing"]
    text = prompt(calls(PromptContext(history=history))[0])
    assert "education and universities, healthcare and medicine, travel and airlines, entertainment" in text
    avoided = text.split("which the collection already has: ")[1].split(".\n")[0]
    assert avoided.endswith("retail trade, fishing")
    assert count_history([example("shop", "own"), example("fishing")], frozenset({"own"})).common_domains() == [
        "fishing"
    ]
    assert len(count_history([example(f"domain {n:03}") for n in range(200)]).common_domains()) == 40
    assert prompt(calls(PromptContext(history=EMPTY_HISTORY))[0]) == prompt(calls()[0])


def test_evidence_and_reasoning_are_asked_for_where_they_are_wanted() -> None:
    text = prompt(calls(evidence=True, target="reasoning_sql")[0])
    assert "4. Evidence: " in text and "5. Reasoning: " in text and "6. Answer: " in text
    assert "Domain:, Schema:, Question:, Evidence:, Reasoning: and Answer:" in text
    assert text.count("\nEvidence: ") == text.count("\nReasoning: ") == 2
    assert "Evidence" not in prompt(calls()[0]) and "Reasoning" not in prompt(calls()[0])


def test_own_databases_get_their_share_and_their_schema() -> None:
    made = calls(SHOP_CONTEXT, count=10, user_database_share=0.3, databases=["f" * 64])
    own = [call for call in made if call.user_database]
    assert len(own) == 3
    text = prompt(own[0])
    assert "about the table orders" in text and "orders.colour: red, teal {blue}" in text
    assert "colour: as painted" in text and "teal {blue}" in text
    assert "with the headings Question: and Answer:, and nothing else" in text
    assert len({call.request.slot for call in made}) == 10
    again = count_history([example("shop", "f" * 64, "Which colours are there?")])
    context = PromptContext(history=again, user_databases=SHOP_CONTEXT.user_databases)
    asked = prompt(calls(context, user_database_share=1.0)[0])
    assert "- Which colours are there?" in asked


def test_an_answer_becomes_an_example_with_its_lineage() -> None:
    call = calls(levels={"hard": 1.0})[0]
    written = read_answer(answer(PLAIN), call)
    assert isinstance(written, WrittenExample)
    assert (written.question, written.sql) == ("Which breads are there?", "SELECT name FROM bread")
    assert (written.level, written.reasoning, written.database_id) == ("hard", None, None)
    assert written.database is not None
    made = written.provenance
    assert (made.writer, made.writer_version, made.source) == ("llm", PROMPT_VERSION, "answers/abc.json")
    assert (made.model, made.prompt_hash) == ("m", call.provenance.prompt_hash)
    assert (made.seed_source, len(made.seed_examples)) == (BUILTIN, 2)
    assert "Apache-2.0" in (made.seed_licence or "")


def test_an_own_answer_has_its_database() -> None:
    call = calls(SHOP_CONTEXT, user_database_share=1.0)[0]
    written = read_answer(answer("Question: Which colours?\nAnswer: SELECT colour FROM orders"), call)
    assert isinstance(written, WrittenExample)
    assert (written.domain, written.database, written.database_id) == ("shop", None, "f" * 64)


@pytest.mark.parametrize(("text", "reason"), [("Sorry, no.", "answer_without_domain"), ("", "answer_empty")])
def test_an_answer_without_an_example_is_kept_with_its_reason(text: str, reason: str) -> None:
    rejected = read_answer(answer(text), calls()[0])
    assert isinstance(rejected, RejectedExample)
    assert rejected.reason == reason and rejected.detail
    assert rejected.written.provenance.source == "answers/abc.json"


def test_levels_are_shared_evenly_all_along() -> None:
    levels = distribute_levels({"easy": 0.5, "medium": 0.3, "hard": 0.2}, 100)
    assert [levels.count(name) for name in ("easy", "medium", "hard")] == [50, 30, 20]
    assert set(levels[:5]) == {"easy", "medium", "hard"}
    assert distribute_levels({"easy": 0, "hard": 2}, 3) == ["hard"] * 3
    assert distribute_levels({"easy": 1}, 0) == []


@pytest.mark.parametrize("count", [1, 3, 7, 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_own_and_cross_domain_examples_have_the_same_levels(count: int, share: float) -> None:
    places = [
        one for shard in range(400 // count) for one in plan_slots({"easy": 0.5, "hard": 0.5}, share, shard, count)
    ]
    own = [one for one in places if one.for_user_database]
    assert abs(len(own) - share * len(places)) <= 1
    assert [one.number for one in own] == list(range(len(own)))
    for part in (own, [one for one in places if not one.for_user_database]):
        assert abs(sum(one.level == "easy" for one in part) - len(part) / 2) <= 1
