"""Replies to an agent over HTTP, over gRPC and by command line: the same steps with the same outcomes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from google.protobuf.json_format import ParseDict

from server.wire import messages as m
from server.wire.problems import PROBLEMS
from tests.contract.interfaces.callers import both_interfaces
from tests.support.commands import Commands, Ideo
from tests.support.grpc_interface import Caller, refusal_of
from tests.support.hub import RunningHub, finished, running_hub, start

STATUSES = {row.code: str(row.http) for row in PROBLEMS.values()}
EDITED = '{"file_path": "/definition.json", "content": "{}"}'
APPROVE: dict[str, str] = {"decision": "approve"}
#: The seqs of the two questions of the recording.
FIRST, SECOND = 13, 32
#: What is replied, to which question, and the code of the refusal.
STEPS: list[tuple[int, list[dict[str, str]], str | None]] = [
    (FIRST, [APPROVE, APPROVE], "invalid_argument"),
    (FIRST, [{"decision": "respond"}], "invalid_argument"),
    (FIRST, [{"decision": "approve", "message": "Fine."}], "invalid_argument"),
    (FIRST, [{"decision": "edit", "edited_arguments": "[]"}], "invalid_argument"),
    (FIRST, [APPROVE], None),
    (FIRST, [APPROVE], "input_closed"),
    (SECOND, [{"decision": "edit", "edited_arguments": EDITED}], None),
    (SECOND, [{"decision": "reject", "message": "No."}], "input_closed"),
]


@dataclass
class Interfaces:
    """A user's ways to reply."""

    hub: RunningHub
    http: httpx.AsyncClient
    caller: Caller
    ideo: Ideo

    async def reply(
        self, interface: str, thread_id: str, seq: int, decisions: list[dict[str, str]], **named: str
    ) -> str | None:
        """Reply over an interface; the code of the refusal, by command line its HTTP status."""
        if interface == "http":
            headers = {"Idempotency-Key": named["request_id"]} if named else {}
            body = {"seq": seq, "decisions": decisions}
            path = f"/api/refinements/{thread_id}/reply"
            answer = await self.http.post(path, json=body, headers=headers)
            return str(answer.json()["code"]) if answer.is_error else None
        if interface == "grpc":
            fields = {"thread_id": thread_id, "seq": seq, "decisions": decisions, **named}
            request = ParseDict(fields, m.ReplyToInputRequest())
            try:
                await self.caller.refinements.ReplyToInput(request, metadata=self.caller.metadata)
            except grpc.aio.AioRpcError as error:
                return refusal_of(error).reason
            return None
        words = [each["decision"] for each in decisions]
        options = [
            ("--arguments", each["edited_arguments"]) for each in decisions if "edited_arguments" in each
        ]
        options += [("--message", each["message"]) for each in decisions if "message" in each]
        code, _, messages = await self.ideo(
            *("reply", thread_id, *words, "--seq", str(seq)), *(each for pair in options for each in pair)
        )
        refused = re.match(r"ideo: ([0-9]{3}): ", messages)
        return refused[1] if code and refused else messages if code else None


@pytest_asyncio.fixture
async def interfaces(database: str) -> AsyncIterator[Interfaces]:
    async with (
        running_hub(database, runtime_can_resume=True, max_creates_per_minute=0) as hub,
        both_interfaces(hub) as (http, caller),
    ):
        yield Interfaces(hub, http, caller, Commands(hub.ideo_settings).ideo)


async def waiting(hub: RunningHub, thread_id: str, seq: int) -> None:
    """Wait until the journal has the event."""
    async with hub.client() as client:
        async for message in client.messages(thread_id):
            if any(event["seq"] == seq for event in message.get("batch", {}).get("events", ())):
                return


async def test_every_interface_gives_every_reply_the_same_outcome_and_the_run_the_same_events(
    interfaces: Interfaces,
) -> None:
    histories: dict[str, Any] = {}
    async with interfaces.hub.client() as client:
        for interface in ("http", "grpc", "commands"):
            started = await start(client, "[[replay:approval]]")
            thread_id = started["thread_id"]
            for seq, decisions, expected in STEPS:
                await waiting(interfaces.hub, thread_id, seq)
                if interface == "commands" and decisions[0].get("message") == "Fine.":
                    # The command gives a message only to decisions that take one.
                    continue
                found = await interfaces.reply(interface, thread_id, seq, decisions)
                wanted = STATUSES[expected] if expected and interface == "commands" else expected
                assert found == wanted, (interface, seq, decisions)
            proposal = await finished(client, started)
            assert proposal["status"] == "completed"
            assert sorted(proposal["generated_files"]) == ["/THE_SPEC/constitution.md", "/definition.json"]
            page = await client.call("GET", f"/api/refinements/{thread_id}/events?limit=1000")
            for event in page["items"]:
                for name in ("create_time", "run_started", "terminal"):
                    event.pop(name, None)
                event.get("input_requested", {}).pop("expire_time", None)
            histories[interface] = page["items"]
    answers = [event["input_answered"] for event in histories["http"] if "input_answered" in event]
    assert [(each["seq"], each["decisions"]) for each in answers] == [
        (FIRST, ["approve"]),
        (SECOND, ["edit"]),
    ]
    assert all(history == histories["http"] for history in histories.values())


async def test_a_command_replies_to_the_last_question_with_one_decision_for_all_actions(
    interfaces: Interfaces,
) -> None:
    async with interfaces.hub.client() as client:
        started = await start(client, "[[replay:approval]]")
        for seq in (FIRST, SECOND):
            await waiting(interfaces.hub, started["thread_id"], seq)
            code, output, messages = await interfaces.ideo("reply", started["thread_id"], "approve")
            assert (code, messages) == (0, "")
            assert output.startswith("replied: ")
        assert (await finished(client, started))["status"] == "completed"
        code, _, messages = await interfaces.ideo("reply", started["thread_id"], "edit")
        assert code
        assert "--arguments" in messages


@pytest.mark.parametrize("interface", ["http", "grpc"])
async def test_a_reply_with_a_key_is_given_once(interfaces: Interfaces, interface: str) -> None:
    async with interfaces.hub.client() as client:
        started = await start(client, "[[replay:approval]]")
        await waiting(interfaces.hub, started["thread_id"], FIRST)
        for decision, expected in (("approve", None), ("approve", None), ("reject", "key_reused")):
            found = await interfaces.reply(
                interface, started["thread_id"], FIRST, [{"decision": decision}], request_id="k"
            )
            assert found == expected


@pytest.mark.parametrize("interface", ["http", "grpc", "commands"])
async def test_without_the_feature_every_interface_refuses_a_reply(database: str, interface: str) -> None:
    async with (
        running_hub(database) as hub,
        both_interfaces(hub) as (http, caller),
        hub.client() as client,
    ):
        assert "input_replies" not in (await client.call("GET", "/api/info"))["features"]
        started = await start(client, "[[replay:approval]]")
        await waiting(hub, started["thread_id"], FIRST)
        found = await Interfaces(hub, http, caller, Commands(hub.ideo_settings).ideo).reply(
            interface, started["thread_id"], FIRST, [APPROVE]
        )
        expected = "reply_unsupported"
        assert found == (STATUSES[expected] if interface == "commands" else expected)
