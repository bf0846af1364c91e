"""The example claim, through our Compositions, is the plain manifests; and both are the platform's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.deploy.manifests import CROSSPLANE, KUBERNETES, built, one
from tools.composition import (
    CompositionError,
    as_yaml,
    composite_of,
    get,
    load,
    put,
    render,
    rendered_example,
    transformed,
)

HERE = Path(__file__).parent
EXAMPLES = CROSSPLANE / "examples"
#: What the Deployment of a claim has beside the plain one's: the address made of the role's secret.
PARTS = {"DATABASE_USERNAME", "DATABASE_PASSWORD", "DATABASE_ENDPOINT", "DATABASE_PORT", "DATABASE_URL"}

#: Kinds that only a claim makes or looks for, and the object that only the plain manifests have.
OF_A_CLAIM = ("Role", "Database", "Secret")
LACKING = {("Service", "ide-orchestrator-grpc")}


def objects(version: str, claim: Path | None = None) -> dict[str, Any]:
    """The Kubernetes objects of a claim, out of what carries them."""
    rendered = rendered_example(version, claim)
    return {
        name: resource["spec"]["forProvider"]["manifest"] if resource["kind"] == "Object" else resource
        for name, resource in rendered.items()
    }


def contains(whole: Any, part: Any, path: str = "") -> list[str]:
    """Where `part` is not in `whole`: objects may have more, lists are entry by entry and may go on."""
    if isinstance(part, dict) and isinstance(whole, dict):
        missing = [f"{path}.{name}" for name in part if name not in whole]
        return missing + [
            text
            for name in part
            if name in whole
            for text in contains(whole[name], part[name], f"{path}.{name}")
        ]
    if isinstance(part, list) and isinstance(whole, list):
        if len(whole) < len(part):
            return [path]
        return [
            text
            for index, entry in enumerate(part)
            for text in contains(whole[index], entry, f"{path}[{index}]")
        ]
    return [] if whole == part else [path]


def plain() -> list[Any]:
    documents = built(KUBERNETES / "base")
    for document in documents:
        document["metadata"].pop("namespace", None)
    return documents


@pytest.mark.parametrize("source", ["plain", "v1", "v2"])
def test_every_field_of_the_platforms_manifests_is_there(source: str) -> None:
    documents = plain() if source == "plain" else list(objects(source).values())
    for agreed in load(HERE / "platform_manifests.yaml"):
        ours = one(documents, agreed["kind"], agreed["metadata"]["name"])
        if agreed["kind"] == "Deployment":
            # The order of variables says nothing here: they are found by name.
            wanted = {entry["name"]: entry for entry in _hub(agreed).pop("env")}
            found = {entry["name"]: entry for entry in _hub(ours)["env"]}
            assert contains(found, wanted) == []
        assert contains(ours, agreed) == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_example_claim_is_the_plain_manifests(version: str) -> None:
    documents = plain()
    made = {name: each for name, each in objects(version).items() if each["kind"] not in OF_A_CLAIM}
    # The other way too: what a claim lacks is named.
    lacking = {(each["kind"], each["metadata"]["name"]) for each in documents}
    lacking -= {(each["kind"], each["metadata"]["name"]) for each in made.values()}
    assert lacking == LACKING
    for name, ours in made.items():
        ours["metadata"].pop("namespace", None)
        theirs = one(documents, ours["kind"], ours["metadata"]["name"])
        if ours["kind"] == "Deployment":
            pod = ours["spec"]["template"]["spec"]
            [migrate] = pod.pop("initContainers")
            assert migrate["args"] == ["migrate", "up"]
            container = _hub(ours)
            made = [entry["name"] for entry in container["env"] if entry["name"] in PARTS]
            assert set(made) == PARTS
            # A variable is only expanded from those before it.
            assert made[-1] == "DATABASE_URL"
            container["env"] = [entry for entry in container["env"] if entry["name"] not in PARTS]
        assert ours == theirs, name


def test_both_versions_make_the_same_objects_in_the_claims_namespace() -> None:
    for claim in sorted(EXAMPLES.glob("claim*.yaml")):
        [document] = load(claim)
        first, second = objects("v1", claim), objects("v2", claim)
        assert set(first) == set(second)
        for name, ours in first.items():
            if ours["kind"] in ("Role", "Database"):
                same = ("forProvider",)
                assert {key: ours["spec"][key] for key in same} == {
                    key: second[name]["spec"][key] for key in same
                }
                continue
            assert ours["metadata"]["namespace"] == document["metadata"]["namespace"]
            # With Crossplane 2 the composed resource lands in the namespace of the composite one.
            second[name]["metadata"].setdefault("namespace", document["metadata"]["namespace"])
            assert ours == second[name], name


def test_the_database_and_its_secret_are_the_claims() -> None:
    for version in ("v1", "v2"):
        made = rendered_example(version, EXAMPLES / "claim-other-ports.yaml")
        external = "crossplane.io/external-name"
        assert made["database"]["metadata"]["annotations"][external] == "hub"
        assert made["database"]["spec"]["forProvider"]["owner"] == "hub"
        assert made["role"]["metadata"]["annotations"][external] == "hub"
        secret = made["role"]["spec"]["writeConnectionSecretToRef"]
        assert secret["name"] == "hub-database"
        assert secret.get("namespace", "team-a") == "team-a"
        deployment = objects(version, EXAMPLES / "claim-other-ports.yaml")["deployment"]
        for container in (_hub(deployment), deployment["spec"]["template"]["spec"]["initContainers"][0]):
            values = {entry["name"]: entry for entry in container["env"]}
            assert values["DATABASE_URL"]["value"].endswith("@$(DATABASE_ENDPOINT):$(DATABASE_PORT)/hub")
            for name in PARTS - {"DATABASE_URL"}:
                assert values[name]["valueFrom"]["secretKeyRef"]["name"] == "hub-database"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_provider_has_rights_in_one_namespace_and_sees_one_secret(version: str) -> None:
    documents = load(CROSSPLANE / version / "prerequisites.yaml")
    assert not [each for each in documents if each["kind"] == "ClusterRoleBinding"]
    role, binding = one(documents, "Role"), one(documents, "RoleBinding")
    [claim] = load(EXAMPLES / "claim.yaml")
    for each in (role, binding):
        assert each["metadata"]["namespace"] == claim["metadata"]["namespace"]
    [secrets] = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert secrets["resourceNames"] == [claim["spec"]["secret2Name"]]
    assert secrets["verbs"] == ["get"]
    # What composes can compose every kind: none is missing, and none is beyond them.
    composer = role if version == "v1" else one(documents, "ClusterRole")
    resources = {name for rule in composer["rules"] for name in rule["resources"]} - {"secrets"}
    kinds = {each["kind"].lower() + "s" for each in objects(version).values()} - {
        "roles",
        "databases",
        "secrets",
    }
    assert resources == {name.replace("policys", "policies") for name in kinds}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_deleting_a_claim_keeps_the_data(version: str) -> None:
    made = rendered_example(version)
    for name in ("role", "database"):
        spec = made[name]["spec"]
        kept = spec.get("deletionPolicy") == "Orphan" or "Delete" not in spec.get(
            "managementPolicies", ["Delete"]
        )
        assert kept, name


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_field_of_a_claim_reaches_its_resource(version: str) -> None:
    made = objects(version, EXAMPLES / "claim-other-ports.yaml")
    hub = _hub(made["deployment"])
    values = {entry["name"]: entry.get("value") for entry in hub["env"]}
    assert hub["image"] == "ghcr.io/org/ide-orchestrator:v1.0.1"
    assert made["deployment"]["spec"]["template"]["spec"]["initContainers"][0]["image"] == hub["image"]
    assert [port["containerPort"] for port in hub["ports"]] == [9090, 9091]
    assert (values["IDEO_HTTP_PORT"], values["IDEO_GRPC_PORT"]) == ("9090", "9091")
    assert [entry["secretRef"]["name"] for entry in hub["envFrom"]] == [
        "hub-database",
        "hub-keys",
        "hub-settings",
    ]
    assert hub["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    assert [port["port"] for port in made["service"]["spec"]["ports"]] == [9090, 9091]
    assert made["jwt-keys"]["metadata"]["name"] == "hub-keys"
    policy = made["network-policy"]["spec"]
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["hub", "hub-migrate"]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["ingress"]] == [[9090, 9091], [9090]]
    route = made["http-route"]["spec"]
    assert route["hostnames"] == ["hub.example.com"]
    assert route["rules"][0]["matches"][0]["path"]["value"] == "/api/refinements"
    assert route["rules"][0]["backendRefs"] == [{"name": "hub-service", "port": 9090}]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_a_claim_leaves_out_has_a_name_of_its_own(version: str) -> None:
    made = objects(version, EXAMPLES / "claim-minimal.yaml")
    hub = _hub(made["deployment"])
    assert [entry["secretRef"]["name"] for entry in hub["envFrom"]] == [
        "ide-orchestrator-db-conn",
        "ide-orchestrator-jwt-keys",
        "ide-orchestrator-app-secrets",
    ]
    assert "hostnames" not in made["http-route"]["spec"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_each_size_has_more_memory_than_the_one_before(version: str) -> None:
    [definition], [composition], [claim] = (
        load(CROSSPLANE / version / "xrd.yaml"),
        load(CROSSPLANE / version / "composition.yaml"),
        load(EXAMPLES / "claim.yaml"),
    )
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    sizes = schema["properties"]["spec"]["properties"]["size"]["enum"]
    memory = []
    for size in sizes:
        claim["spec"]["size"] = size
        made = render(composition, composite_of(definition, claim))["deployment"]
        deployment = made["spec"]["forProvider"]["manifest"] if made["kind"] == "Object" else made
        amount = _hub(deployment)["resources"]["limits"]["memory"]
        memory.append(int(amount[:-2]) * {"Mi": 1, "Gi": 1024}[amount[-2:]])
    assert memory == sorted(set(memory))
    claim["spec"]["size"] = "huge"
    with pytest.raises(CompositionError):
        render(composition, composite_of(definition, claim))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_rendered_example_is_up_to_date(version: str) -> None:
    """If not: python tools/composition.py."""
    assert (EXAMPLES / f"rendered-{version}.yaml").read_text() == as_yaml(version)


def test_field_paths_are_read_and_written_as_crossplane_does() -> None:
    target: dict[str, Any] = {"spec": {"list": [{"a": 1}]}}
    put(target, "metadata.annotations[crossplane.io/external-name]", "x")
    put(target, "spec.list[2].b", 2)
    assert target == {
        "metadata": {"annotations": {"crossplane.io/external-name": "x"}},
        "spec": {"list": [{"a": 1}, None, {"b": 2}]},
    }
    assert get(target, "spec.list[0].a") == 1
    with pytest.raises(KeyError):
        get(target, "spec.list[3]")
    with pytest.raises(CompositionError):
        transformed("a", [{"type": "math", "math": {"multiply": 2}}])


def _hub(deployment: Any) -> Any:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container
