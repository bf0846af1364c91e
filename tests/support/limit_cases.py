"""Requests at the limits of the contract and beyond them, made from the limits themselves."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ide_orchestrator.client.limits import wrong_fields
from ide_orchestrator.v1.limits_pb2 import Limits
from ide_orchestrator.v1.limits_pb2 import limits as LIMITS
from server.grpc.services import DESCRIPTORS

NOTHING = "00000000-0000-4000-8000-000000000000"
#: What texts begin with that have a form besides their limits.
_BEGINNINGS = {"target_url": "https://receiver.example/", "SpecFile.path": "/"}
_FORMS = {"context_selection": "line 7"}


@dataclass(frozen=True)
class LimitCase:
    """A request with one value that is looked at. method: `/package.Service/Method`. fields: those that the
    limits do not allow, by the Python client."""

    name: str
    method: str
    request: Message

    @property
    def fields(self) -> list[str]:
        return wrong_fields(self.request)


def limit_cases() -> Iterator[LimitCase]:
    """The cases of every request."""
    for service in DESCRIPTORS.values():
        for method in service.methods:
            kind = method.input_type
            for name, request in _variants(kind):
                path = f"/{service.full_name}/{method.name}"
                yield LimitCase(f"{kind.name}.{name}", path, request)


def write_cases(path: Path) -> list[list[str]]:
    """Write the cases for programs of other languages: a line each with type and base64. Returns
    the wrong fields of each."""
    cases = list(limit_cases())
    path.write_text(
        "".join(
            f"{case.request.DESCRIPTOR.name} {base64.b64encode(case.request.SerializeToString()).decode()}\n"
            for case in cases
        )
    )
    return [case.fields for case in cases]


def _limits(field: FieldDescriptor) -> Limits | None:
    options = field.GetOptions()
    return options.Extensions[LIMITS] if options.HasExtension(LIMITS) else None


def _valid(kind: Descriptor) -> Any:
    """A request without a wrong field, of things that do not exist."""
    request: Any = GetMessageClass(kind)()
    for field in kind.fields:
        limits = _limits(field)
        if field.name.endswith("_id") and field.name != "request_id" and not field.has_presence:
            setattr(request, field.name, NOTHING if field.name != "other_proposal_id" else "")
        elif field.name == "etag":
            request.etag = "1-0000000000000000"
        elif limits is not None and limits.min_characters:
            setattr(request, field.name, _text(kind, field, 30))
    if kind.name == "SetDecisionsRequest":
        request.decisions.add(path="/a", decision=1)
    elif kind.name == "ReplyToInputRequest":
        request.seq = 1
        request.decisions.add(decision="approve")
    elif kind.name == "RestoreDraftVersionRequest":
        request.version = 1
    elif kind.name == "UpdateDraftRequest":
        request.files.add(path="/a.md", text="A")
    return request


def _variants(kind: Descriptor) -> Iterator[tuple[str, Message]]:
    for field in kind.fields:
        limits = _limits(field)
        if limits is not None:
            yield from _values_at_limits(kind, field, limits)
        if field.is_repeated and field.message_type is not None:
            for name, item in _items(field.message_type):
                request = _valid(kind)
                items = getattr(request, field.name)
                del items[:]
                items.append(item)
                yield f"{field.name}.{name}", _completed(request)


def _items(kind: Descriptor) -> Iterator[tuple[str, Message]]:
    """The variants of a message in a list; other fields are such that the hub takes them."""
    for field in kind.fields:
        limits = _limits(field)
        if limits is not None:
            for name, item in _values_at_limits(kind, field, limits):
                found: Any = item
                if kind.name == "FileDecision":
                    found.path = found.path or "/a"
                    found.decision = 1
                elif kind.name == "ResolvedFile":
                    found.text = "A"
                elif kind.name == "ActionDecision" and field.name != "decision":
                    found.decision = "edit" if field.name == "edited_arguments" else "reject"
                yield name, found


def _values_at_limits(
    kind: Descriptor, field: FieldDescriptor, limits: Limits
) -> Iterator[tuple[str, Message]]:
    for name, value in _values(kind, field, limits):
        request = _valid(kind)
        if field.is_repeated:
            items = getattr(request, field.name)
            del items[:]
            items.extend(value)
        else:
            setattr(request, field.name, value)
        yield f"{field.name}, {name}", _completed(request)


def _completed(request: Any) -> Any:
    if request.DESCRIPTOR.name == "AcceptProposalRequest" and request.resolved_files:
        request.draft_etag = request.draft_etag or "1-0000000000000000"
    if request.DESCRIPTOR.name == "UpdateDraftRequest" and request.deleted_paths:
        del request.files[:]
    return request


def _values(kind: Descriptor, field: FieldDescriptor, limits: Limits) -> Iterator[tuple[str, Any]]:
    if field.is_repeated:
        if limits.max_items:
            for count in (limits.max_items, limits.max_items + 1):
                yield f"{count} items", [_item(field, number) for number in range(count)]
        if limits.max_characters:
            for size in (limits.max_characters, limits.max_characters + 1):
                yield f"an item of {size}", [_text(kind, field, size)]
    elif field.message_type is None and field.type == FieldDescriptor.TYPE_STRING:
        yield from _texts(kind, field, limits)
    else:
        for number in {limits.min - 1, limits.min, limits.max, limits.max + 1}:
            if number > 0 and (number != 1 or limits.min == 1):
                yield str(number), number


def _texts(kind: Descriptor, field: FieldDescriptor, limits: Limits) -> Iterator[tuple[str, str]]:
    if limits.min_characters:
        yield "empty", ""
    if field.name in _FORMS:
        yield "in its form", _FORMS[field.name]
    else:
        yield "at most", _text(kind, field, limits.max_characters)
    yield "one too many", _text(kind, field, limits.max_characters + 1)
    plain = not limits.pattern and field.name not in _BEGINNINGS
    if plain and limits.max_characters <= 4096:
        # Two units of UTF-16 and four bytes each.
        wide = _text(kind, field, limits.max_characters, "\U0001f600")
        yield "of wide characters", wide
        yield "of one wide character too many", wide + "\U0001f600"
    if limits.not_blank:
        yield "blank", " \t\x1f\u00a0\u3000\u2028"
        yield "not blank", "\ufeff"
    if limits.no_nul:
        yield "with U+0000", "a\0"
    if limits.pattern:
        yield "of another form", "not it"
        yield "with a line end", f"{_FORMS.get(field.name, 'key')}\n"


def _text(kind: Descriptor, field: FieldDescriptor, size: int, character: str = "a") -> str:
    beginning = _BEGINNINGS.get(field.name) or _BEGINNINGS.get(f"{kind.name}.{field.name}", "")
    if field.name in ("deleted_paths", "path", "paths", "new_path", "context_file_path"):
        beginning = "/"
    return beginning + character * (size - len(beginning))


def _item(field: FieldDescriptor, number: int) -> Any:
    if field.message_type is None:
        return f"/f{number}" if "path" in field.name else f"{number:08x}"
    item: Any = GetMessageClass(field.message_type)()
    for inner in field.message_type.fields:
        if inner.name == "path":
            item.path = f"/f{number}"
    if field.message_type.name == "FileDecision":
        item.decision = 1
    elif field.message_type.name == "ResolvedFile":
        item.text = "A"
    elif field.message_type.name == "ActionDecision":
        item.decision = "approve"
    return item
