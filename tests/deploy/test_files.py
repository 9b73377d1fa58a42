"""The files of `deploy/` fit the schemas of the tools that read them, and each other."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.service import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = "1.34"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    one for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())
]


def compose_schema() -> Any:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return json.loads(vendored.read_text(encoding="utf-8"))


def manifest(kind: str, name: str) -> dict[str, Any]:
    return next(one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


def test_the_compose_file_fits_the_schema_of_compose() -> None:
    jsonschema.validate(COMPOSE, compose_schema())
    services = {"postgres", "prefect", "flows", "service", "prometheus", "grafana"}
    assert set(COMPOSE["services"]) == services


def test_the_schema_of_compose_refuses_what_is_none() -> None:
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.validate({"services": {"one": {"image": "a", "helthcheck": {}}}}, compose_schema())


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_ports_are_open_on_loopback_and_waited_for_services_have_a_check(name: str) -> None:
    service = COMPOSE["services"][name]
    assert all(port.startswith("${RECLOOP_BIND:-127.0.0.1}:") for port in service.get("ports", []))
    for needed, condition in service.get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert "healthcheck" in COMPOSE["services"][needed]
    for volume in service.get("volumes", []):
        source = re.sub(r"\$\{[^}]*\}", "", volume).split(":")[0]
        assert not source or source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume


def test_no_password_stands_in_a_file() -> None:
    secret = re.compile(r"password", re.IGNORECASE)
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable) or "://recloop:" in str(value):
                assert re.search(r"\$\{[A-Z_]+:\?[^}]+\}", value), f"{name}: {variable}"
    for one in MANIFESTS:
        assert one["kind"] != "Secret"
        assert "://recloop:" not in json.dumps(one)


@pytest.mark.parametrize("one", MANIFESTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_every_manifest_fits_the_schema_of_kubernetes(one: dict[str, Any]) -> None:
    assert kubernetes_validate.validate(one, KUBERNETES, strict=True).startswith(KUBERNETES)


def test_the_schemas_of_kubernetes_refuse_what_is_none() -> None:
    wrong = json.loads(json.dumps(manifest("Deployment", "recloop")))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_service_is_rolled_out_without_a_gap() -> None:
    spec = manifest("Deployment", "recloop")["spec"]
    container = spec["template"]["spec"]["containers"][0]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert manifest("PodDisruptionBudget", "recloop")["spec"]["minAvailable"] >= 1
    scaled = manifest("HorizontalPodAutoscaler", "recloop")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "recloop"
    assert scaled["minReplicas"] > manifest("PodDisruptionBudget", "recloop")["spec"]["minAvailable"]


def test_manifests_that_name_each_other_agree() -> None:
    claims = {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "PersistentVolumeClaim"}
    for one in MANIFESTS:
        if one["kind"] != "Deployment":
            continue
        template = one["spec"]["template"]
        assert one["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        volumes = template["spec"].get("volumes", [])
        assert {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v} <= claims
        for container in template["spec"]["containers"]:
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted <= {volume["name"] for volume in volumes}
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in MANIFESTS if one["kind"] == "Deployment"]
    for one in MANIFESTS:
        if one["kind"] == "Service":
            assert one["spec"]["selector"] in labels


def test_the_images_are_those_that_the_dockerfile_makes_as_nobody_special() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    made = set(stages) - {"base"}
    built = {one["build"]["target"] for one in COMPOSE["services"].values() if "build" in one}
    assert built == made == {"serve", "flows"}
    for target in made:
        stage = (DEPLOY / "Dockerfile").read_text().split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert re.search(r"^USER 10001$", stage, flags=re.MULTILINE)
        for source in re.findall(r"^COPY (.+) \S+$", stage, flags=re.MULTILINE):
            assert all((ROOT / name).exists() for name in source.split())
            ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
            assert all(f"!{name}" in ignored for name in source.split())


def test_prometheus_and_grafana_ask_the_services_of_the_compose_file() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    host, port = scraped["static_configs"][0]["targets"][0].split(":")
    assert COMPOSE["services"][host]["ports"][0].endswith(f":{port}")
    key = Path(scraped["authorization"]["credentials_file"])
    assert key.parent == Path("/run/secrets")
    assert key.name in COMPOSE["services"]["prometheus"]["secrets"]
    assert key.name in COMPOSE["secrets"]
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    dashboard = json.loads((DEPLOY / "grafana/dashboards/recloop.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/recloop.yml").read_text())["providers"][0]
    mounts = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
    assert Path(scraped["metrics_path"]).name == "metrics"
