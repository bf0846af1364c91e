"""Fails when a contract breaks clients of the last release or of the main branch.

gRPC's is compared by `buf breaking`, HTTP's and the WebSocket's by `oasdiff`. proto/released has the last
release's contracts, which `poe release` writes. The base in the main branch is the commit where this tree
branched off. What cannot be compared is named; with `CI` in the environment that is a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.go_tools import GoToolMissing, go_tool

ROOT = Path(__file__).resolve().parent.parent
RELEASED = ROOT / "proto" / "released"
#: The contracts of a release, and of this tree where they are files.
PROTO_IMAGE, OPENAPI, ASYNCAPI = "contract.binpb", "openapi.json", "asyncapi.json"
REFERENCE = ROOT / "docs" / "reference"
#: Refs of main, the most trusted first: a CI checkout may have no local branch.
MAIN_REFS = ("refs/remotes/origin/main", "refs/heads/main")
#: The severities that differ from those of `oasdiff` itself: clients ignore values that they do not know, but
#: code that names a member, a value, a header or a parameter does not work without it.
SEVERITIES = """\
response-property-enum-value-added none
response-mediatype-enum-value-added none
response-property-enum-value-removed err
response-mediatype-enum-value-removed err
response-optional-property-removed err
optional-response-header-removed err
request-parameter-removed err
"""


class NotCompared(Exception):
    """There is nothing to compare with, or a tool is missing; `str(error)` says which."""


def git(*arguments: str) -> str:
    """The standard output of git; empty when it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main_commit() -> str:
    """The commit of the main branch to compare with. Raises NotCompared."""
    for ref in MAIN_REFS:
        commit = git("merge-base", "HEAD", ref) or git("rev-parse", "--verify", "--quiet", ref)
        if commit and git("ls-tree", "-r", "--name-only", commit, "proto"):
            return commit
    raise NotCompared("this checkout has no main branch with protos")


def breaks_of_grpc(against: str, tree: Path = ROOT) -> str:
    """What breaks clients of the contract `against`, an input of buf, in the tree's; empty if nothing."""
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "breaking", "--against", against]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def breaks_of_http(old: Path, new: Path) -> str:
    """What breaks clients of an OpenAPI document in a newer one. Raises NotCompared."""
    try:
        program = go_tool("oasdiff")
    except GoToolMissing as missing:
        raise NotCompared(f"{missing}: run poe go-tools") from None
    with TemporaryDirectory(prefix="severities-") as folder:
        severities = Path(folder, "severities.txt")
        severities.write_text(SEVERITIES)
        options = ["--fail-on", "WARN", "--format", "singleline", "--severity-levels", str(severities)]
        command = [str(program), "breaking", str(old), str(new), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def breaks_of_socket(old: Path, new: Path) -> str:
    """What breaks clients of an AsyncAPI document in a newer one. Raises NotCompared."""
    with TemporaryDirectory(prefix="sockets-") as folder:
        documents = []
        for name, path in (("old", old), ("new", new)):
            documents.append(Path(folder, f"{name}.json"))
            documents[-1].write_text(json.dumps(socket_as_http(json.loads(path.read_text()))))
        return breaks_of_http(*documents)


def socket_as_http(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document that breaks where the AsyncAPI document does.

    The query and the headers of the upgrade become parameters, messages of the hub answers, and messages of
    the client bodies of requests. Each subprotocol and each code of a close has an address of its own.
    """
    [channel] = document["channels"].values()
    messages = document["components"]["messages"]
    address, bindings = channel["address"], channel["bindings"]["ws"]
    parameters = [
        {
            "name": name,
            "in": place,
            "schema": schema,
            "required": name in bindings[member].get("required", ()),
        }
        for place, member in (("query", "query"), ("header", "headers"))
        for name, schema in bindings[member]["properties"].items()
    ]
    paths = {address: {"get": {"parameters": parameters, **_answer("101", {})}}}
    for operation in document["operations"].values():
        for name in map(_name, operation["messages"]):
            content = _content(messages[name])
            sent = _answer("200", content)
            received = {"requestBody": {"required": True, "content": content}, **_answer("204", {})}
            paths[f"{address}/messages/{name}"] = (
                {"get": sent} if operation["action"] == "send" else {"post": received}
            )
    for subprotocol, message in channel["x-subprotocols"].items():
        answer = _answer("200", _content(messages[_name(message)]))
        paths[f"{address}/subprotocols/{subprotocol}"] = {"get": answer}
    for close in channel["x-close-codes"]:
        advice = {"application/json": {"schema": {"type": "string", "enum": [close["reconnect"]]}}}
        paths[f"{address}/closes/{close['code']}"] = {"get": _answer("200", advice)}
    for path in paths.values():
        for each in path.values():
            names = [{"name": name, "in": "path", "required": True} for name in channel["parameters"]]
            each.setdefault("parameters", []).extend({**name, "schema": {"type": "string"}} for name in names)
    info = {"title": document["info"]["title"], "version": document["info"]["version"]}
    components = {"schemas": document["components"]["schemas"]}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def _answer(status: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"responses": {status: {"description": "", **({"content": content} if content else {})}}}


def _content(message: dict[str, Any]) -> dict[str, Any]:
    return {message["contentType"]: {"schema": message.get("payload", {"type": "string"})}}


def main() -> int:
    """Compare everything. Returns 0, or 1 when something breaks, or in CI could not be compared."""
    comparisons: dict[str, Callable[[], str]] = {
        "gRPC, against main": lambda: breaks_of_grpc(f".git#ref={main_commit()}"),
        "gRPC, against the release": lambda: breaks_of_grpc(str(RELEASED / PROTO_IMAGE)),
        "HTTP, against the release": lambda: breaks_of_http(RELEASED / OPENAPI, REFERENCE / OPENAPI),
        "WebSocket, against the release": lambda: breaks_of_socket(RELEASED / ASYNCAPI, REFERENCE / ASYNCAPI),
    }
    good = True
    for name, compare in comparisons.items():
        try:
            breaks = compare()
        except NotCompared as reason:
            print(f"{name}: not compared: {reason}")
            good = good and not os.environ.get("CI")
        else:
            print(f"{name}: {breaks or 'nothing breaks'}")
            good = good and not breaks
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
