"""Evaluates our Crossplane Compositions without a cluster, to show what a WebService becomes.

`python tools/composition.py` writes deploy/crossplane/examples/rendered-v1.yaml and rendered-v2.yaml from the
example claim. A test does the same and compares, so that the files show what the Compositions really produce.

`crossplane render` does this with the real function, but needs a container engine or a Go build of the
function and of Crossplane's command line. The tests need only Python. This evaluator knows the part of
function-patch-and-transform that our Compositions use, and refuses the rest: patches FromCompositeFieldPath
and PatchSet, policies Optional and Required, transforms map, string (Format with one %s) and convert (to
string). An Optional patch from a missing field is skipped, a Required one fails; a patch creates the objects
and list entries on its path.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

CROSSPLANE = Path(__file__).resolve().parent.parent / "deploy" / "crossplane"

#: A step of a field path: `.name`, `[0]`, or `[name.with/dots]`.
_STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]+)\]")


class CompositionError(ValueError):
    """A Composition contains something that this evaluator cannot do."""


def load(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def steps(path: str) -> list[str | int]:
    """A field path as keys and list positions."""
    found: list[str | int] = []
    end = 0
    for match in _STEP.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        name, bracket = match.groups()
        found.append(int(bracket) if bracket and bracket.isdecimal() else name or bracket)
    if end != len(path) or not found:
        raise CompositionError(f"not a field path: {path}")
    return found


def get(value: Any, path: str) -> Any:
    """The field at `path`. Raises KeyError when it does not exist."""
    for step in steps(path):
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                raise KeyError(path)
            value = value[step]
        else:
            if not isinstance(value, dict) or step not in value:
                raise KeyError(path)
            value = value[step]
    return value


def put(target: Any, path: str, value: Any) -> None:
    """Set the field at `path`, and create the objects and lists on its path that are missing."""
    keys = steps(path)
    for step, next_step in zip(keys, [*keys[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(target, list):
                raise CompositionError(f"not a list on the path {path}")
            target.extend([None] * (step + 1 - len(target)))
        elif not isinstance(target, dict):
            raise CompositionError(f"not an object on the path {path}")
        if next_step is None:
            target[step] = value
            return
        inside = target[step] if isinstance(step, int) else target.get(step)
        if inside is None:
            inside = [] if isinstance(next_step, int) else {}
            target[step] = inside
        target = inside


def transformed(value: Any, transforms: list[dict[str, Any]]) -> Any:
    """A value after a patch's transforms."""
    for transform in transforms:
        kind = transform["type"]
        if kind == "map":
            if value not in transform["map"]:
                raise CompositionError(f"the map has no {value!r}")
            value = copy.deepcopy(transform["map"][value])
        elif kind == "string" and transform["string"]["type"] == "Format":
            form = transform["string"]["fmt"]
            if form.count("%") != 1 or "%s" not in form or not isinstance(value, str):
                raise CompositionError(f"a format must have one %s and a text value: {form}")
            value = form.replace("%s", value)
        elif kind == "convert" and transform["convert"] == {"toType": "string"} and isinstance(value, int):
            value = str(value)
        else:
            raise CompositionError(f"unknown transform: {transform}")
    return value


def apply(patch: dict[str, Any], composite: Any, resource: Any) -> None:
    """Apply one FromCompositeFieldPath patch to a resource."""
    if patch["type"] != "FromCompositeFieldPath":
        raise CompositionError(f"unknown patch: {patch['type']}")
    try:
        value = get(composite, patch["fromFieldPath"])
    except KeyError:
        if patch.get("policy", {}).get("fromFieldPath", "Optional") == "Required":
            raise CompositionError(f"{patch['fromFieldPath']} is required") from None
        return
    put(resource, patch["toFieldPath"], transformed(copy.deepcopy(value), patch.get("transforms", [])))


def render(composition: Any, composite: Any) -> dict[str, Any]:
    """The composed resources of a composite resource, by their names in the Composition."""
    rendered: dict[str, Any] = {}
    for step in composition["spec"]["pipeline"]:
        given = step["input"]
        sets = {entry["name"]: entry["patches"] for entry in given.get("patchSets", [])}
        for template in given["resources"]:
            resource = copy.deepcopy(template["base"])
            for patch in template.get("patches", []):
                for single in sets[patch["patchSetName"]] if patch["type"] == "PatchSet" else [patch]:
                    apply(single, composite, resource)
            rendered[template["name"]] = resource
    return rendered


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """A value with the schema's defaults, as the API server adds them."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, inside in schema.get("properties", {}).items():
        if name not in filled and "default" in inside:
            filled[name] = copy.deepcopy(inside["default"])
        if name in filled:
            filled[name] = defaulted(inside, filled[name])
    return filled


def schema_of(definition: Any) -> dict[str, Any]:
    """The schema of a definition's only version."""
    [version] = definition["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def composite_of(definition: Any, claim: Any) -> Any:
    """The composite resource of a claim; without claims in the definition, the resource itself."""
    filled = defaulted(schema_of(definition), claim)
    if "claimNames" not in definition["spec"]:
        return filled
    about = claim["metadata"]
    reference = {name: claim[name] for name in ("apiVersion", "kind")}
    reference |= {"name": about["name"], "namespace": about["namespace"]}
    return {
        "apiVersion": claim["apiVersion"],
        "kind": definition["spec"]["names"]["kind"],
        "metadata": {"name": f"{about['name']}-x7k2p"},
        "spec": {**filled["spec"], "claimRef": reference},
    }


def rendered_example(version: str, claim: Path | None = None) -> dict[str, Any]:
    """The resources that the Composition of deploy/crossplane/`version` makes of a claim (the example)."""
    [document] = load(claim or CROSSPLANE / "examples" / "claim.yaml")
    [definition] = load(CROSSPLANE / version / "xrd.yaml")
    [composition] = load(CROSSPLANE / version / "composition.yaml")
    return render(composition, composite_of(definition, document))


def as_yaml(version: str) -> str:
    """The rendered example as the text of a file."""
    head = f"# Written by tools/composition.py: claim.yaml through {version}/composition.yaml.\n"
    documents: str = yaml.safe_dump_all(
        rendered_example(version).values(), sort_keys=False, width=110, explicit_start=True
    )
    return head + documents


def main() -> None:
    """Write the rendered examples."""
    for version in ("v1", "v2"):
        (CROSSPLANE / "examples" / f"rendered-{version}.yaml").write_text(as_yaml(version))


if __name__ == "__main__":
    main()
