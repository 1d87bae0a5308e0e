"""What jobs left, page by page: pairs and examples before and after they are collected, shards, answers, curves."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from services.gateway.http import paging
from services.orchestrator.archive import archive_job
from shared.contracts.records import Candidate, Example, JudgedCandidate, Outcome, Policy, Verdict
from shared.jobs import reading
from shared.jobs.plan import FixedShards, JobPlan, StagePlan
from shared.storage.records import dump_records
from tests.support.prepared_job import PLAN, PreparedJob, hostile_example, hostile_pair, hostile_rejected

COLLECT_PAIRS = StagePlan(
    id="collect.preferences", task="pairing.collect", source=FixedShards(shards=[{}]), after=["pair"]
)
WHOLE = JobPlan(stages=[*PLAN.stages, COLLECT_PAIRS])
LEVELS = ("easy", "medium", "hard")


def examples(count: int, start: int = 0) -> list[Example]:
    """Of three levels in turn and two domains."""
    return [
        hostile_example().model_copy(
            update={
                "example_id": f"{number:016x}",
                "level": LEVELS[number % 3],
                "domain": "shop" if number % 2 else "zoo",
                "question": f"Question: number {number}?",
            }
        )
        for number in range(start, start + count)
    ]


@pytest.fixture
def job(backend: Backend) -> PreparedJob:
    return PreparedJob(backend, plan=WHOLE)


def walk(api: TestClient, address: str, **query: Any) -> Iterator[dict[str, Any]]:
    """All rows, page by page."""
    after: str | None = None
    for _ in range(200):
        params = {**query, **({"after": after} if after else {})}
        answer = api.get(address, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = page["last_id"]
    raise AssertionError("the list never ends")


def test_examples_follow_their_shards_until_they_are_collected(api: TestClient, job: PreparedJob) -> None:
    address = f"/v1/jobs/{job.id}/examples"
    assert api.get(address).json()["data"] == []
    for shard in (0, 1):
        job.finish("verify.train", shard, {"accepted": 5}, examples=dump_records(examples(5, 5 * shard)))
    page = api.get(address, params={"limit": 100}).json()
    assert (page["set"], page["collected"], len(page["data"])) == ("train", False, 10)
    job.finish("collect.train", 0, {"examples": 9}, examples=dump_records(examples(9)), selection=b"", rejected=b"")
    found = list(walk(api, address, limit=4))
    assert [one["example_id"] for one in found] == [one.example_id for one in examples(9)]
    assert api.get(address).json()["collected"] is True


def test_examples_are_filtered_and_counted(api: TestClient, job: PreparedJob) -> None:
    rejected = dump_records([hostile_rejected()])
    job.finish("collect.train", 0, examples=dump_records(examples(12)), selection=b"", rejected=rejected)
    address = f"/v1/jobs/{job.id}/examples"
    found = list(walk(api, address, limit=1, level="hard", domain="shop"))
    assert [one["example_id"] for one in found] == [f"{5:016x}", f"{11:016x}"]
    counts = api.get(f"{address}/counts").json()
    assert (counts["sets"], counts["looked_at"], counts["complete"]) == (["train"], 12, True)
    assert counts["levels"] == {"easy": 4, "medium": 4, "hard": 4} and counts["domains"] == {"shop": 6, "zoo": 6}
    refused = api.get(address, params={"part": "rejected"}).json()["data"]
    assert [one["reason"] for one in refused] == ["gold_failed"]
    assert api.get(f"{address}/counts", params={"part": "rejected"}).json()["reasons"] == {"gold_failed": 1}
    assert api.get(address, params={"set": "none"}).json()["code"] == "set_not_found"


def test_a_filter_that_passes_little_ends_in_time(
    api: TestClient, job: PreparedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_SCANNED", 7)
    job.finish("collect.train", 0, examples=dump_records(examples(50)), selection=b"", rejected=b"")
    address = f"/v1/jobs/{job.id}/examples"
    first = api.get(address, params={"domain": "nowhere"}).json()
    assert (first["data"], first["has_more"], first["last_id"]) == ([], True, "0.0.7")
    assert list(walk(api, address, domain="nowhere")) == []
    assert len(list(walk(api, address, level="easy", limit=3))) == 17


def test_pairs_stand_with_their_questions(api: TestClient, job: PreparedJob) -> None:
    """Before they are collected by the shard's examples; afterwards each holds its own."""
    example = hostile_example()
    job.finish("sample", 0, candidates=b"", examples=dump_records([example]))
    job.finish("judge", 0, judged=b"")
    job.finish("pair", 0, {"pairs": 1}, pairs=dump_records([hostile_pair()]), suspects=b"", profile=b"")
    address = f"/v1/jobs/{job.id}/pairs"
    built = api.get(address).json()
    assert built["collected"] is False
    assert [(one["question"], one["database_id"], one["gold"]) for one in built["data"]] == [
        (example.question, example.database_id, example.gold)
    ]
    pair = hostile_pair().with_example(example.model_copy(update={"evidence": "\nQuestion: none", "domain": "shop"}))
    outputs = {"pairs": dump_records([pair]), "dpo": b"", "chosen": b""}
    job.finish("collect.preferences", 0, {"pairs": 1}, **outputs)
    collected = api.get(address).json()
    assert collected["collected"] is True
    assert [(one["question"], one["evidence"], one["domain"]) for one in collected["data"]] == [
        (example.question, "\nQuestion: none", "shop")
    ]
    assert list(walk(api, address, verdict="wrong")) == []
    assert len(list(walk(api, address, verdict="error", outcome="syntax_error", domain="shop"))) == 1


def test_answers_stand_with_their_questions(api: TestClient, job: PreparedJob) -> None:
    rows = examples(6)
    for shard in (0, 1):
        part = rows[3 * shard : 3 * shard + 3]
        job.finish("sample", shard, candidates=b"", examples=dump_records(part))
        job.finish("judge", shard, judged=dump_records([judged(one, n) for one in part for n in range(2)]))
    address = f"/v1/jobs/{job.id}/predictions"
    found = list(walk(api, address, limit=5))
    assert [one["question"] for one in found] == [one.question for one in rows for _ in range(2)]
    assert [one["verdict"] for one in walk(api, address, verdict="wrong", limit=2)] == ["wrong"] * 6
    assert api.get(address, params={"stage": "pair"}).json()["code"] == "stage_not_found"
    archive_job(job.jobs, job.backend.objects, job.id, WHOLE)
    forget(job)
    assert [one["question"] for one in walk(api, address, limit=5)] == [one["question"] for one in found]


def judged(example: Example, slot: int) -> JudgedCandidate:
    """Right in the first slot, wrong in the second."""
    candidate = Candidate(
        example_id=example.example_id, slot=slot, answer="SELECT 1", sql="SELECT 1", model="m", answer_key="answers/a"
    )
    verdict = Verdict.WRONG if slot else Verdict.CORRECT
    return JudgedCandidate(candidate=candidate, verdict=verdict, policy=Policy.STRICT, outcome=Outcome.OK)


def forget(job: PreparedJob) -> None:
    """Redis loses everything of this store."""
    for key in job.jobs.client.scan_iter(match=f"{job.jobs.prefix}*", count=1000):
        job.jobs.client.delete(key)


def test_lost_shards_say_why(api: TestClient, job: PreparedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SHARDS_AT_ONCE", 3)
    for shard in range(8):
        job.lose("write.train", shard, f"reason {shard}") if shard % 2 else job.finish(
            "write.train", shard, written=b""
        )
    address = f"/v1/jobs/{job.id}/shards"
    lost = list(walk(api, address, state="failed", limit=1))
    assert [(one["stage"], one["shard"], one["error"]["message"]) for one in lost] == [
        ("write.train", shard, f"reason {shard}") for shard in (1, 3, 5, 7)
    ]
    assert len(list(walk(api, address, limit=3))) == 8
    assert list(walk(api, address, stage="sample")) == []


def test_a_plan_names_what_each_stage_waits_for(api: TestClient, job: PreparedJob) -> None:
    plan = api.get(f"/v1/jobs/{job.id}/plan").json()
    stages = {one["id"]: one for one in plan["stages"]}
    assert stages["verify.train"]["each"] == "write.train" and stages["sample"]["upstream"] == ["collect.train", "sft"]
    assert stages["sft"]["queue"] == "training"


def test_curves_live_and_afterwards(api: TestClient, job: PreparedJob) -> None:
    address = f"/v1/jobs/{job.id}/metrics-lines"
    job.train(10, total=10)
    page = api.get(address, params={"stage": "sft", "every": 4}).json()
    assert page["live"] is True and [one["step"] for one in page["data"]] == [1, 4, 8, 10]
    assert [one["step"] for one in walk(api, address, stage="sft", limit=3)] == list(range(1, 11))
    assert api.get(address, params={"stage": "judge"}).json()["code"] == "stage_not_found"


@pytest.mark.parametrize("after", ["x", "1", "1.2", "-1.0.0", "0.0.99999999999", "0.0.0.0"])
def test_a_made_up_place_is_refused(api: TestClient, job: PreparedJob, after: str) -> None:
    for name in ("examples", "pairs", "predictions", "shards"):
        answer = api.get(f"/v1/jobs/{job.id}/{name}", params={"after": after})
        assert (answer.status_code, answer.json()["code"]) in [(422, "unknown_cursor"), (404, "set_not_found")], name


def test_a_spec_is_checked_and_not_recorded(api: TestClient, backend: Backend) -> None:
    checked = api.post("/v1/specs/check", content="kind: synthesis\n", headers={"Content-Type": "application/yaml"})
    assert checked.status_code == 200
    assert (checked.json()["given"], checked.json()["spec"]["seed"]) == ({"kind": "synthesis"}, 7)
    bad = api.post("/v1/specs/check", json={"kind": "pipeline", "strong": {"endpoint": "x", "model": "m"}, "sed": 1})
    assert bad.status_code == 422
    assert {fault["path"] for fault in bad.json()["errors"]} == {"strong.endpoint", "sed"}
    assert backend.jobs.job_ids() == []
