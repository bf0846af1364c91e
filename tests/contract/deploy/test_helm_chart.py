"""The Helm chart makes what the manifests have, from values that its schema explains and checks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from server.settings.settings import Settings
from tests.contract.deploy.manifests import DEPLOY, KUBERNETES, built, one, problems
from tests.support.tools import need
from tools.composition import load
from tools.go_tools import GoToolMissing, go_tool

CHART = DEPLOY / "helm" / "ide-orchestrator"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
[VALUES] = load(CHART / "values.yaml")
#: What the overlays add to the base, as values.
PRODUCTION = {name: {"enabled": True} for name in ("autoscaling", "grpcRoute", "cilium")}
STAGING = {
    "cilium": {"enabled": True},
    "httpRoute": {"hostnames": ["api.staging.bizmatters.com"]},
    "env": {"IDEO_ALLOWED_ORIGINS": "https://ide.staging.bizmatters.com"},
    "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
}
#: Every value another one than by default.
OTHERS: dict[str, Any] = {
    "name": "second",
    "image": {"tag": "v2", "digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    "replicas": 5,
    "ports": {"http": 9000, "grpc": 9001},
    "secrets": {"database": "db", "tokens": "keys", "settings": "more"},
    "drainSeconds": 60,
    "preStopSeconds": 9,
    "gateway": "edge",
    "httpRoute": {"listener": "tls", "hostnames": [], "paths": ["/"]},
    "grpcRoute": {"enabled": True, "listener": "h2", "hostnames": ["grpc.example.com"]},
    "cilium": {"enabled": True},
    "env": {"IDEO_RUN_SILENT_S": "60"},
}


@cache
def helm() -> Path:
    """The program. Skips the test without it; in CI, fails it."""
    try:
        return go_tool("helm")
    except GoToolMissing as missing:
        need(False, f"{missing}: run `poe go-tools`")
        raise


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of helm, which reads nothing of this machine's configuration."""
    environment = {f"HELM_{name}_HOME": str(folder) for name in ("CACHE", "CONFIG", "DATA")}
    command = [str(helm()), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def template(folder: Path, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return run("template", "hub", str(CHART), "--values", str(file), folder=folder)


def rendered(folder: Path, values: dict[str, Any]) -> list[Any]:
    """The objects of the chart."""
    done = template(folder, values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def sorted_texts(documents: list[Any]) -> list[str]:
    return sorted(json.dumps(document, sort_keys=True) for document in documents)


@pytest.mark.parametrize(
    ("values", "folder"),
    [({}, "base"), (PRODUCTION, "overlays/production"), (STAGING, "overlays/staging")],
    ids=["base", "production", "staging"],
)
def test_the_chart_makes_the_objects_of_the_manifests(
    tmp_path: Path, values: dict[str, Any], folder: str
) -> None:
    expected = [*built(KUBERNETES / folder), *built(KUBERNETES / "migration")]
    for document in expected:
        # Helm puts the objects of a release into its namespace.
        document["metadata"].pop("namespace", None)
    found = rendered(tmp_path, values)
    hook = one(found, "Job")["metadata"].pop("annotations")
    assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert sorted_texts(found) == sorted_texts(expected)


def test_what_the_chart_makes_is_valid_and_fits_together_with_any_values(tmp_path: Path) -> None:
    found = rendered(tmp_path, OTHERS)
    for document in found:
        assert problems(document) == [], document["kind"]
        assert "ide-orchestrator" not in document["metadata"]["name"]
    pod = one(found, "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    assert values.keys() <= {field.alias for field in Settings.model_fields.values()}
    assert [port["containerPort"] for port in container["ports"]] == [9000, 9001]
    assert (values["IDEO_HTTP_PORT"], values["IDEO_GRPC_PORT"], values["IDEO_DRAIN_S"]) == (
        "9000",
        "9001",
        "60",
    )
    # A pod has time to drain, whatever the times are.
    assert pod["terminationGracePeriodSeconds"] == 9 + 60 + 15
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    images = {container["image"], one(found, "Job")["spec"]["template"]["spec"]["containers"][0]["image"]}
    assert images == {f"ghcr.io/org/ide-orchestrator:v2@sha256:{'0' * 64}"}
    secrets = [entry["secretRef"]["name"] for entry in container["envFrom"]]
    assert secrets == ["db", "keys", "more"]
    services = {document["metadata"]["name"]: document for document in found if document["kind"] == "Service"}
    for kind, port in (("HTTPRoute", 9000), ("GRPCRoute", 9001)):
        route = one(found, kind)["spec"]
        [rule] = route["rules"]
        assert rule["backendRefs"] == [{"name": "second-service", "port": port}]
        assert port in [each["port"] for each in services["second-service"]["spec"]["ports"]]
        assert route["parentRefs"][0]["name"] == "edge"
    assert "hostnames" not in one(found, "HTTPRoute")["spec"]
    labels = one(found, "Deployment")["spec"]["selector"]["matchLabels"]
    assert labels == {"app": "second"}
    assert all(service["spec"]["selector"] == labels for service in services.values())


def test_parts_that_are_off_are_left_out(tmp_path: Path) -> None:
    names = ("migration", "httpRoute", "podDisruptionBudget", "networkPolicy")
    found = rendered(tmp_path, {name: {"enabled": False} for name in names})
    assert {document["kind"] for document in found} == {"ServiceAccount", "Deployment", "Service"}


@pytest.mark.parametrize(
    "values",
    [
        {"replcas": 3},
        {"replicas": 0},
        {"image": {"tag": "latest"}},
        {"image": {"digest": "sha256:x"}},
        {"env": {"IDEO_DRAIN_S": 10}},
        {"ports": {"http": 80}},
        {"runtimeUrl": "deepagents-runtime-service:8000"},
        {"httpRoute": {"paths": []}},
        {"name": "Has Spaces"},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    done = template(tmp_path, values)
    assert done.returncode != 0
    [name] = values
    assert name in done.stderr


def test_helm_finds_nothing_wrong_with_the_chart(tmp_path: Path) -> None:
    done = run("lint", "--strict", str(CHART), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def _described(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    """What the schema does not explain, or the values do not have."""
    for name, part in schema["properties"].items():
        where = f"{path}{name}"
        if not part.get("description", "").endswith("."):
            yield f"{where} has no description"
        if name not in values and name != "global":
            yield f"{where} has no default"
        elif "properties" in part:
            yield from _described(part, values[name], f"{where}.")


def test_each_value_has_a_description_and_a_default_that_is_valid() -> None:
    assert list(_described(SCHEMA, VALUES)) == []
    assert not list(Draft202012Validator(SCHEMA).iter_errors(VALUES))
    page = (DEPLOY.parent / "docs" / "howto" / "deploy.md").read_text()
    assert [name for name in VALUES if f"`{name}" not in page] == []
