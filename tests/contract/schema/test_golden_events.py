from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from server.domain.journal import events
from server.wire import messages as m
from server.wire.codec import ProtobufCodec
from server.wire.rendering import message_json
from tests.contract.schema.golden_events import EVENTS, FOLDER, GOLDEN, KINDS

codec = ProtobufCodec()


def test_there_is_a_golden_event_of_every_kind() -> None:
    assert {type(kind) for kind in KINDS.values()} == set(events.EventKind.__args__)
    members = {field.name for field in m.Event.DESCRIPTOR.oneofs_by_name["kind"].fields}
    seen = {m.Event.FromString(codec.encode(event)).WhichOneof("kind") for event in EVENTS.values()}
    assert seen == members


def test_the_folder_holds_the_golden_events_and_nothing_else() -> None:
    files = {path.name for path in FOLDER.iterdir() if not path.name.startswith(".")}
    assert files == {f"{name}.{kind}" for name in GOLDEN for kind in ("binpb", "json")}


@pytest.mark.parametrize("name", GOLDEN)
def test_an_event_has_the_golden_bytes(name: str) -> None:
    assert codec.encode(GOLDEN[name]) == (FOLDER / f"{name}.binpb").read_bytes()


@pytest.mark.parametrize("name", EVENTS)
def test_the_golden_bytes_are_the_event(name: str) -> None:
    assert codec.decode((FOLDER / f"{name}.binpb").read_bytes()) == EVENTS[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_binary_and_json_are_the_same_message(name: str) -> None:
    message = m.Event.FromString((FOLDER / f"{name}.binpb").read_bytes())
    text = (FOLDER / f"{name}.json").read_text("ascii")
    assert json.loads(message_json(message)) == json.loads(text)
    assert json_format.Parse(text, m.Event()) == message
