"""The manifests fit together, and they fit the hub: its settings, ports, routes, services and drain."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from server import lifecycle
from server.grpc.services import SERVICES
from server.http.routes import ROUTES
from server.settings.settings import Settings
from tests.contract.deploy.manifests import DEPLOY, KUBERNETES, built, one
from tools.composition import load

BUILDS = {
    folder: built(KUBERNETES / folder) for folder in ("base", "overlays/production", "overlays/staging")
}
SETTINGS = {str(field.alias): field for field in Settings.model_fields.values()}
#: What handing runs over may take, beyond what has a time of its own.
MARGIN_S = 5


@pytest.fixture(params=sorted(BUILDS))
def documents(request: pytest.FixtureRequest) -> list[Any]:
    return BUILDS[request.param]


def hub(documents: list[Any]) -> Any:
    [container] = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def values(container: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_everything_selects_the_hubs_pods(documents: list[Any]) -> None:
    deployment = one(documents, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    services = [document for document in documents if document["kind"] == "Service"]
    assert len(services) == 2
    assert all(service["spec"]["selector"] == labels for service in services)
    assert one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    [rule] = one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchExpressions"]
    [job] = built(KUBERNETES / "migration")
    assert set(rule["values"]) == {labels["app"], job["spec"]["template"]["metadata"]["labels"]["app"]}
    assert rule["key"] == "app"


def test_services_do_not_select_migrations(documents: list[Any]) -> None:
    [job] = built(KUBERNETES / "migration")
    labels = job["spec"]["template"]["metadata"]["labels"]
    for service in (document for document in documents if document["kind"] == "Service"):
        assert any(labels.get(name) != value for name, value in service["spec"]["selector"].items())


def test_the_ports_are_those_of_the_settings(documents: list[Any]) -> None:
    container = hub(documents)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": SETTINGS["IDEO_HTTP_PORT"].default, "grpc": SETTINGS["IDEO_GRPC_PORT"].default}
    said = values(container)
    assert (int(said["IDEO_HTTP_PORT"]), int(said["IDEO_GRPC_PORT"])) == (ports["http"], ports["grpc"])
    for service in (document for document in documents if document["kind"] == "Service"):
        for port in service["spec"]["ports"]:
            assert port["targetPort"] == port["name"]
            assert port["port"] == ports[port["name"]]
    [rule] = one(documents, "HTTPRoute")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "ide-orchestrator-service", "port": ports["http"]}]


def test_the_probes_ask_for_routes_that_there_are(documents: list[Any]) -> None:
    paths = {path for route in ROUTES for path in route.paths}
    container = hub(documents)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
        assert container[probe]["httpGet"]["port"] == "http"
    # A database that is away makes a replica unready, and must never make it restart.
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["timeoutSeconds"] > 2, "the check waits 2 s for the database"


def test_the_route_serves_what_the_hub_serves(documents: list[Any]) -> None:
    [rule] = one(documents, "HTTPRoute")["spec"]["rules"]
    prefixes = tuple(match["path"]["value"] for match in rule["matches"])
    api = {path for route in ROUTES for path in route.paths} - {"/healthz", "/readyz", "/metrics"}
    outside = {path for path in api if not path.startswith(prefixes)}
    # At the root a site may have its own page.
    assert outside <= {"/", "/openapi.json", "/asyncapi.json"}
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_only_settings_that_there_are_are_set(documents: list[Any]) -> None:
    assert set(values(hub(documents))) <= set(SETTINGS)
    for secret in load(KUBERNETES / "examples" / "secrets.yaml"):
        assert set(secret["stringData"]) <= set(SETTINGS)


def test_the_settings_start_a_hub(documents: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for secret in load(KUBERNETES / "examples" / "secrets.yaml"):
        for name, value in secret["stringData"].items():
            monkeypatch.setenv(name, value)
    for name, value in values(hub(documents)).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert not settings.dev
    assert settings.host == "0.0.0.0"
    assert settings.runtime_url == "http://deepagents-runtime-service:8000"
    assert settings.database_url is not None


def test_a_pod_has_time_to_drain(documents: list[Any]) -> None:
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    container = hub(documents)
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(values(container)["IDEO_DRAIN_S"])
    assert drain == SETTINGS["IDEO_DRAIN_S"].default
    assert pod["terminationGracePeriodSeconds"] >= before + drain + lifecycle.DRAIN_S + MARGIN_S


def test_a_rollout_never_takes_a_replica_away_first(documents: list[Any]) -> None:
    spec = one(documents, "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert one(documents, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_replicas_are_two_or_the_autoscalers() -> None:
    assert one(BUILDS["base"], "Deployment")["spec"]["replicas"] == 2
    production = BUILDS["overlays/production"]
    assert "replicas" not in one(production, "Deployment")["spec"]
    scaler = one(production, "HorizontalPodAutoscaler")["spec"]
    assert scaler["minReplicas"] == 2
    target = one(production, "Deployment")
    assert scaler["scaleTargetRef"] == {
        "apiVersion": target["apiVersion"],
        "kind": target["kind"],
        "name": target["metadata"]["name"],
    }


def test_the_grpc_route_names_the_contracts_services() -> None:
    route = one(BUILDS["overlays/production"], "GRPCRoute")["spec"]
    [rule] = route["rules"]
    assert {match["method"]["service"] for match in rule["matches"]} == {*SERVICES, "grpc.health.v1.Health"}
    assert rule["backendRefs"] == [{"name": "ide-orchestrator-service", "port": 50051}]
    assert not set(route["hostnames"]) & set(
        one(BUILDS["overlays/production"], "HTTPRoute")["spec"]["hostnames"]
    )


def test_the_routes_fit_the_example_gateway() -> None:
    documents = load(KUBERNETES / "examples" / "gateway.yaml")
    listeners = {one["name"]: one for one in one(documents, "Gateway")["spec"]["listeners"]}
    for kind in ("HTTPRoute", "GRPCRoute"):
        route = one(BUILDS["overlays/production"], kind)["spec"]
        [parent] = route["parentRefs"]
        listener = listeners[parent["sectionName"]]
        assert parent["name"] == one(documents, "Gateway")["metadata"]["name"]
        assert route["hostnames"] == [listener["hostname"]]
        assert listener["tls"]["mode"] == "Terminate"
        assert {entry["kind"] for entry in listener["allowedRoutes"]["kinds"]} == {kind}


def test_pods_are_locked_down(documents: list[Any]) -> None:
    for document in [one(documents, "Deployment"), *built(KUBERNETES / "migration")]:
        pod = document["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
            assert not container["image"].endswith(":latest")
            assert ":" in container["image"]


def test_what_the_hub_calls_is_open_and_nothing_else_is() -> None:
    policy = one(BUILDS["base"], "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    out = {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])}
    assert out == {53, 5432, 6379, 4317, 4318, 443}
    # Every rule says to whom; pods anywhere only by a label of ours, and 443 to addresses only public ones.
    for rule in policy["egress"]:
        assert rule["to"]
        assert "ports" in rule or all("podSelector" in peer for peer in rule["to"])
        assert {} not in [peer.get("namespaceSelector") for peer in rule["to"]]
        networks = [ip_network(peer["ipBlock"]["cidr"]) for peer in rule["to"] if "ipBlock" in peer]
        if {"protocol": "TCP", "port": 443} in rule.get("ports", []) and networks:
            [block] = [peer["ipBlock"] for peer in rule["to"]]
            for refused in ("10.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "127.0.0.1"):
                assert any(ip_address(refused) in ip_network(cidr) for cidr in block["except"])
        else:
            assert all(network.is_private for network in networks)


def test_no_secret_is_in_the_manifests() -> None:
    for folder in (KUBERNETES, DEPLOY / "crossplane"):
        for file in folder.rglob("*.yaml"):
            if file.parent.name == "examples":
                continue
            assert "stringData" not in file.read_text(), file
