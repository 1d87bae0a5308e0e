"""Every Kubernetes document against the schemas of the API it is for, and that its parts fit together."""

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

BASE = Path(__file__).parents[3] / "infra" / "kubernetes" / "base"
GPU = BASE.parent / "overlays" / "gpu"
VERSION = kubernetes_validate.latest_version()


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    """What a folder's kustomization applies, without Kustomize's own file."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        yield from filter(None, yaml.safe_load_all((folder / name).read_text()))


def merged(below: Any, above: Any) -> Any:
    """A strategic merge as Kustomize makes it: objects by key, lists of objects by their `name`."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: merged(below.get(key), above.get(key)) for key in below | above}
    if isinstance(below, list) and isinstance(above, list) and all(isinstance(one, dict) for one in below + above):
        names = {one.get("name", one.get("mountPath")): one for one in below}
        for one in above:
            key = one.get("name", one.get("mountPath"))
            names[key] = merged(names.get(key), one)
        return list(names.values())
    return below if above is None else above


ALL = {f"{one['kind']}/{one['metadata']['name']}": one for one in documents(BASE)}
PATCHED = {
    patch["target"]["name"]: merged(
        ALL[f"Deployment/{patch['target']['name']}"], yaml.safe_load((GPU / patch["path"]).read_text())
    )
    for patch in yaml.safe_load((GPU / "kustomization.yaml").read_text())["patches"]
}


@pytest.mark.parametrize("name", ALL)
def test_a_document_is_valid(name: str) -> None:
    kubernetes_validate.validate(ALL[name], VERSION, strict=True)


@pytest.mark.parametrize("name", PATCHED)
def test_a_patched_deployment_is_valid_and_asks_for_a_gpu(name: str) -> None:
    kubernetes_validate.validate(PATCHED[name], VERSION, strict=True)
    pod = PATCHED[name]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert any("nvidia.com/gpu" in one["resources"].get("limits", {}) for one in pod["containers"])


def test_the_checker_refuses_what_the_api_would() -> None:
    wrong = merged(ALL["Deployment/gateway"], {"spec": {"replica": 2}})
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_selectors_find_their_pods_and_images_are_renamed() -> None:
    pods = {name: one["spec"]["template"] for name, one in ALL.items() if "template" in one.get("spec", {})}
    for name, one in ALL.items():
        selector = one.get("spec", {}).get("selector", {})
        labels = selector.get("matchLabels", selector) if one["kind"] != "NetworkPolicy" else {}
        if labels:
            found = [pod for pod in pods.values() if labels.items() <= pod["metadata"]["labels"].items()]
            assert len(found) == 1, name
    renamed = {one["name"] for one in yaml.safe_load((BASE / "kustomization.yaml").read_text())["images"]}
    images = {one["image"] for pod in pods.values() for one in pod["spec"]["containers"]}
    assert {image for image in images if image.startswith("sense-")} == renamed


def test_the_services_token_is_among_the_secrets() -> None:
    names = {line.partition("=")[0] for line in (BASE / "secrets.env.example").read_text().splitlines()}
    assert "SENSE_INTERNAL_TOKEN" in names
    (engine,) = (one for one in PATCHED["engine"]["spec"]["template"]["spec"]["containers"] if one["name"] == "vllm")
    keys = [one["valueFrom"]["secretKeyRef"]["key"] for one in engine["env"] if one["name"] == "VLLM_API_KEY"]
    assert keys == ["SENSE_INTERNAL_TOKEN"]


def test_the_gateways_secrets_are_the_gateways_alone() -> None:
    given = {one["name"] for one in yaml.safe_load((BASE / "kustomization.yaml").read_text())["secretGenerator"]}
    assert given == {"sense", "sense-gateway", "sense-store", "sense-sandbox"}
    shared = "".join((BASE / f"{name}.env.example").read_text() for name in ("secrets", "store", "sandbox"))
    for secret in ("SENSE_ADMIN_KEY", "SENSE_KEY_SECRET", "SENSE_METRICS_KEY"):
        assert secret not in shared
        assert f"{secret}=" in (BASE / "gateway.env.example").read_text()
    holders = {name for name, one in ALL.items() if "sense-gateway" in json.dumps(one)}
    assert holders == {"Deployment/gateway"}


def test_parts_that_policies_name_are_pods() -> None:
    pods = [one["spec"]["template"] for one in ALL.values() if "template" in one.get("spec", {})]
    parts = {pod["metadata"]["labels"]["part"] for pod in pods}
    policies = [one for one in ALL.values() if one["kind"] == "NetworkPolicy"]
    assert set(named(policies)) <= parts


def named(tree: Any) -> Iterator[str]:
    """Values of the label `part`, wherever a selector names them."""
    if isinstance(tree, list):
        for one in tree:
            yield from named(one)
    elif isinstance(tree, dict):
        if tree.get("key") == "part":
            yield from tree["values"]
        for key, value in tree.items():
            if key == "part" and isinstance(value, str):
                yield value
            yield from named(value)


PARTS = {one["metadata"]["labels"]["part"]: one for one in ALL.values() if one["kind"] in ("Deployment", "StatefulSet")}
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector as the API reads it."""
    for one in selector.get("matchExpressions", []):
        inside = labels.get(one["key"]) in one["values"]
        if inside != (one["operator"] == "In"):
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def egress_of(part: str) -> Iterator[dict[str, Any]]:
    """Every rule that lets a part's pods out."""
    labels = {"app": "sense", "part": part}
    for one in ALL.values():
        if one["kind"] == "NetworkPolicy" and selects(one["spec"]["podSelector"], labels):
            yield from one["spec"].get("egress", [])


def admits(rule: dict[str, Any], address: str) -> bool:
    """Whether a rule lets pods reach an address outside of the cluster; a rule without `to` admits every one."""
    where = ipaddress.ip_address(address)
    for peer in rule.get("to", [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}]):
        block = peer.get("ipBlock")
        inside = block is not None and where in ipaddress.ip_network(block["cidr"])
        if inside and not any(where in ipaddress.ip_network(inner) for inner in block.get("except", [])):
            return True
    return False


@pytest.mark.parametrize("part", PARTS)
def test_no_pod_reaches_cloud_metadata_or_private_addresses(part: str) -> None:
    for address in (*METADATA, "10.0.0.1", "172.16.3.4", "192.168.1.1", "127.0.0.1", "::1"):
        assert not [rule for rule in egress_of(part) if admits(rule, address)], address


@pytest.mark.parametrize("part", PARTS)
def test_every_way_out_names_its_end_and_its_port(part: str) -> None:
    rules = list(egress_of(part))
    assert all(rule.get("to") and rule.get("ports") for rule in rules)
    out = {port["port"] for rule in rules if admits(rule, "93.184.215.14") for port in rule["ports"]}
    assert out == ({443} if part in {"synthesis", "pairing", "evaluation", "training", "engine"} else set())


def test_only_callers_reach_the_services_that_take_no_keys() -> None:
    callers = {"engine": {"gateway", "serving-http", "synthesis", "pairing", "evaluation", "engine"}}
    callers |= {"sandbox-http": {"gateway", "serving-http", "training"}, "serving-http": {"gateway"}}
    for part, expected in callers.items():
        rules = [
            rule
            for one in ALL.values()
            if one["kind"] == "NetworkPolicy" and selects(one["spec"]["podSelector"], {"app": "sense", "part": part})
            for rule in one["spec"].get("ingress", [])
        ]
        found = {
            name
            for name in PARTS
            for rule in rules
            for peer in rule["from"]
            if selects(peer["podSelector"], {"app": "sense", "part": name})
        }
        assert found == expected and all(rule["ports"] for rule in rules), part


def test_each_pod_has_the_store_user_of_its_kind() -> None:
    found: dict[str, set[str]] = {}
    for one in ALL.values():
        for pod in one.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            names = {source["secretRef"]["name"] for source in pod.get("envFrom", []) if "secretRef" in source}
            found[pod["name"]] = names & {"sense-gateway", "sense-store", "sense-sandbox"}
    assert found.pop("gateway") == {"sense-gateway"}
    assert found.pop("sandbox") == found.pop("sandbox-http") == {"sense-sandbox"}
    assert found.pop("engine") == found.pop("redis") == set()
    assert set(map(frozenset, found.values())) == {frozenset({"sense-store"})} and "serving-http" in found
    generated = yaml.safe_load((BASE / "kustomization.yaml").read_text())["secretGenerator"]
    for secret in generated:
        example = (BASE / f"{secret['envs'][0]}.example").read_text()
        assert ("SENSE_STORE_SECRET_KEY" in example) == (secret["name"] != "sense")
