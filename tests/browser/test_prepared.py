"""The console on a gateway whose jobs are laid there by hand: inert text, live pages, keys, keyboard, weight."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.gateway.backend import Backend
from services.gateway.settings import AuthSettings
from shared.catalog.databases import SchemaCard, Upload, add_upload
from shared.storage.keys import card_key, database_key
from tests.browser.conftest import Open
from tests.support.datasets import make_example, make_head
from tests.support.gateway import make_backend, serve
from tests.support.prepared_job import HOSTILE, PreparedJob

FIRST_VIEW_BYTES = 200_000
STREAM_S = 1.0
KEY = "console-key-0123456789abcdef"


@pytest.fixture(scope="module")
def backend(module_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Streams are short, so that every test sees some of them end and go on."""
    return make_backend(module_redis_url, tmp_path_factory.mktemp("console") / "objects", stream_s=STREAM_S)


@pytest.fixture(scope="module")
def base(backend: Backend) -> Iterator[str]:
    with serve(backend) as url:
        yield url


@pytest.fixture(scope="module")
def hostile(backend: Backend) -> PreparedJob:
    """A job with markup in every text, half way through its training, with a lost shard."""
    job = PreparedJob(backend, name=HOSTILE)
    job.write_hostile_data()
    job.train(12)
    return job


def unharmed(page: Page) -> bool:
    """No markup of the data became an element or ran."""
    made = page.evaluate("document.querySelectorAll('main img, main script, main svg[onload], main b').length")
    return page.evaluate("window.harmed") is None and made == 0


@pytest.mark.parametrize(
    "path", ["", "/examples", "/examples?part=rejected", "/pairs", "/answers", "/curves", "/files", "/spec"]
)
def test_markup_in_data_is_text(visit: Open, base: str, hostile: PreparedJob, path: str) -> None:
    viewer = visit(base)
    page = viewer.open(f"/jobs/{hostile.id}{path}")
    assert HOSTILE in viewer.text()
    assert unharmed(page)
    assert [one for one in viewer.complaints if "503" not in one] == []  # there is no sandbox to run a pair's SQL


def test_markup_in_addresses_is_text(visit: Open, base: str) -> None:
    viewer = visit(base)
    page = viewer.open("/nowhere/<img src=x onerror=window.harmed=1>")
    assert "There is no such page" in viewer.text() and unharmed(page)
    viewer.open(f"/ask?question={HOSTILE.replace('&', '').replace('#', '')}&database={HOSTILE}")
    assert unharmed(page)


def test_the_policy_stops_what_text_would_not(visit: Open, base: str) -> None:
    viewer = visit(base)
    page = viewer.open("/jobs")
    headers = page.request.get(base).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and headers["x-content-type-options"] == "nosniff"
    tried = page.evaluate(
        "() => { try { document.body.innerHTML = '<p>'; return 'taken' } catch { return 'refused' } }"
    )
    assert tried == "refused"


def test_the_first_view_is_light_and_asks_nobody_else(visit: Open, base: str, hostile: PreparedJob) -> None:
    viewer = visit(base)
    network = viewer.context.new_cdp_session(viewer.page)
    network.send("Network.enable")
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    page = viewer.open("/jobs")
    page.wait_for_load_state("networkidle")
    assert {request.url.startswith(base) for request in viewer.requests} == {True}
    print(f"first view: {len(sizes)} requests, {sum(sizes):.0f} bytes")
    assert len(sizes) > 5 and sum(sizes) < FIRST_VIEW_BYTES
    assert viewer.complaints == []


def test_a_job_page_lives_over_streams_that_end(visit: Open, base: str, backend: Backend) -> None:
    job = PreparedJob(backend, name="alive")
    job.finish("write.train", 0, {"written": 4})
    viewer = visit(base)
    page = viewer.open(f"/jobs/{job.id}")
    expect(page.locator("[data-stage='write.train']")).to_contain_text("4 written")
    page.get_by_role("button", name="Cancel").focus()
    page.wait_for_timeout(1000 * STREAM_S + 1200)
    job.lose("write.train", 1, "the disk was full")
    expect(page.locator("main")).to_contain_text("the disk was full")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    backend.jobs.end(job.id, "failed")
    expect(page.locator("#job-status")).to_have_text("failed")
    expect(page.locator("#live")).to_contain_text("failed")
    streams = [one for one in viewer.requests if one.url.endswith("/events/stream")]
    resumed = [one.headers.get("last-event-id", "") for one in streams]
    assert len(streams) >= 2 and any("-" in one for one in resumed)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#job-status")).to_have_text("running")
    assert viewer.complaints == []


def test_curves_grow(visit: Open, base: str, backend: Backend) -> None:
    job = PreparedJob(backend, name="training")
    job.train(3)
    viewer = visit(base)
    page = viewer.open(f"/jobs/{job.id}/curves")
    expect(page.locator("[data-run=sft]")).to_contain_text("Step 3 of 40")
    job.tell_step(4)
    expect(page.locator("[data-run=sft]")).to_contain_text("Step 4 of 40")
    assert page.locator("[data-run=sft] svg[role=img]").count() == 2
    assert viewer.complaints == []


def test_a_locked_gateway_asks_for_a_key_and_gets_it_with_every_request(
    visit: Open, backend: Backend, hostile: PreparedJob
) -> None:
    locked = replace(backend, auth=AuthSettings.model_validate({"admin_key": KEY}))
    with serve(locked) as url:
        viewer = visit(url)
        page = viewer.open("/jobs")
        expect(page.get_by_role("heading", level=1)).to_have_text("This page cannot be shown")
        page.get_by_role("button", name="Enter an API key").click()
        page.get_by_label("Key", exact=True).fill(KEY)
        viewer.requests.clear()
        page.get_by_role("button", name="Use key").click()
        expect(page.get_by_role("button", name="API key set")).to_be_visible()
        page.get_by_role("link", name=HOSTILE).first.click()
        expect(page.locator("#job-status")).to_have_text("running")
        page.wait_for_timeout(300)
        asked = [one for one in viewer.requests if "/v1/" in one.url]
        assert any(one.url.endswith("/events/stream") for one in asked)
        assert {one.headers.get("authorization") for one in asked} == {f"Bearer {KEY}"}
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        assert [one for one in viewer.complaints if "401" not in one] == []


def test_faults_of_a_spec_stand_at_their_fields(visit: Open, base: str) -> None:
    viewer = visit(base)
    page = viewer.open("/new")
    page.get_by_label("Examples to write").fill("1")
    page.get_by_label("Endpoint profile").first.fill("nobody")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("train.sft.0.synthesis")
    expect(alert).to_contain_text("strong.endpoint")
    expect(page.get_by_label("Examples to write")).to_have_attribute("aria-invalid", "true")
    viewer.complaints.clear()  # the browser itself notes every 422
    page.get_by_label("Spec, as YAML").fill(
        "kind: synthesis\nname: by hand\ntrain: {sft: [{synthesis: 44}]}\nseed: 3\n"
    )
    expect(page.get_by_label("Examples to write")).to_have_value("44")
    expect(page.get_by_label("Kind")).to_have_value("synthesis")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url("**/#/jobs/*")
    expect(page.get_by_role("heading", level=1)).to_have_text("by hand")
    assert viewer.complaints == []


def test_the_keyboard_reaches_everything(visit: Open, base: str) -> None:
    viewer = visit(base)
    page = viewer.open("/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Reports").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.get_by_role("button", name="theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_databases_and_data_sets_are_deleted_once_it_is_confirmed(visit: Open, base: str, backend: Backend) -> None:
    database, objects = "ab" * 32, backend.objects
    objects.put(card_key(database), SchemaCard(database_id=database, tables=[]).model_dump_json().encode())
    objects.put(database_key(database), b"SQLite")
    add_upload(objects, Upload(id=database, name="shop", size=6, created_at=1.0, tables=0))
    lines = "\n".join(one.model_dump_json() for one in (make_head(), make_example(0, database)))
    viewer = visit(base)
    brought = viewer.page.request.post(
        f"{base}/v1/datasets", data=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert brought.ok, brought.text()

    def delete(what: str) -> None:
        page.get_by_role("button", name=re.compile(f"^Delete {what}")).click()
        page.get_by_role("button", name=re.compile(f"^Delete {what}.* for good")).click()

    page = viewer.open(f"/databases/{database}")
    delete("the database shop")
    expect(page.get_by_role("alert")).to_contain_text("remove the dataset first")
    viewer.open("/datasets")
    page.get_by_role("button", name=re.compile("^Delete version")).click()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("heading", name="singers")).to_be_visible()
    delete("version")
    expect(page.get_by_role("heading", name="singers")).to_have_count(0)
    viewer.open(f"/databases/{database}")
    delete("the database shop")
    page.wait_for_url("**/#/databases")
    assert not objects.exists(database_key(database))


def test_pictures_of_work_under_way(visit: Open, base: str, hostile: PreparedJob) -> None:
    viewer = visit(base)
    findings = []
    for name, path in (("job-running", ""), ("curves", "/curves"), ("rejected", "/examples?part=rejected")):
        viewer.open(f"/jobs/{hostile.id}{path}")
        findings += viewer.picture(name)
    assert findings == []


def test_nothing_of_the_console_lies_outside_its_folder(base: str, visit: Open) -> None:
    page = visit(base).page
    for name in ("../app.py", "%2e%2e/app.py", "..%2f..%2fapp.py", "js", "js/", "/etc/passwd"):
        assert page.request.get(f"{base}/console/{name}").status in (404, 405), name
    assert Path(__file__).exists()
