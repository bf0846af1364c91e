"""The AsyncAPI document: open to anyone, and true to what the WebSocket does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse
from server.http.handshake import FORMS
from tests.contract.interfaces.test_http_openapi import references, resolved
from tests.support.client import socket_messages
from tests.support.hub import RunningHub, finished, running_hub, start

DOCS = Path(__file__).parents[3] / "docs"


async def read(hub: RunningHub) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=hub.http, timeout=60) as http:
        answer = await http.get("/asyncapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document: dict[str, Any] = answer.json()
    return document


def typed(message: str | bytes) -> bool:
    """Whether it is the greeting of typed messages; legacy frames have none."""
    if isinstance(message, bytes):
        return WatchRefinementResponse.FromString(message).HasField("hello")
    return "hello" in json.loads(message)


def seqs_of(message: str | bytes) -> list[int]:
    """The events that a message of any form brings."""
    if isinstance(message, bytes):
        return [event.seq for event in WatchRefinementResponse.FromString(message).batch.events]
    value = json.loads(message)
    if "event_type" in value:
        return [value["seq"]]
    return [event["seq"] for event in value.get("batch", {}).get("events", ())]


async def test_messages_are_as_the_document_says(database: str) -> None:
    async with running_hub(database) as hub:
        document = await read(hub)
        channel = document["channels"]["refinement"]
        assert set(channel["x-subprotocols"]) == set(FORMS)
        async with hub.client() as client:
            started = await start(client, "[[replay:short_run]]")
            await finished(client, started)
        address = channel["address"].replace("{thread_id}", started["thread_id"])
        for subprotocol, reference in channel["x-subprotocols"].items():
            message = resolved(document, resolved(document, reference))
            messages = [each async for each in socket_messages(hub.http + address, hub.token(), subprotocol)]
            # However many of them come in one message.
            seqs = [seq for each in messages for seq in seqs_of(each)]
            assert seqs == list(range(seqs[0], 53))
            assert seqs[0] == (1 if typed(messages[0]) else 2)
            for each in messages:
                if isinstance(each, bytes):
                    assert message["contentType"] == "application/x-protobuf"
                else:
                    assert message["contentType"] == "application/json"
                    schema = {**message["payload"], "components": document["components"]}
                    jsonschema.validate(json.loads(each), schema)


async def test_every_reference_leads_somewhere(database: str) -> None:
    async with running_hub(database) as hub:
        document = await read(hub)
    for reference in references(document):
        assert resolved(document, {"$ref": reference}), reference


async def test_the_closes_are_those_of_the_page(database: str) -> None:
    async with running_hub(database) as hub:
        closes = (await read(hub))["channels"]["refinement"]["x-close-codes"]
    rows = re.findall(r"^\| ([0-9, ]+) \|", (DOCS / "reference" / "streams.md").read_text(), re.MULTILINE)
    assert [each["code"] for each in closes] == [int(code) for row in rows for code in row.split(",")]


@pytest.mark.parametrize("limit", ["1048576", "0"])
async def test_parameters_that_the_document_allows_are_taken(database: str, limit: str) -> None:
    async with running_hub(database) as hub:
        query = (await read(hub))["channels"]["refinement"]["bindings"]["ws"]["query"]["properties"]
        jsonschema.validate(int(limit), query["max_message_bytes"])
        async with hub.client() as client:
            started = await start(client, "[[replay:short_run]]")
        address = f"{hub.http}/api/ws/refinements/{started['thread_id']}?max_message_bytes={limit}&after=0"
        assert [each async for each in socket_messages(address, hub.token(), "ideo.v1")]
