"""The console on a real stack: a job submitted by the form and watched, its data browsed, reports read, a question."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from services.serving.engine_client import EngineClient
from shared.models.bases import resolve_base
from tests.browser.conftest import Open
from tests.support.openai_server import OpenAiServer
from tests.support.stack import MODELS, Golds, Stack, running_stack
from tests.support.writers import weak_writer

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
# Colours are tokens that all pages share: in the dark theme axe looks at the pages that use most of them.
DARK_TOO = ("job", "pairs", "new", "report")
BASE = "smollm2-135m"
TESTS = [{"dataset": "builtin:held-out", "questions": 12}, {"dataset": "builtin:handwritten", "questions": 6}]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Stack]:
    """A stack with two endpoints that know the golds, one better than the other; none without a browser."""
    resolve_base("builtin:smollm2-135m", MODELS)
    state: Path = tmp_path_factory.mktemp("browser") / "state"
    golds = Golds(state / "objects")
    with (
        OpenAiServer(weak_writer(golds, correct=0.5), latency_s=0.02, models=["w"]) as weak,
        OpenAiServer(weak_writer(golds, correct=0.85), latency_s=0.02, models=["b"]) as better,
        running_stack(
            state, SENSE_ENDPOINT_WEAK_BASE_URL=weak.base_url, SENSE_ENDPOINT_BETTER_BASE_URL=better.base_url
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def reports(stack: Stack) -> list[str]:
    """Two evaluations on the same questions; they run while the form is filled in."""
    models = {"weak": "w", "better": "b"}
    specs = [
        {"kind": "evaluation", "name": name, "models": [{"endpoint": name, "model": model}], "evaluate": TESTS}
        for name, model in models.items()
    ]
    return [stack.client.submit(spec).id for spec in specs]


@pytest.fixture(scope="module")
def job_id(stack: Stack, browser: Browser, reports: list[str]) -> str:
    """The pairing job that the form submits; it is watched to its end on the page that follows."""
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.extend([said.text] if said.type == "error" else []))
    page.goto(f"{stack.file.gateway_url}/#/new")
    page.get_by_label("Kind").select_option("pairing")
    page.get_by_label("Name", exact=True).fill("from the form")
    page.get_by_label("Examples to write").fill("24")
    page.get_by_label("Examples a shard").fill("6")
    page.locator("summary", has_text="Weak model").click()
    page.locator("[data-path='weak.endpoint']").fill("weak")
    page.locator("[data-path='weak.model']").fill("w")
    page.locator("[data-path='weak.samples']").fill("4")
    expect(page.locator("textarea[name=yaml]")).to_have_value(
        "kind: pairing\nname: from the form\ntrain:\n  sft: [{synthesis: 24, per_shard: 6}]\n"
        "weak:\n  endpoint: weak\n  model: w\n  samples: 4\n"
    )
    expect(page.get_by_text("The gateway takes this spec.")).to_be_visible()
    complaints.clear()  # while a model without its endpoint stood there, the gateway said 422
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/#/jobs/*")
    expect(page.locator("#job-status")).to_have_text("succeeded", timeout=120_000)
    expect(page.locator("[data-stage='collect.preferences']")).to_contain_text("pairs")
    assert complaints == []
    context.close()
    return page.url.rsplit("/", 1)[1]


def test_examples_are_browsed_and_filtered(visit: Open, stack: Stack, job_id: str) -> None:
    viewer = visit(stack.file.gateway_url)
    page = viewer.open(f"/jobs/{job_id}/examples")
    expect(page.locator("article")).to_have_count(20)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("article")).to_have_count(4)
    viewer.open(f"/jobs/{job_id}/examples")
    page.get_by_label("Level").select_option("easy")
    expect(page.locator("article .chip", has_text="hard")).to_have_count(0)
    expect(page.locator("article .chip", has_text="easy").first).to_be_visible()
    first = page.locator("article").first
    assert first.locator("pre.sql .k", has_text="SELECT").count() >= 1
    first.get_by_text("Rows").click()
    expect(first.locator("table.rows")).to_be_visible()
    first.get_by_text("Schema").click()
    expect(first.locator(".schema-table").first).to_be_visible()
    assert viewer.complaints == []


def test_pairs_are_compared_with_their_results(visit: Open, stack: Stack, job_id: str) -> None:
    viewer = visit(stack.file.gateway_url)
    page = viewer.open(f"/jobs/{job_id}/pairs")
    first = page.locator("article").first
    expect(first.get_by_text("Chosen returns")).to_be_visible()
    expect(first.get_by_text("Rejected returns")).to_be_visible()
    assert page.locator("article del, article ins").count() > 0
    page.get_by_label("Rejected for").select_option("error")
    expect(page.locator("article h3 .chip", has_text="wrong")).to_have_count(0)
    expect(page.locator("article h3 .chip", has_text="error").first).to_be_visible()
    viewer.open(f"/jobs/{job_id}/answers?verdict=wrong")
    assert set(page.locator("article > .row > .chip:first-child").all_inner_texts()) == {"wrong"}
    assert viewer.complaints == []


def test_reports_are_read_and_compared(visit: Open, stack: Stack, reports: list[str]) -> None:
    for job in reports:
        assert stack.wait(job, limit_s=90).status == "succeeded"
    viewer = visit(stack.file.gateway_url)
    page = viewer.open("/reports")
    page.get_by_role("link", name="better").click()
    rendered = page.frame_locator("iframe.report")
    expect(rendered.get_by_role("heading", level=1)).to_contain_text("better")
    assert rendered.locator("body").evaluate("(body) => getComputedStyle(body).margin") == "0px", (
        "its stylesheet is refused"
    )
    assert page.locator("iframe.report").evaluate("(frame) => frame.offsetHeight") > 1000
    page.get_by_label("Show").select_option("wrong")
    expect(page.locator("article .side .chip", has_text="correct")).to_have_count(0)
    expect(page.locator("article").first).to_be_visible()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="report.html").click()
    opened.value.wait_for_load_state()
    assert "better" in opened.value.inner_text("body")
    left, right = reports
    viewer.open(f"/reports/compare?left={left}&right={right}")
    assert "18" in viewer.text() and "points" in viewer.text()
    assert page.locator("article").count() > 0
    assert viewer.complaints == []


@pytest.mark.model
def test_a_question_is_answered(visit: Open, stack: Stack, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the small model as it is, where the gateway has /v1/sql; its SQL need not be right."""
    monkeypatch.setenv("SENSE_INTERNAL_TOKEN", stack.file.internal_token)
    EngineClient(stack.file.engine_url).load(BASE, str(resolve_base(f"builtin:{BASE}", MODELS)))
    viewer = visit(stack.file.gateway_url)
    example = ask_gateway(stack, f"/v1/jobs/{job_id}/examples?limit=1")["data"][0]
    if "/v1/sql" not in ask_gateway(stack, "/openapi.json")["paths"]:
        viewer.page.route("**/v1/sql", lambda route: answer(route, example["sql"]))
    page = viewer.open("/models")
    page.get_by_role("link", name="Ask it").click()
    expect(page.get_by_label("Model")).to_have_value(BASE)
    viewer.open(f"/jobs/{job_id}/examples")
    page.get_by_role("link", name="Ask a model this").first.click()
    expect(page.get_by_label("Question")).to_have_value(example["question"])
    page.get_by_label("Model").select_option(BASE)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_role("heading", name="Answer")).to_be_visible(timeout=180_000)
    expect(page.locator("article pre.sql, article p.muted").first).to_be_visible()
    assert BASE in viewer.text()
    assert viewer.complaints == []


def ask_gateway(stack: Stack, path: str) -> dict[str, Any]:
    """A document of the stack's gateway."""
    found: dict[str, Any] = httpx.get(stack.file.gateway_url + path, timeout=30, trust_env=False).json()
    return found


def answer(route: Route, sql: str) -> None:
    """What the gateway of a version with /v1/sql says."""
    asked: dict[str, Any] = json.loads(route.request.post_data or "{}")
    result: dict[str, Any] = {"outcome": "ok", "columns": ["n"], "rows": [[1]], "row_count": 1, "truncated": False}
    route.fulfill(
        json={"model": "m", "database_id": asked["database_id"], "sql": sql, "outcome": "ok", "result": result}
    )


def test_a_database_is_brought_and_asked(visit: Open, stack: Stack, job_id: str, tmp_path: Path) -> None:
    example = ask_gateway(stack, f"/v1/jobs/{job_id}/examples?limit=1")["data"][0]
    stack.objects.get_file(f"databases/{example['database_id']}.sqlite", tmp_path / "shop.sqlite")
    viewer = visit(stack.file.gateway_url)
    page = viewer.open("/databases")
    page.locator("input[type=file]").set_input_files(tmp_path / "shop.sqlite")
    expect(page.get_by_role("heading", level=1)).to_have_text("shop")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("region", name="Result")).to_be_visible()
    assert viewer.complaints == []


def test_pictures_of_every_page(visit: Open, stack: Stack, job_id: str, reports: list[str]) -> None:
    for job in reports:
        stack.wait(job, limit_s=90)
    left, right = reports
    database = ask_gateway(stack, f"/v1/jobs/{job_id}/examples?limit=1")["data"][0]["database_id"]
    pages = {
        **{"jobs": "/jobs", "job": f"/jobs/{job_id}", "examples": f"/jobs/{job_id}/examples"},
        **{name: f"/jobs/{job_id}/{name}" for name in ("pairs", "answers", "files", "spec")},
        **{"new": "/new", "reports": "/reports", "report": f"/reports/{right}"},
        **{"compare": f"/reports/compare?left={left}&right={right}", "ask": "/ask", "models": "/models"},
        **{"databases": "/databases", "database": f"/databases/{database}", "datasets": "/datasets"},
    }
    viewer = visit(stack.file.gateway_url)
    findings = []
    for name, path in pages.items():
        viewer.open(path)
        findings += viewer.picture(name, ("light", "dark") if name in DARK_TOO else ("light",))
    assert findings == []
    assert viewer.complaints == []
