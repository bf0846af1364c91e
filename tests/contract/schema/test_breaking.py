"""The gates of the contracts: every break of gRPC, HTTP and WebSocket clients fails, and additions pass."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tools import need
from tools import breaking
from tools.gen import LANGUAGES, Language, check, prepare
from tools.go_tools import GoToolMissing, go_tool

ROOT = Path(__file__).parents[3]
PROTOS = Path("proto", "ide_orchestrator", "v1")
Document = dict[str, Any]
Change = Callable[[Document], object]

#: A file of the contract, a text in it, and what takes its place.
GRPC_BREAKS = {
    "a field is renamed": ("refinement", "  uint32 epoch = 5;", "  uint32 era = 5;"),
    "a field is removed": ("refinement", "  uint32 epoch = 5;", ""),
    "a removed field's name is not reserved": ("refinement", "  uint32 epoch = 5;", "  reserved 5;"),
    "a field has another type": ("refinement", "  uint32 epoch = 5;", "  string epoch = 5;"),
    "a field has another number": ("refinement", "  uint32 epoch = 5;", "  uint32 epoch = 50;"),
    "a field is repeated": ("refinement", "  uint32 epoch = 5;", "  repeated uint32 epoch = 5;"),
    "a value is removed": ("refinement", "  PROPOSAL_STATUS_QUEUED = 6;", ""),
    "a value is renamed": ("refinement", "  PROPOSAL_STATUS_QUEUED = 6;", "  PROPOSAL_STATUS_WAITING = 6;"),
    "a call is removed": (
        "access",
        "  rpc GrantAccess(GrantAccessRequest) returns (GrantAccessResponse);",
        "",
    ),
    "a call is renamed": ("user", "rpc GetMe(", "rpc WhoAmI("),
    "a call streams": ("user", "returns (GetMeResponse)", "returns (stream GetMeResponse)"),
    "a service is renamed": ("user", "service UserService", "service PersonService"),
}
GRPC_ADDITIONS = {
    "a field": ("refinement", "  uint32 epoch = 5;", "  uint32 epoch = 5;\n  // New.\n  string note = 99;"),
    "a value": (
        "refinement",
        "STATUS_QUEUED = 6;",
        "STATUS_QUEUED = 6;\n  // New.\n  PROPOSAL_STATUS_X = 9;",
    ),
    "a field is removed and its name and number are reserved": (
        "refinement",
        "  uint32 epoch = 5;",
        '  reserved 5;\n  reserved "epoch";',
    ),
}


def schemas(document: Document) -> Document:
    found: Document = document["components"]["schemas"]
    return found


def without(schema: Document, member: str) -> None:
    del schema["properties"][member]
    if member in schema.get("required", ()):
        schema["required"].remove(member)


def require(schema: Document, member: str) -> None:
    schema["properties"].setdefault(member, {"type": "string"})
    schema["required"].append(member)


HTTP_BREAKS: dict[str, Change] = {
    "a route is removed": lambda d: d["paths"].pop("/api/me"),
    "a method is removed": lambda d: d["paths"]["/api/webhooks"].pop("post"),
    "a status is removed": lambda d: d["paths"]["/api/refinements/{thread_id}/cancel"]["post"][
        "responses"
    ].pop("202"),
    "a member of an answer is removed": lambda d: without(schemas(d)["Workflow"], "owner_user_id"),
    "a member of an answer may be absent": lambda d: schemas(d)["Workflow"]["required"].remove("name"),
    "a member of an answer has another type": lambda d: schemas(d)["Refinement"]["properties"][
        "epoch"
    ].update(type="string"),
    "a member of an event is removed": lambda d: without(schemas(d)["Event"], "terminal"),
    "a member of a request is needed": lambda d: schemas(d)["CreateWorkflowRequest"]["required"].append(
        "files"
    ),
    "a value is no longer taken": lambda d: schemas(d)["WhenBusy"]["enum"].remove("supersede"),
    "a code of a problem is removed": lambda d: schemas(d)["ProblemCode"]["enum"].remove("not_found"),
    "a text must be shorter": lambda d: schemas(d)["StartRefinementRequest"]["properties"][
        "user_prompt"
    ].update(maxLength=100),
    "a parameter is removed": lambda d: d["paths"]["/api/workflows"]["get"]["parameters"].clear(),
    "a header is removed": lambda d: d["paths"]["/api/workflows"]["get"]["responses"]["200"]["headers"].pop(
        "Link"
    ),
    "server-sent events are removed": lambda d: d["paths"]["/api/refinements/{thread_id}/events"]["get"][
        "responses"
    ]["200"]["content"].pop("text/event-stream"),
}
HTTP_ADDITIONS: dict[str, Change] = {
    "a route": lambda d: d["paths"].update({"/api/you": d["paths"]["/api/me"]}),
    "a member of an answer": lambda d: schemas(d)["Workflow"]["properties"].update(note={"type": "string"}),
    "a member of a request": lambda d: schemas(d)["CreateWorkflowRequest"]["properties"].update(
        note={"type": "string"}
    ),
    "a code of a problem": lambda d: schemas(d)["ProblemCode"]["enum"].append("new"),
    "a kind of event": lambda d: schemas(d)["Event"]["properties"].update(usage={"type": "object"}),
}


def channel(document: Document) -> Document:
    found: Document = document["channels"]["refinement"]
    return found


def query(document: Document) -> Document:
    found: Document = channel(document)["bindings"]["ws"]["query"]["properties"]
    return found


SOCKET_BREAKS: dict[str, Change] = {
    "the address changes": lambda d: channel(d).update(address="/ws/{thread_id}"),
    "a parameter is removed": lambda d: query(d).pop("ticket"),
    "a parameter has a narrower range": lambda d: query(d)["after"].update(maximum=10),
    "a subprotocol is removed": lambda d: channel(d)["x-subprotocols"].pop("ideo.v1.proto"),
    "a subprotocol has other messages": lambda d: channel(d)["x-subprotocols"].update(
        {"ideo.v1": {"$ref": "#/channels/refinement/messages/legacy"}}
    ),
    "a kind of event is removed": lambda d: without(schemas(d)["Event"], "terminal"),
    "a field of an event has another type": lambda d: schemas(d)["Terminal"]["properties"][
        "file_count"
    ].update(type="string"),
    "a value of an event is removed": lambda d: schemas(d)["Outcome"]["enum"].remove("OUTCOME_CANCELLED"),
    "a legacy frame may have no data": lambda d: schemas(d)["LegacyFrame"]["required"].remove("data"),
    "the client's message needs more": lambda d: require(schemas(d)["RenewToken"], "id"),
    "the client's message is not taken": lambda d: d["operations"].pop("renewToken"),
    "a close asks for something else": lambda d: channel(d)["x-close-codes"][0].update(reconnect="later"),
}
SOCKET_ADDITIONS: dict[str, Change] = {
    "a kind of event": lambda d: schemas(d)["Event"]["properties"].update(usage={"type": "object"}),
    "a value of an event": lambda d: schemas(d)["Outcome"]["enum"].append("OUTCOME_NEW"),
    "a parameter": lambda d: query(d).update(since={"type": "string"}),
    "a code of a close": lambda d: channel(d)["x-close-codes"].append({"code": 4499, "reconnect": "no"}),
}


def breaks_of_proto(tmp_path: Path, change: tuple[str, str, str]) -> str:
    """What the gate finds in the contract with the change."""
    name, old, new = change
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    file = tmp_path / PROTOS / f"{name}.proto"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    return breaking.breaks_of_grpc(str(breaking.RELEASED / breaking.PROTO_IMAGE), tmp_path)


def breaks_of_document(
    tmp_path: Path, name: str, compare: Callable[[Path, Path], str], change: Change
) -> str:
    """What the gate finds in a released document with the change."""
    try:
        go_tool("oasdiff")
    except GoToolMissing as missing:
        need(None, f"{missing}: python tools/go_tools.py")
    released = breaking.RELEASED / name
    document = json.loads(released.read_text())
    change(document)
    changed = tmp_path / name
    changed.write_text(json.dumps(document))
    return compare(released, changed)


@pytest.mark.parametrize("change", GRPC_BREAKS.values(), ids=GRPC_BREAKS)
def test_a_break_of_the_grpc_contract_is_found(tmp_path: Path, change: tuple[str, str, str]) -> None:
    found = breaks_of_proto(tmp_path, change)
    assert f"{change[0]}.proto:" in found


@pytest.mark.parametrize("change", GRPC_ADDITIONS.values(), ids=GRPC_ADDITIONS)
def test_an_addition_to_the_grpc_contract_is_allowed(tmp_path: Path, change: tuple[str, str, str]) -> None:
    assert breaks_of_proto(tmp_path, change) == ""


@pytest.mark.parametrize("change", HTTP_BREAKS.values(), ids=HTTP_BREAKS)
def test_a_break_of_the_http_contract_is_found(tmp_path: Path, change: Change) -> None:
    found = breaks_of_document(tmp_path, breaking.OPENAPI, breaking.breaks_of_http, change)
    assert " changes: " in found


@pytest.mark.parametrize("change", HTTP_ADDITIONS.values(), ids=HTTP_ADDITIONS)
def test_an_addition_to_the_http_contract_is_allowed(tmp_path: Path, change: Change) -> None:
    assert breaks_of_document(tmp_path, breaking.OPENAPI, breaking.breaks_of_http, change) == ""


@pytest.mark.parametrize("change", SOCKET_BREAKS.values(), ids=SOCKET_BREAKS)
def test_a_break_of_the_websocket_contract_is_found(tmp_path: Path, change: Change) -> None:
    found = breaks_of_document(tmp_path, breaking.ASYNCAPI, breaking.breaks_of_socket, change)
    assert " changes: " in found


@pytest.mark.parametrize("change", SOCKET_ADDITIONS.values(), ids=SOCKET_ADDITIONS)
def test_an_addition_to_the_websocket_contract_is_allowed(tmp_path: Path, change: Change) -> None:
    assert breaks_of_document(tmp_path, breaking.ASYNCAPI, breaking.breaks_of_socket, change) == ""


#: A file of each language's stubs that has the field `size_bytes`, and how the language spells it.
STUBS = {
    "python": ("ide_orchestrator_dataclasses/ide_orchestrator/v1/__init__.py", "size_bytes"),
    "typescript": ("ide_orchestrator/v1/event_pb.ts", "sizeBytes"),
    "go": ("ide_orchestrator/v1/event.pb.go", "SizeBytes"),
}


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)
def test_stale_stubs_are_found(tmp_path: Path, language: Language) -> None:
    missing = prepare(language, install=False)
    need(missing is None, f"{missing}: run the task gen")
    shutil.copytree(ROOT / "gen" / language.name, tmp_path / language.name)
    name, field = STUBS[language.name]
    stub = tmp_path / language.name / name
    text = stub.read_text()
    assert field in text
    stub.write_text(text.replace(field, f"{field}2", 1))
    assert not check(language, tmp_path)
    stub.write_text(text)
    assert check(language, tmp_path)
    stub.unlink()
    assert not check(language, tmp_path)


@pytest.mark.parametrize("tool", ["gen", "breaking"])
def test_in_ci_a_gate_that_cannot_compare_fails(tmp_path: Path, tool: str) -> None:
    """Runs copies of the tools, far from what was built before and without node, go or git."""
    for name in (
        "tools",
        "proto",
        "gen",
        "buf.yaml",
        "buf.gen.python.yaml",
        "pyproject.toml",
        "docs/reference",
    ):
        source, target = ROOT / name, tmp_path / name
        ignore = shutil.ignore_patterns(".cache", "node_modules", "__pycache__")
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    command = [sys.executable, f"tools/{tool}.py", *(["--check"] if tool == "gen" else [])]
    environment = {
        "PATH": "",
        "PYTHONPATH": str(tmp_path),
        "HOME": str(tmp_path),
    }
    codes = {}
    for ci in ("", "true"):
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | ({"CI": ci} if ci else {}),
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert "not compared" in done.stdout, done.stdout + done.stderr
        codes[ci] = done.returncode
    assert codes == {"": 0, "true": 1}
