"""The JSON Schemas of events: what the hub writes is what they say, and they say everything."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import jsonschema
import pytest

from server.domain.journal.journal import JournalHead
from server.wire import messages as m
from server.wire import rendering
from server.wire.generated_json import event_schemas
from tests.contract.schema.golden_events import FOLDER, GOLDEN


def validator(name: str) -> Any:
    """Checks values against a schema, in which members that are not described are wrong."""
    schemas = deepcopy(event_schemas())
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    document = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return jsonschema.Draft202012Validator(document, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_events_are_valid(name: str) -> None:
    validator("Event").validate(json.loads((FOLDER / f"{name}.json").read_text()))


def test_messages_of_a_stream_are_valid() -> None:
    check = validator("WatchRefinementResponse")
    golden = ",".join((FOLDER / f"{name}.json").read_text() for name in GOLDEN)
    for text in (
        rendering.hello_json(JournalHead(epoch=1, last_seq=0, floor=1, terminal=False)),
        rendering.heartbeat_json(0),
        rendering.reconnect_json(0.0),
        f'{{"batch":{{"events":[{golden}]}}}}',
    ):
        check.validate(json.loads(text))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("FileChange", {"size_bytes": 42}),
        ("FileChange", {"size_bytes": "-1"}),
        ("FileChange", {"kind": "ADDED"}),
        ("Event", {"seq": "1", "epoch": 1, "create_time": "2026-01-31T12:00:00Z"}),
        ("Event", {"epoch": 1, "create_time": "2026-01-31T12:00:00Z"}),
        ("Hello", {"epoch": 1, "last_seq": 0, "floor": 1}),
        ("Token", {"tool_calls": {}}),
    ],
)
def test_what_is_written_otherwise_is_not_valid(name: str, wrong: dict[str, Any]) -> None:
    assert not validator(name).is_valid(wrong)


def test_every_element_has_its_comment() -> None:
    for name, schema in event_schemas().items():
        assert schema["description"], name
        for member, described in schema.get("properties", {}).items():
            assert described["description"], (name, member)


def test_every_kind_of_a_stream_has_a_schema() -> None:
    kinds = [each.message_type.name for each in m.WatchRefinementResponse.DESCRIPTOR.fields]
    kinds += [each.message_type.name for each in m.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
    assert set(kinds) <= event_schemas().keys()
