"""The pages of the contract: its messages, services and enums, with their comments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
)

PROTO = Path(__file__).resolve().parent.parent / "proto"
CONTRACT = PROTO / "ide_orchestrator" / "v1"
#: The files of the contract with services, in the order of a developer's first calls.
SERVICES = (
    *("workflow", "draft", "refinement", "proposal", "review", "access"),
    *("user", "webhook", "info", "quarantine"),
)

_EVENTS = """# Events

What a thread's journal holds and every transport delivers: binary over gRPC and `ideo.v1.proto`, as
proto-JSON over `ideo.v1`, SSE and pages. Written from `event.proto` by `tools/docs.py`.
"""
_GRPC = """# gRPC

The services of the contract, package `ide_orchestrator.v1`, and their messages; those of events are on
[their own page](events.md). Every call carries `authorization: Bearer TOKEN` as metadata. Clients, sizes and
retries: [use gRPC](../howto/use-grpc.md); [errors](http.md#errors). Written from `proto/` by `tools/docs.py`.
"""


def read_descriptor(proto: Path) -> FileDescriptorProto:
    """The descriptor of a file of the contract, with its comments."""
    with TemporaryDirectory(prefix="descriptors-") as made:
        out = Path(made, "descriptors")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", str(proto)]
        options = ["--include_source_info", f"--descriptor_set_out={out}"]
        subprocess.run([*command, *options], check=True)
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]


class Comments:
    """The comments of a file of the contract."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self.places = {tuple(place.path): place for place in file.source_code_info.location}

    def of(self, *path: int) -> str:
        """The comment on an element, as one line; `path` is its place in the descriptor."""
        return " ".join(self.places[path].leading_comments.split())


def map_entry(field: FieldDescriptorProto, message: DescriptorProto) -> DescriptorProto | None:
    """The message of a map's keys and values; None for a field that is not a map."""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            return nested
    return None


def type_of(field: FieldDescriptorProto, message: DescriptorProto, package: str) -> str:
    """A field's type as the contract writes it."""
    kinds = FieldDescriptorProto.Type
    name = field.type_name.removeprefix(f".{package}.").removeprefix(".")
    name = name or kinds.Name(field.type).removeprefix("TYPE_").lower()
    entry = map_entry(field, message)
    if entry is not None:
        key, value = (type_of(part, entry, package) for part in entry.field)
        return f"map<{key}, {value}>"
    if field.proto3_optional:
        return f"optional {name}"
    return f"repeated {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def events_page() -> str:
    """The page of the contract's messages and enums of events, in the order of the file."""
    return "\n".join([_EVENTS, *described(read_descriptor(CONTRACT / "event.proto"))]) + "\n"


def grpc_page() -> str:
    """The page of the services, then of their messages."""
    files = [read_descriptor(CONTRACT / f"{name}.proto") for name in SERVICES]
    lines = [line for file in files for line in described(file, services=True)]
    lines += [line for file in files for line in described(file)]
    return "\n".join([_GRPC, *lines]) + "\n"


def rpcs() -> dict[str, Any]:
    """The services with their methods, and all messages and enums, with comments: what the workbench shows
    of the contract."""
    services: list[dict[str, Any]] = []
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    for name in (*SERVICES, "event"):
        file = read_descriptor(CONTRACT / f"{name}.proto")
        comments = Comments(file)
        for at, service in enumerate(file.service):
            path = (file.SERVICE_FIELD_NUMBER, at)
            methods = [
                {
                    "name": call.name,
                    "comment": comments.of(*path, service.METHOD_FIELD_NUMBER, number),
                    "request": call.input_type.rpartition(".")[2],
                    "response": call.output_type.rpartition(".")[2],
                    "stream": call.server_streaming,
                    "reads": call.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
                }
                for number, call in enumerate(service.method)
            ]
            services.append({"name": service.name, "comment": comments.of(*path), "methods": methods})
        for at, message in enumerate(file.message_type):
            path = (file.MESSAGE_TYPE_FIELD_NUMBER, at)
            fields = [
                {
                    "name": field.name,
                    "type": type_of(field, message, file.package),
                    "comment": comments.of(*path, message.FIELD_FIELD_NUMBER, number),
                    **({"oneof": oneof_of(field, message)} if oneof_of(field, message) else {}),
                }
                for number, field in enumerate(message.field)
            ]
            messages[message.name] = {"comment": comments.of(*path), "fields": fields}
        for at, enum in enumerate(file.enum_type):
            path = (file.ENUM_TYPE_FIELD_NUMBER, at)
            values = [
                {"name": value.name, "comment": comments.of(*path, enum.VALUE_FIELD_NUMBER, number)}
                for number, value in enumerate(enum.value)
            ]
            enums[enum.name] = {"comment": comments.of(*path), "values": values}
    return {"package": "ide_orchestrator.v1", "services": services, "messages": messages, "enums": enums}


def oneof_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """The name of the group of fields of which at most one is set, and this is one; empty for others."""
    if field.proto3_optional or not field.HasField("oneof_index"):
        return ""
    return message.oneof_decl[field.oneof_index].name


def described(file: FileDescriptorProto, *, services: bool = False) -> list[str]:
    """A section for each message and enum of a file of the contract, or for each service, in its order."""
    comments = Comments(file)

    def rows(titles: str, path: tuple[int, ...], parts: Sequence[tuple[str, str]]) -> list[str]:
        """The rows of a table whose last column is the comment."""
        found = [f"| `{name}` |{more} {comments.of(*path, at)} |" for at, (name, more) in enumerate(parts)]
        return [titles, "|---" * titles.count(" | ") + "|---|", *found] if found else []

    sections: list[tuple[int, list[str]]] = []

    def section(name: str, path: tuple[int, ...], table: list[str]) -> None:
        head = [f"\n## {name}\n", comments.of(*path), ""]
        sections.append((comments.places[path].span[0], head + table))

    for at, service in enumerate(file.service if services else ()):
        path = (file.SERVICE_FIELD_NUMBER, at)
        calls = [(call.name, "") for call in service.method]
        table = rows("| call | meaning |", (*path, service.METHOD_FIELD_NUMBER), calls)
        section(service.name, path, table)
    for at, message in enumerate(() if services else file.message_type):
        path = (file.MESSAGE_TYPE_FIELD_NUMBER, at)
        fields = [(field.name, f" {type_of(field, message, file.package)} |") for field in message.field]
        table = rows("| field | type | meaning |", (*path, message.FIELD_FIELD_NUMBER), fields)
        section(message.name, path, table)
    for at, enum in enumerate(() if services else file.enum_type):
        path = (file.ENUM_TYPE_FIELD_NUMBER, at)
        values = [(value.name, "") for value in enum.value]
        table = rows("| value | meaning |", (*path, enum.VALUE_FIELD_NUMBER), values)
        section(f"{enum.name} (one of)", path, table)
    return [line for _, lines in sorted(sections) for line in lines]
