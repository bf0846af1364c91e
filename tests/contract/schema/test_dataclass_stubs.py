"""The dataclass stubs come from another code base: they are a second opinion on the bytes."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

import betterproto2
import pytest
from google.protobuf.message import Message
from hypothesis import given

from ide_orchestrator_dataclasses.ide_orchestrator import v1 as dataclasses_v1
from server.domain.journal.events import Event
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from server.wire.text import get_time
from tests.contract.schema.golden_events import FOLDER, GOLDEN
from tests.unit.wire import event_strategies as some

codec = ProtobufCodec()


def plain(value: Any) -> Any:
    """A message of either family as plain values, by its own attributes."""
    if isinstance(value, m.Timestamp):
        return get_time(value)
    if isinstance(value, Message):
        names = [f.name for f in value.DESCRIPTOR.fields if not f.has_presence or value.HasField(f.name)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, betterproto2.Message):
        members = ((name, getattr(value, name)) for name in field_names(type(value)))
        return {name: plain(member) for name, member in members if member is not None}
    if isinstance(value, str | bytes | datetime):
        return value
    if isinstance(value, int):
        return int(value)
    if hasattr(value, "items"):
        return dict(value)
    return [plain(item) for item in value]


def field_names(message: Any) -> list[str]:
    """The fields of a dataclass message."""
    return [field.name for field in dataclasses.fields(message)]


def compare(data: bytes) -> None:
    official = m.Event.FromString(data)
    second = dataclasses_v1.Event.parse(data)
    assert plain(second) == plain(official)
    assert bytes(second) == data


@pytest.mark.parametrize("name", GOLDEN)
def test_both_families_read_and_write_the_golden_events_alike(name: str) -> None:
    compare((FOLDER / f"{name}.binpb").read_bytes())


@given(some.events(text=some.ANY))
def test_both_families_read_and_write_any_event_alike(event: Event) -> None:
    compare(codec.encode(event))


def test_both_families_have_the_same_messages_fields_and_enums() -> None:
    for name in (name for name in vars(m) if name[0].isupper() and not name.isupper()):
        official = getattr(m, name)
        # Google's own, and the value of an option: the dataclasses have no options.
        if name in ("Struct", "Timestamp", "Limits"):
            continue
        second = getattr(dataclasses_v1, name)
        if hasattr(official, "DESCRIPTOR") and hasattr(official.DESCRIPTOR, "fields"):
            fields = [field.name for field in official.DESCRIPTOR.fields]
            assert sorted(fields) == sorted(field_names(second))
        else:
            assert [member.value for member in second] == sorted(official.values())
