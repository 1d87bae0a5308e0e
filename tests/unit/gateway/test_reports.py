"""Reports over REST: listed, read, browsed by question, compared; the statistics against a slow reckoning."""

import json
from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.gateway.backend import Backend
from services.gateway.reports.service import clustered_interval, mcnemar
from shared.jobs.plan import FixedShards, JobPlan, StagePlan
from tests.support.prepared_job import PreparedJob

PLAN = JobPlan(stages=[StagePlan(id="report", task="evaluation.score", source=FixedShards(shards=[{}]))])


def question(index: int, **arms: list[int]) -> dict[str, Any]:
    """A line as the evaluation service writes it."""
    return {
        "index": index,
        "example_id": f"{index:016x}",
        "db_id": f"db{index % 4}",
        "domain": "shop",
        "level": "easy",
        "set": "held-out" if index < 8 else "handwritten",
        "question": f"Q{index}?",
        "evidence": None,
        "gold": "SELECT 1",
        "scored": index != 0,
        "arms": {
            arm: [
                {"slot": n, "sql": "SELECT 1", "verdict": "correct" if ex else "wrong", "outcome": "ok", "ex": ex}
                for n, ex in enumerate(marks)
            ]
            for arm, marks in arms.items()
        },
    }


def make_report(backend: Backend, name: str, lines: list[dict[str, Any]]) -> str:
    """A job with a finished report."""
    job = PreparedJob(backend, name=name, plan=PLAN)
    arms = sorted({arm for line in lines for arm in line["arms"]})
    document = {
        "findings": [f"{name} was found"],
        "sets": [{"name": "held-out"}, {"name": "handwritten"}],
        "scores": [{"arm": {"id": arm, "title": arm.upper()}} for arm in arms],
    }
    questions = "".join(json.dumps(line) + "\n" for line in lines).encode()
    job.finish("report", 0, {"questions": len(lines)}, report=json.dumps(document).encode(), questions=questions)
    return job.id


@pytest.fixture
def two(backend: Backend) -> tuple[str, str]:
    left = [question(n, sft=[int(n % 3 == 0)], base=[0]) for n in range(12)]
    right = [question(n, sft=[int(n % 2 == 0)], dpo=[1]) for n in range(2, 14)]
    return make_report(backend, "left", left), make_report(backend, "right", right)


def test_reports_are_listed_newest_first(api: TestClient, two: tuple[str, str], backend: Backend) -> None:
    PreparedJob(backend, name="without one")
    first = api.get("/v1/reports", params={"limit": 1}).json()
    assert [(one["job_name"], one["arms"]) for one in first["data"]] == [("right", {"dpo": "DPO", "sft": "SFT"})]
    rest = api.get("/v1/reports", params={"limit": 1, "after": first["last_id"]}).json()
    assert ([one["job_id"] for one in rest["data"]], rest["has_more"]) == ([two[0]], False)
    assert api.get("/v1/reports", params={"after": "x"}).json()["code"] == "unknown_cursor"


def test_a_report_is_read_with_its_forms(api: TestClient, two: tuple[str, str]) -> None:
    found = api.get(f"/v1/reports/{two[0]}").json()
    assert found["document"]["findings"] == ["left was found"] == found["findings"]
    assert {one["name"] for one in found["artifacts"]} == {"report.json", "report/questions"}


def test_questions_are_browsed_by_what_arms_made_of_them(api: TestClient, two: tuple[str, str]) -> None:
    def ask(**query: Any) -> list[int]:
        answer = api.get(f"/v1/reports/{two[0]}/questions", params={"limit": 100, **query})
        assert answer.status_code == 200, answer.text
        return [one["index"] for one in answer.json()["data"]]

    assert ask() == list(range(12))
    assert ask(set="handwritten") == [8, 9, 10, 11]
    assert ask(arm="sft", only="right") == [3, 6, 9]
    assert ask(arm="sft", against="base", only="won") == [3, 6, 9]
    assert ask(arm="base", against="sft", only="lost") == [3, 6, 9]
    assert ask(arm="nobody", only="wrong") == []
    assert api.get(f"/v1/reports/{two[0]}/questions", params={"only": "lost", "arm": "sft"}).status_code == 422


def test_two_arms_are_compared_on_the_questions_they_share(api: TestClient, two: tuple[str, str]) -> None:
    asked = {"left": two[0], "left_arm": "sft", "right": two[1], "right_arm": "sft"}
    found = api.get("/v1/reports/compare", params={**asked, "limit": 100}).json()
    shared = range(2, 12)
    differences = {n: int(n % 2 == 0) - int(n % 3 == 0) for n in shared}
    assert (found["questions"], found["databases"]) == (10, 4)
    assert (found["won"], found["lost"]) == (4, 2)
    assert found["points"] == pytest.approx(100 * sum(differences.values()) / 10)
    assert (found["left"]["accuracy"], found["right"]["accuracy"]) == (0.3, 0.5)
    assert [one["question"]["index"] for one in found["data"]] == [n for n, value in differences.items() if value]
    assert found["data"][0]["left"][0]["ex"] != found["data"][0]["right"][0]["ex"]
    assert found["p_value"] == pytest.approx(2 * (1 + 6 + 15) / 64)
    lost = api.get("/v1/reports/compare", params={**asked, "show": "lost", "limit": 1}).json()
    assert lost["has_more"] is True and lost["data"][0]["question"]["index"] == 3
    missing = api.get("/v1/reports/compare", params={**asked, "left_arm": "none"})
    assert (missing.status_code, missing.json()["code"]) == (404, "arm_not_found")


def test_mcnemar_is_the_binomial_test() -> None:
    for won, lost in product(range(7), range(7)):
        n = won + lost
        at_least = sum(comb(n, k) for k in range(n + 1) if comb(n, k) <= comb(n, won) + 1e-9) / 2**n
        assert mcnemar(won, lost) == pytest.approx(min(1.0, at_least))


def test_the_interval_is_the_clustered_sandwich() -> None:
    generator = np.random.default_rng(3)
    clusters = generator.integers(0, 9, size=200)
    values = generator.choice([-1.0, 0.0, 1.0], size=200) + (clusters - 4) * 0.1
    names = [f"q{n}" for n in range(200)]
    found = clustered_interval(
        dict(zip(names, values.tolist(), strict=True)),
        dict(zip(names, map(str, clusters), strict=True)),
    )
    dummies = np.eye(9)[clusters]
    sums = dummies.T @ (values - values.mean())
    error = np.sqrt(9 / 8 * (sums @ sums)) / 200
    assert found == pytest.approx(
        (100 * (values.mean() - 1.96 * error), 100 * (values.mean() + 1.96 * error)), rel=1e-9
    )
    assert clustered_interval({"a": 1.0, "b": 0.0}, {"a": "x", "b": "x"}) is None
