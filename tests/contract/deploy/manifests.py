"""What is in deploy/: read, built as kustomize builds it, and held against the schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tools.composition import load

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CROSSPLANE = DEPLOY / "crossplane"
SCHEMAS = ROOT / "tests" / "contract" / "deploy" / "schemas"


def manifests(*folders: Path) -> Iterator[tuple[Path, Any]]:
    """Every document in the folders' YAML files, but kustomize's own files and the claims."""
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            if file.name == "kustomization.yaml" or file.name.startswith("claim"):
                continue
            for document in load(file):
                yield file, document


def one(documents: list[Any], kind: str, name: str | None = None) -> Any:
    """The one document of a kind (and a name)."""
    [found] = [
        document
        for document in documents
        if document["kind"] == kind and name in (None, document["metadata"]["name"])
    ]
    return found


@cache
def _schemas() -> dict[str, Draft202012Validator]:
    found: dict[str, Draft202012Validator] = {}
    for file in sorted(SCHEMAS.iterdir()):
        if file.suffix == ".md":
            continue
        document = (
            yaml.safe_load(file.read_text()) if file.suffix == ".yaml" else json.loads(file.read_text())
        )
        for kind, name in document["kinds"].items():
            found[kind] = Draft202012Validator(
                {"$ref": f"#/$defs/{name.replace('/', '~1')}", "$defs": document["$defs"]}
            )
    return found


def problems(document: Any) -> list[str]:
    """What the schema of its kind says against a document, and against the one that an Object carries."""
    kind = f"{document['apiVersion']} {document['kind']}"
    if kind not in _schemas():
        return [f"no schema for {kind}"]
    found = [f"{error.json_path}: {error.message}" for error in _schemas()[kind].iter_errors(document)]
    if document["kind"] == "Object":
        found += problems(document["spec"]["forProvider"]["manifest"])
    return found


def _pointer(target: Any, path: str) -> tuple[Any, str]:
    *way, last = path.removeprefix("/").split("/")
    for step in way:
        target = target[int(step)] if isinstance(target, list) else target[step]
    return target, last


def _patched(document: Any, operations: list[dict[str, Any]]) -> None:
    for operation in operations:
        holder, last = _pointer(document, operation["path"])
        if operation["op"] == "add" and isinstance(holder, list) and last == "-":
            holder.append(operation["value"])
        elif operation["op"] in ("add", "replace"):
            if operation["op"] == "replace":
                assert last in holder, operation["path"]
            holder[last] = operation["value"]
        elif operation["op"] == "remove":
            del holder[last]
        else:
            raise AssertionError(operation["op"])


def built(folder: Path) -> list[Any]:
    """What `kustomize build` makes of a folder: resources, components, patches, namespace, image tags."""
    [plan] = load(folder / "kustomization.yaml")
    documents: list[Any] = []
    for entry in plan.get("resources", []):
        path = folder / entry
        documents += built(path) if path.is_dir() else copy.deepcopy(load(path))
    for entry in plan.get("components", []):
        _applied(folder / entry, documents)
    _changed(plan, documents)
    return documents


def _applied(component: Path, documents: list[Any]) -> None:
    [plan] = load(component / "kustomization.yaml")
    for entry in plan.get("resources", []):
        documents += load(component / entry)
    _changed(plan, documents)


def _changed(plan: Any, documents: list[Any]) -> None:
    known = {"apiVersion", "kind", "resources", "components", "patches", "namespace", "images"}
    assert set(plan) <= known, set(plan) - known
    for patch in plan.get("patches", []):
        target = patch["target"]
        [document] = [
            document
            for document in documents
            if document["kind"] == target["kind"] and document["metadata"]["name"] == target["name"]
        ]
        _patched(document, yaml.safe_load(patch["patch"]))
    for document in documents:
        if "namespace" in plan:
            document["metadata"]["namespace"] = plan["namespace"]
        spec = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
            for image in plan.get("images", []):
                if container["image"].split(":")[0] == image["name"]:
                    container["image"] = f"{image['name']}:{image['newTag']}"
