"""The console's files: served packed and tagged under a strict policy, and without foreign hosts."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.console.routes import load_assets
from shared.contracts.spec import BUILTIN_TESTS
from shared.contracts.training import PRESET_LENGTHS
from shared.pages.render import style_hash

FOLDER = Path(__file__).parents[3] / "services" / "gateway" / "console"
TEXTS = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg"))


def test_the_start_page_is_served_with_its_policy(api: TestClient) -> None:
    answer = api.get("/", headers={"Accept-Encoding": "identity"})
    assert answer.content == (FOLDER / "index.html").read_bytes()
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
    assert policy["style-src"] == f"'self' '{style_hash()}'" and policy["frame-src"] == "blob:"
    assert policy["connect-src"] == "'self'" and policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_file_is_served_packed_and_not_twice(api: TestClient, path: Path) -> None:
    name = path.relative_to(FOLDER).as_posix()
    packed = api.get(f"/console/{name}", headers={"Accept-Encoding": "gzip"})
    assert (packed.status_code, packed.headers["Content-Encoding"]) == (200, "gzip")
    assert packed.content == path.read_bytes() == gzip.decompress(load_assets()[name].packed)
    again = api.get(f"/console/{name}", headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/%2e%2e/pyproject.toml", "js", "js/", "x.js"])
def test_only_files_of_the_console_are_served(api: TestClient, name: str) -> None:
    assert api.get(f"/console/{name}").status_code == 404


def test_nothing_is_asked_of_another_host() -> None:
    """The name space of SVG is a name, not an address that is asked."""
    foreign = re.compile(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(")
    assert [path.name for path in TEXTS if foreign.search(path.read_text(encoding="utf-8"))] == []


def test_no_script_writes_markup_or_evaluates_text() -> None:
    """The browser refuses it too (trusted types); here the line is named."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style"
    )
    assert [path.name for path in TEXTS if forbidden.search(path.read_text(encoding="utf-8"))] == []


def test_the_start_page_holds_no_inline_script_or_style() -> None:
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", text)


def test_every_module_that_is_named_is_there() -> None:
    for path in TEXTS:
        if path.suffix == ".js":
            for name in re.findall(r"(?:from|import\()\s*\"(\.[^\"]+)\"", path.read_text(encoding="utf-8")):
                assert (path.parent / name).exists(), f"{path.name} names {name}"


def enumerations(api: TestClient) -> list[set[str]]:
    """All enumerations of three values and more in the gateway's schema."""
    found: list[set[str]] = []

    def walk(node: object) -> None:
        if isinstance(node, dict):
            values = node.get("enum")
            if isinstance(values, list) and len(values) > 2:
                found.append(set(values))
            for one in node.values():
                walk(one)
        elif isinstance(node, list):
            for one in node:
                walk(one)

    walk(api.get("/openapi.json").json()["components"])
    return found


def test_no_page_lists_the_choices_of_the_schema(api: TestClient) -> None:
    enums = enumerations(api)
    for path in TEXTS:
        if path.suffix == ".js":
            for literal in re.findall(r"\[((?:\s*\"[\w:-]+\",?)+)\s*\]", path.read_text(encoding="utf-8")):
                listed = set(re.findall(r"\"([\w:-]+)\"", literal))
                assert listed not in enums, f"{path.name} lists {sorted(listed)}: read them from the schema"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_forms_choices_are_those_of_the_schema(api: TestClient, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(api.get("/openapi.json").json()))
    script = f"""
        globalThis.sessionStorage = {{ getItem: () => "" }};
        const fs = await import("node:fs");
        const {{ Schemas }} = await import("{FOLDER}/js/schema.js");
        const {{ describe, kindsOf, sectionsOf }} = await import("{FOLDER}/js/fields.js");
        const schemas = new Schemas(JSON.parse(fs.readFileSync("{document}")));
        const fieldsOf = (kind) => sectionsOf(kind).flatMap((one) => one.fields);
        const fields = (kind) => fieldsOf(kind).map((one) => describe(one, kind, schemas));
        const kinds = Object.fromEntries(kindsOf(schemas).map(([kind]) => [kind, fields(kind)]));
        console.log(JSON.stringify({{ kinds, tests: schemas.testSets }}));
    """
    ran = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    assert set(found["kinds"]) == {"pipeline", "synthesis", "pairing", "sft", "dpo", "deployment", "evaluation"}
    assert found["tests"] == list(BUILTIN_TESTS)
    for kind, sections in {"pipeline": ("sft", "dpo"), "pairing": ("sft",), "sft": ("sft",), "dpo": ("dpo",)}.items():
        options = {field["path"]: field.get("options") for field in found["kinds"][kind]}
        for section in sections:
            assert options[f"{section}.preset"] == sorted(PRESET_LENGTHS)
