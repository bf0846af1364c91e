"""What the contract says as JSON, from its descriptors and their comments: JSON Schemas (2020-12) of events
as proto-JSON, and the meanings of problems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from tools.contract_pages import CONTRACT, Comments, map_entry, read_descriptor

Schema: TypeAlias = dict[str, Any]

#: What a stream consists of: everything that it refers to gets a schema.
ROOT_MESSAGE = "WatchRefinementResponse"
#: Proto-JSON leaves out what is zero or empty. These fields are always there: the hub writes all fields of
#: the messages beside events, and seq and epoch begin at 1.
REQUIRED = {
    "Hello": ("epoch", "last_seq", "floor", "recovered"),
    "Heartbeat": ("last_seq", "progress"),
    "Reconnect": ("after_ms",),
    "Event": ("seq", "epoch", "create_time"),
}
_MAX_UINT32 = 0xFFFFFFFF
_SCALARS: dict[FieldDescriptorProto.Type.ValueType, Schema] = {
    FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptorProto.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": _MAX_UINT32},
    FieldDescriptorProto.TYPE_UINT64: {"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
    FieldDescriptorProto.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: dict[str, Schema] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Struct": {"type": "object"},
}


def event_schemas() -> dict[str, Schema]:
    """The schema of each message and enum of a stream, by name; references are as in an OpenAPI document."""
    kinds: dict[str, tuple[DescriptorProto | EnumDescriptorProto, Comments, tuple[int, ...]]] = {}
    for name in ("event", "refinement"):
        file = read_descriptor(Path(CONTRACT, f"{name}.proto"))
        comments = Comments(file)
        for at, message in enumerate(file.message_type):
            kinds[message.name] = message, comments, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, at)
        for at, enum in enumerate(file.enum_type):
            kinds[enum.name] = enum, comments, (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, at)
    schemas: dict[str, Schema] = {}
    waiting = [ROOT_MESSAGE]
    while waiting:
        name = waiting.pop()
        if name in schemas:
            continue
        kind, comments, path = kinds[name]
        if isinstance(kind, EnumDescriptorProto):
            schemas[name] = _enum(kind, comments, path)
        else:
            schemas[name] = _message(kind, comments, path)
            waiting += _references(kind)
    return dict(sorted(schemas.items()))


def problem_meanings() -> dict[str, str]:
    """The comment on each reason of a problem, by its code over HTTP."""
    file = read_descriptor(Path(CONTRACT, "problem.proto"))
    comments, [reasons] = Comments(file), file.enum_type
    path = (file.ENUM_TYPE_FIELD_NUMBER, 0, reasons.VALUE_FIELD_NUMBER)
    return {
        value.name.removeprefix("PROBLEM_REASON_").lower(): comments.of(*path, at)
        for at, value in enumerate(reasons.value)
        if value.number
    }


def _references(message: DescriptorProto) -> Iterator[str]:
    """The contract's messages and enums that a message refers to."""
    for field in (*message.field, *(part for nested in message.nested_type for part in nested.field)):
        if field.type_name and field.type_name not in _WELL_KNOWN and not map_entry(field, message):
            yield field.type_name.rpartition(".")[2]


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Schema:
    properties = {
        field.name: {
            "description": comments.of(*path, message.FIELD_FIELD_NUMBER, at),
            **_field(field, message),
        }
        for at, field in enumerate(message.field)
    }
    description = " ".join([comments.of(*path), *_alternatives(message)])
    required = REQUIRED.get(message.name)
    return {"type": "object", "description": description, "properties": properties} | (
        {"required": list(required)} if required else {}
    )


def _alternatives(message: DescriptorProto) -> Iterator[str]:
    """A sentence for each group of fields of which a message has one."""
    for at in range(len(message.oneof_decl)):
        members = [
            f"`{field.name}`"
            for field in message.field
            if field.HasField("oneof_index") and field.oneof_index == at and not field.proto3_optional
        ]
        if members:
            yield f"Has at most one of {', '.join(members)}."


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Schema:
    lines = [comments.of(*path), "Ignore names that you do not know.", ""]
    for at, value in enumerate(enum.value):
        text = comments.of(*path, EnumDescriptorProto.VALUE_FIELD_NUMBER, at)
        lines.append(f"- `{value.name}`: {text}")
    return {
        "type": "string",
        "description": "\n".join(lines),
        "enum": [value.name for value in enum.value],
    }


def _field(field: FieldDescriptorProto, message: DescriptorProto) -> Schema:
    entry = map_entry(field, message)
    if entry is not None:
        return {"type": "object", "additionalProperties": _value(entry.field[1])}
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return {"type": "array", "items": _value(field)}
    return _value(field)


def _value(field: FieldDescriptorProto) -> Schema:
    if not field.type_name:
        return _SCALARS[field.type]
    known = _WELL_KNOWN.get(field.type_name)
    return known or {"$ref": f"#/components/schemas/{field.type_name.rpartition('.')[2]}"}
