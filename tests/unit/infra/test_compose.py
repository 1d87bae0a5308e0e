"""The compose file as it is written: hardened, pinned, without secrets of its own, the sandbox shut in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("sense-")}
FOREIGN = sorted(set(SERVICES) - OURS)
DOCKERFILES = sorted((ROOT / "infra").glob("*/Dockerfile"))
NEED_OUT = {"synthesis", "pairing", "evaluation", "training", "training-gpu", "serving", "vllm"}


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


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"preflight", "prometheus", "grafana"}))
def test_every_service_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_sandbox_reaches_redis_and_the_store_alone() -> None:
    assert SERVICES["sandbox"]["networks"] == ["jail"]
    assert {name for name, one in SERVICES.items() if "jail" in one["networks"]} == {
        *("redis", "store", "sandbox", "sandbox-http"),
    }
    for name in ("data", "jail", "calls"):
        assert COMPOSE["networks"][name]["internal"] is True
        assert COMPOSE["networks"][name]["driver_opts"]["com.docker.network.bridge.inhibit_ipv4"] == "true"
    reach_out = {name for name, service in SERVICES.items() if "out" in service.get("networks", [])}
    assert reach_out == NEED_OUT


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
    for name in OURS - {"redis", "store"}:
        assert SERVICES[name]["environment"]["SENSE_INTERNAL_TOKEN"] == token, name
    assert SERVICES["vllm"]["environment"]["VLLM_API_KEY"] == token
    assert SERVICES["engine-gpu"]["environment"]["SENSE_VLLM_API_KEY"] == token
    assert SERVICES["flower"]["command"][:3] == ["python", "-m", "shared.tasks.flower"]
    scraped = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    files = {one["target"]: COMPOSE["configs"][one["source"]] for one in SERVICES["prometheus"]["configs"]}
    for job in scraped:
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
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.search(r"\d+\.\d+", tag) and tag != "latest"


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
    names += (ROOT / "services/gateway/middleware.py").read_text(encoding="utf-8")
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
