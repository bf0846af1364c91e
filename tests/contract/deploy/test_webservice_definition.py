"""The WebService: its definition is the platform's, its schema takes good claims and refuses bad ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.contract.deploy.manifests import CROSSPLANE, problems
from tools.composition import defaulted, load, schema_of

HERE = Path(__file__).parent
#: What Crossplane adds to the spec of a claim or a composite resource.
MACHINERY = {"compositionRef", "compositionSelector", "compositionUpdatePolicy", "crossplane"}
#: The fields that are not the platform's but ours.
ADDED = {"grpcPort"}


def definition(version: str) -> Any:
    [found] = load(CROSSPLANE / version / "xrd.yaml")
    return found


def fields(xrd: Any) -> dict[str, Any]:
    found: dict[str, Any] = schema_of(xrd)["properties"]["spec"]["properties"]
    return found


def as_crd(xrd: Any, names: dict[str, str], scope: str) -> dict[str, Any]:
    """The CustomResourceDefinition that Crossplane makes of it."""
    group = xrd["spec"]["group"]
    versions = [
        {
            "name": one["name"],
            "served": one["served"],
            "storage": one["referenceable"],
            "schema": one["schema"],
        }
        for one in xrd["spec"]["versions"]
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}"},
        "spec": {"group": group, "names": names, "scope": scope, "versions": versions},
    }


def refusals(version: str, claim: Any) -> list[str]:
    """What the API server says against a claim; it drops unknown fields, `kubectl` warns or refuses."""
    schema = copy.deepcopy(schema_of(definition(version)))
    spec = schema["properties"]["spec"]
    spec["properties"] |= {name: {} for name in MACHINERY}
    spec["additionalProperties"] = False
    schema["required"] = ["spec"]
    return [error.message for error in Draft202012Validator(schema).iter_errors(claim)]


def example(**changes: Any) -> Any:
    [claim] = load(CROSSPLANE / "examples" / "claim.yaml")
    for name, value in changes.items():
        claim["spec"][name] = value
    return claim


def test_the_definition_is_the_platforms_and_adds_only_what_is_optional() -> None:
    [agreed] = load(HERE / "platform_xrd.yaml")
    ours = definition("v1")
    for name in ADDED:
        added = fields(ours).pop(name)
        assert "default" in added
    assert ours == agreed


def test_the_namespaced_definition_has_the_same_schema_without_a_claim() -> None:
    first, second = definition("v1"), definition("v2")
    assert second["apiVersion"] == "apiextensions.crossplane.io/v2"
    assert second["spec"]["scope"] == "Namespaced"
    assert "claimNames" not in second["spec"]
    assert second["spec"]["names"] == first["spec"]["claimNames"]
    assert second["spec"]["versions"] == first["spec"]["versions"]


@pytest.mark.parametrize(
    ("version", "names", "scope"),
    [("v1", "names", "Cluster"), ("v1", "claimNames", "Namespaced"), ("v2", "names", "Namespaced")],
)
def test_kubernetes_takes_the_resource_definitions_that_come_of_it(
    version: str, names: str, scope: str
) -> None:
    """`example` too: JSONSchemaProps has it."""
    xrd = definition(version)
    assert problems(as_crd(xrd, xrd["spec"][names], scope)) == []
    if names == "names":
        assert xrd["metadata"]["name"] == f"{xrd['spec']['names']['plural']}.{xrd['spec']['group']}"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_schema_is_structural(version: str) -> None:
    """Each field has one type; enums, defaults and examples are of it; what is required exists."""
    spec = schema_of(definition(version))["properties"]["spec"]
    assert set(spec["required"]) <= set(spec["properties"])
    for name, field in spec["properties"].items():
        assert field["type"] in ("string", "integer"), name
        for value in [
            *field.get("enum", []),
            *(field[key] for key in ("default", "example") if key in field),
        ]:
            assert list(Draft202012Validator(field).iter_errors(value)) == [], name


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    "file", sorted((CROSSPLANE / "examples").glob("claim*.yaml")), ids=lambda path: path.stem
)
def test_the_example_claims_are_taken(version: str, file: Path) -> None:
    [claim] = load(file)
    assert refusals(version, claim) == []
    xrd = definition(version)
    names = xrd["spec"].get("claimNames", xrd["spec"]["names"])
    assert claim["kind"] == names["kind"]
    assert claim["apiVersion"] == f"{xrd['spec']['group']}/{xrd['spec']['versions'][0]['name']}"


def test_the_example_claim_sets_every_field_of_the_platform() -> None:
    [agreed] = load(HERE / "platform_xrd.yaml")
    assert set(example()["spec"]) == set(fields(agreed))


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    "changes",
    [
        {"size": "huge"},
        {"size": "Medium"},
        {"size": None},
        {"port": "8080"},
        {"port": 80.5},
        {"grpcPort": "50051"},
        {"image": 1},
        {"databaseName": ["a"]},
        {"secret1Name": {"name": "a"}},
        {"secret4Name": "a"},
        {"hostnames": ["a.example"]},
        {"pathPrefix": 1},
        {"replicas": 3},
    ],
    ids=str,
)
def test_a_bad_claim_is_refused(version: str, changes: dict[str, Any]) -> None:
    assert refusals(version, example(**changes)) != []


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("missing", ["image", "port"])
def test_a_claim_that_lacks_what_is_required_is_refused(version: str, missing: str) -> None:
    claim = example()
    del claim["spec"][missing]
    if missing == "port":
        # Its default is filled in first, as by the API server: only an explicit null gets here.
        assert refusals(version, defaulted(schema_of(definition(version)), claim)) == []
    assert any(missing in text for text in refusals(version, claim))
