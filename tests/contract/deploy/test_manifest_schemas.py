"""Everything that a cluster is given is what the cluster's schemas take (tests/contract/deploy/schemas)."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.deploy.manifests import CROSSPLANE, KUBERNETES, built, manifests, one, problems
from tools.composition import load, rendered_example

FOLDERS = ["base", "migration", "overlays/production", "overlays/staging"]
CLAIMS = sorted((CROSSPLANE / "examples").glob("claim*.yaml"))


def test_every_manifest_is_valid() -> None:
    found = list(manifests(KUBERNETES, CROSSPLANE))
    assert len(found) > 40
    for file, document in found:
        assert problems(document) == [], file


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_kustomize_builds_is_valid(folder: str) -> None:
    for document in built(KUBERNETES / folder):
        assert problems(document) == [], document["kind"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_a_claim_becomes_is_valid(version: str, claim: Path) -> None:
    for name, resource in rendered_example(version, claim).items():
        assert problems({"metadata": {}} | resource) == [], name


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replicas"), "two"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readyProbe"), {}),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "name"), None),
        ("Service", ("spec", "ports", 0, "port"), "http"),
        ("HTTPRoute", ("spec", "rules", 0, "timeouts", "request"), "forever"),
        ("HTTPRoute", ("spec", "rules", 0, "matches", 0, "path", "type"), "Glob"),
        ("PodDisruptionBudget", ("spec", "maxUnavailabel"), 1),
        ("NetworkPolicy", ("spec", "egress", 0, "ports", 0, "protocol"), 17),
    ],
)
def test_a_wrong_field_is_found(kind: str, path: tuple[str | int, ...], value: Any) -> None:
    document = copy.deepcopy(one(built(KUBERNETES / "base"), kind, _name(kind)))
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    assert problems(document) != []


def test_a_composition_with_a_wrong_patch_is_found() -> None:
    [composition] = load(CROSSPLANE / "v1" / "composition.yaml")
    first = composition["spec"]["pipeline"][0]["input"]["resources"][0]["patches"][0]
    first["toFieldpath"] = first.pop("toFieldPath")
    assert problems(composition) != []


def _name(kind: str) -> str | None:
    return "ide-orchestrator-service" if kind == "Service" else None


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", FOLDERS)
def test_kustomize_builds_what_we_think_it_does(folder: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / folder)], capture_output=True, check=True, text=True
    )
    theirs = list(yaml.safe_load_all(done.stdout))
    assert _sorted(theirs) == _sorted(built(KUBERNETES / folder))


def _sorted(documents: list[Any]) -> list[str]:
    return sorted(json.dumps(document, sort_keys=True) for document in documents)
