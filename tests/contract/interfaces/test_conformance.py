"""The check of a hub from outside: a right hub passes it, a wrong one fails the rule that it breaks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio

from ide_orchestrator.client import Unavailable
from ide_orchestrator.conformance import RULES, Result, Rule, Target, check, line_of, select
from ide_orchestrator.conformance.checking import tried
from ide_orchestrator.conformance.codes import CODES
from ide_orchestrator.conformance.scenario import Scenario
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.proposal_pb2 import GetProposalResponse
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse
from server.wire.problems import ROWS
from tests.contract.interfaces.rewriting import Changes, rewriting_proxy
from tests.support.hub import RunningHub, running_hub

PROMPT = "[[replay:short_run]]"
WATCH, PROPOSAL = "/WatchRefinement", "/GetProposal"
Batch = Callable[[list[Any]], list[Any]]


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, max_creates_per_minute=10_000) as running:
        yield running


async def results(
    hub: RunningHub, changes: Changes, only: Iterable[str] = (), rule_s: float = 60
) -> list[Result]:
    """What the rules give for the hub as the changes make it."""
    async with rewriting_proxy(hub.http, hub.grpc, changes) as proxy:
        target = Target(proxy.http, hub.token(), proxy.grpc, hub.token("eve@example.com"))
        checked = check(target, tuple(only), prompt=PROMPT, rule_s=rule_s)
        return [result async for result in checked]


# --- Wrong hubs ------------------------------------------------------------------------------------


class JsonEvents(Changes):
    """Other events in JSON messages of one kind, at addresses that have the text."""

    def __init__(self, kind: str, at: str, change: Batch) -> None:
        self._kind, self._at, self._change = kind, at, change

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        if kind != self._kind or self._at not in path or not unit.startswith((b"{", b"[")):
            return (unit,)
        value = json.loads(unit)
        if isinstance(value, list):
            value = self._change(value)
        elif "items" in value:
            value["items"] = self._change(value["items"])
        elif "batch" in value:
            value["batch"]["events"] = self._change(value["batch"]["events"])
        return (json.dumps(value).encode(),)


class BinaryEvents(Changes):
    """Other events in binary messages of one kind."""

    def __init__(self, kind: str, change: Batch) -> None:
        self._kind, self._change = kind, change

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        if kind != self._kind or not ("/ws/" in path or path.endswith(WATCH)):
            return (unit,)
        message = WatchRefinementResponse.FromString(unit)
        if message.HasField("batch"):
            events = self._change(list(message.batch.events))
            del message.batch.events[:]
            message.batch.events.extend(events)
        return (message.SerializeToString(),)


class Text(Changes):
    """Another text in units of one kind, at addresses that have a text."""

    def __init__(self, kind: str, at: str, old: bytes, new: bytes) -> None:
        self._kind, self._at, self._old, self._new = kind, at, old, new

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        wrong = kind == self._kind and self._at in path
        return (unit.replace(self._old, self._new) if wrong else unit,)


class Dropped(Changes):
    """Without the units of one kind that have a text."""

    def __init__(self, kind: str, at: str, text: bytes) -> None:
        self._kind, self._at, self._text = kind, at, text

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        return () if kind == self._kind and self._at in path and self._text in unit else (unit,)


class Header(Changes):
    """Another header in answers, or none."""

    def __init__(self, name: str, value: str | None = None, at: str = "") -> None:
        self._name, self._value, self._at = name, value, at

    def head(self, path: str, status: int, headers: dict[str, str]) -> int:
        if self._at in path and headers.pop(self._name, None) is not None and self._value is not None:
            headers[self._name] = self._value
        return status


class Status(Changes):
    """Another status of an answer."""

    def __init__(self, old: int, new: int, at: str = "") -> None:
        self._old, self._new, self._at = old, new, at

    def head(self, path: str, status: int, headers: dict[str, str]) -> int:
        return self._new if status == self._old and self._at in path else status


class Ask(Changes):
    """Another header of requests, or none: the hub does what nobody asked for."""

    def __init__(self, name: str, value: str | None = None, *, always: bool = False) -> None:
        self._name, self._value, self._always = name, value, always

    def request(self, path: str, headers: dict[str, str]) -> str:
        had = headers.pop(self._name, None)
        if self._value is not None and (had is not None or self._always):
            headers[self._name] = self._value
        return path


class OffByOne(Changes):
    """Pages begin with the event of the cursor."""

    def request(self, path: str, headers: dict[str, str]) -> str:
        head, found, rest = path.partition("/events?after=")
        after, _, more = rest.partition("&")
        return f"{head}{found}{max(int(after) - 1, 0)}&{more}" if "limit=" in more else path


class Close(Changes):
    """Another end of WebSockets."""

    def __init__(self, code: int | None) -> None:
        self._code = code

    def close(self, path: str, code: int) -> int | None:
        return self._code if code == 1000 else code


class GrpcStatus(Changes):
    """Another status of calls over gRPC."""

    def status(self, path: str, code: grpc.StatusCode) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL if code is grpc.StatusCode.NOT_FOUND else code


class GrpcFile(Changes):
    """One byte of a file is another over gRPC."""

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        if kind != "grpc" or not path.endswith(PROPOSAL):
            return (unit,)
        answer = GetProposalResponse.FromString(unit)
        for file in answer.proposal.generated_files[:1]:
            file.text = "~" + file.text[1:]
        return (answer.SerializeToString(),)


class LegacyFiles(Changes):
    """The files of legacy frames have another line."""

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        frame = json.loads(unit) if kind == "ws" and unit.startswith(b'{"event_type"') else {}
        if not frame.get("data", {}).get("files"):
            return (unit,)
        for file in frame["data"]["files"].values():
            file["content"].append("another line")
        return (json.dumps(frame).encode(),)


class Byte(Changes):
    """One byte of a body is another."""

    def __init__(self, at: str) -> None:
        self._at = at

    def unit(self, kind: str, path: str, unit: bytes) -> Iterable[bytes]:
        if kind != "body" or self._at not in path:
            return (unit,)
        place = len(unit) // 3
        return (unit[:place] + bytes([unit[place] ^ 1]) + unit[place + 1 :],)


def seq(event: Any) -> int:
    return int(event.seq if isinstance(event, Event) else event["seq"])


def without_17(events: list[Any]) -> list[Any]:
    return [event for event in events if seq(event) != 17]


def with_17_twice(events: list[Any]) -> list[Any]:
    return [each for event in events for each in ([event, event] if seq(event) == 17 else [event])]


def with_17_behind_18(events: list[Any]) -> list[Any]:
    """In the order of their numbers, however few of them come together."""
    swapped = {17: 18, 18: 17}
    for event in events:
        event.seq = swapped.get(event.seq, event.seq)
    return events


def in_epoch_2(events: list[Any]) -> list[Any]:
    for event in events:
        if isinstance(event, Event):
            event.epoch = 2
        else:
            event["epoch"] = 2
    return events


@dataclass(frozen=True)
class Wrong:
    """A wrong hub: the rules that are tried, and those that fail of them."""

    name: str
    changes: Changes
    only: tuple[str, ...]
    fails: frozenset[str]
    rule_s: float = 60


def wrong(name: str, changes: Changes, only: str, fails: str, rule_s: float = 60) -> Wrong:
    return Wrong(name, changes, tuple(only.split()), frozenset(fails.split()), rule_s)


WRONG_HUBS = (
    wrong(
        "drops an event over WebSocket with JSON",
        JsonEvents("ws", "/ws/", without_17),
        "order resume.websocket-* live.websocket-*",
        "live.websocket-json resume.websocket-json",
    ),
    wrong(
        "doubles an event over WebSocket with binary messages",
        BinaryEvents("ws", with_17_twice),
        "resume.websocket-binary cut.websocket-binary resume.sse",
        "resume.websocket-binary cut.websocket-binary",
    ),
    wrong(
        "reorders events over gRPC",
        BinaryEvents("grpc", with_17_behind_18),
        "live.grpc resume.grpc resume.grpc-pages",
        "live.grpc resume.grpc",
    ),
    wrong(
        "changes events over Connect",
        BinaryEvents("envelope", in_epoch_2),
        "resume.connect-proto resume.grpc order",
        "resume.connect-proto",
    ),
    wrong(
        "drops an event from durable streams",
        JsonEvents("body", "/stream?", without_17),
        "resume.durable resume.durable-sse resume.pages",
        "resume.durable",
    ),
    wrong(
        "repeats the event of the cursor",
        OffByOne(),
        "resume.pages cursor.pages resume.sse",
        "resume.pages cursor.pages",
    ),
    wrong(
        "begins streams without a hello",
        Dropped("ws", "/ws/", b'{"hello"'),
        "resume.websocket-json resume.websocket-binary",
        "resume.websocket-json",
    ),
    wrong(
        "ends WebSockets as broken",
        Close(1011),
        "resume.websocket-binary resume.websocket-legacy resume.sse",
        "resume.websocket-binary resume.websocket-legacy",
    ),
    wrong(
        "does not end WebSockets", Close(None), "resume.websocket-json resume.sse", "resume.websocket-json", 5
    ),
    wrong(
        "gives server-sent events other ids",
        Text("sse", "/events", b"id: 17", b"id: 71"),
        "headers.sse resume.sse",
        "headers.sse",
    ),
    wrong(
        "gives AG-UI's events no ids",
        Text("sse", "/agui", b"id: ", b"no: "),
        "resume.agui files.agui resume.sse",
        "resume.agui files.agui",
    ),
    wrong(
        "changes the code of a refusal",
        Text("body", "/api/workflows/", b'"not_found"', b'"conflict"'),
        "refusals.rest unknown.pages",
        "refusals.rest",
    ),
    wrong(
        "changes the status of a refusal",
        Status(404, 403),
        "unknown.pages unknown.grpc",
        "unknown.pages",
    ),
    wrong(
        "changes the status of calls over gRPC",
        GrpcStatus(),
        "unknown.grpc unknown.sse",
        "unknown.grpc",
    ),
    wrong(
        "has problems without a trace id",
        Text("body", "/api/", b'"trace_id"', b'"trace"'),
        "unknown.pages headers",
        "unknown.pages headers.answers",
    ),
    wrong("changes a byte of a file", Byte("/files/"), "files.rest files.grpc", "files.rest"),
    wrong("changes a byte of a file over gRPC", GrpcFile(), "files.rest files.grpc", "files.grpc"),
    wrong(
        "changes a file in legacy frames",
        LegacyFiles(),
        "files.rest files.websocket-legacy",
        "files.websocket-legacy",
    ),
    wrong(
        "changes a byte of the archive",
        Byte("/archive"),
        "archive",
        "archive.rest archive.grpc archive.connect-json archive.connect-proto archive.grpc-web",
    ),
    wrong("omits Location", Header("location"), "start headers", "start"),
    wrong("gives another ETag", Header("etag", '"1-0"', "/api/proposals/"), "start headers", "headers.etag"),
    wrong("omits nosniff", Header("x-content-type-options"), "start headers", "headers.answers"),
    wrong(
        "does not say that a stream is closed",
        Header("stream-closed"),
        "headers resume.durable resume.durable-sse",
        "headers.durable resume.durable",
    ),
    wrong("sends what the caller has", Ask("if-none-match"), "headers", "headers.durable"),
    wrong(
        "starts twice with one key",
        Ask("idempotency-key"),
        "repeat",
        "repeat.rest repeat.grpc repeat.connect-json repeat.connect-proto repeat.grpc-web",
    ),
    wrong(
        "says that another status ended the run",
        Text("body", "/api/refinements/", b'"completed"', b'"failed"'),
        "order resume.pages",
        "order",
    ),
)


@pytest.mark.timeout(600)
async def test_a_right_hub_passes_every_rule_also_behind_a_proxy(hub: RunningHub) -> None:
    found = await results(hub, Changes())
    assert [line_of(each, 0) for each in found if each.outcome != "passed"] == []
    assert {result.rule for result in found} == {rule.name for rule in RULES} | {"run"}


@pytest.mark.timeout(600)
async def test_every_wrong_hub_fails_the_rules_that_it_breaks_and_no_others(hub: RunningHub) -> None:
    async def tried(seeded: Wrong) -> str:
        found = await results(hub, seeded.changes, seeded.only, seeded.rule_s)
        failed = {result.rule for result in found if result.outcome == "failed"}
        assert all(result.detail for result in found if result.outcome != "passed")
        shown = "\n".join(line_of(result, 0) for result in found if result.outcome != "passed")
        return "" if failed == seeded.fails else f"{seeded.name}: failed {sorted(failed)}\n{shown}"

    unexpected = [await tried(seeded) for seeded in WRONG_HUBS]
    assert not any(unexpected), "\n".join(filter(None, unexpected))


async def test_rules_for_which_the_hub_admits_too_few_creations_are_skipped(database: str) -> None:
    waits: list[float] = []

    async def pause(wait_s: float) -> None:
        waits.append(wait_s)

    only = ["repeat", "refusals", "precondition", "accept"]
    async with running_hub(database, max_creates_per_minute=20) as limited:
        target = Target(limited.http, limited.token(), limited.grpc)
        found = [each async for each in check(target, only, prompt=PROMPT, pause=pause)]
    assert [line_of(each, 0) for each in found if each.outcome == "failed"] == []
    skipped = [each.detail for each in found if each.outcome == "skipped"]
    assert skipped
    assert all(detail.startswith("the hub's limit was reached (") for detail in skipped)
    assert max(waits) <= 60


async def webhooks_of(hub: RunningHub) -> list[Any]:
    async with hub.client() as client:
        return [webhook async for webhook in client.items("/api/webhooks")]


async def test_a_hub_whose_operator_allows_private_receivers_fails_nothing_and_keeps_no_webhook(
    database: str,
) -> None:
    allowed = ("127.0.0.0/8", "10.0.0.0/8", "receiver.example")
    async with running_hub(database, max_creates_per_minute=0, webhook_allowed_hosts=allowed) as hub:
        found = await results(hub, Changes(), ["refusals"])
        assert await webhooks_of(hub) == []
    assert {each.outcome for each in found if each.rule != "run"} == {"skipped"}
    assert all("IDEO_WEBHOOK_ALLOWED_HOSTS may allow" in each.detail for each in found if each.rule != "run")


async def test_an_allowed_address_admits_no_other_by_http(database: str) -> None:
    async with running_hub(database, max_creates_per_minute=0, webhook_allowed_hosts=("127.0.0.1",)) as hub:
        found = await results(hub, Changes(), ["refusals"])
    assert {each.outcome for each in found} == {"passed"}


async def test_what_a_hub_makes_that_should_have_refused_it_is_removed(hub: RunningHub) -> None:
    # The calls without a token are made with one.
    found = await results(hub, Ask("authorization", f"Bearer {hub.token()}", always=True), ["refusals.rest"])
    assert {each.outcome for each in found if each.rule != "run"} == {"failed"}
    assert await webhooks_of(hub) == []


async def test_a_rule_is_tried_again_after_the_time_that_the_hub_asks_for(hub: RunningHub) -> None:
    waits: list[float] = []

    async def pause(wait_s: float) -> None:
        waits.append(wait_s)

    async def limited_once(scenario: Scenario) -> None:
        if not waits:
            raise Unavailable("429: too many", code="limit_reached", retry_after_s=34)

    async def limited_for_long(scenario: Scenario) -> None:
        raise Unavailable("429: too many", code="limit_reached", retry_after_s=61)

    scenario = Scenario(Target(hub.http, hub.token()))
    again = await tried(Rule("a", "a", limited_once, run=False), scenario, 10, pause)
    late = await tried(Rule("b", "b", limited_for_long, run=False), scenario, 10, pause)
    await scenario.aclose()
    assert (again.outcome, waits) == ("passed", [34])
    assert (late.outcome, late.detail[-19:]) == ("skipped", ": try again in 61 s")


async def test_a_hub_that_takes_any_token_fails(hub: RunningHub) -> None:
    always = Ask("authorization", f"Bearer {hub.token()}", always=True)
    found = await results(hub, always, ["token", "strangers.rest", "strangers.grpc", "order"])
    outcomes = {result.rule: result.outcome for result in found}
    passed = {rule for rule, outcome in outcomes.items() if outcome == "passed"}
    assert passed == {"run", "order"}
    assert outcomes["strangers.grpc"] == outcomes["token.websocket-legacy"] == "failed"


def test_the_codes_are_those_of_the_hubs_table() -> None:
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    table = {row.code: (row.http, names[row.grpc]) for row in ROWS}
    assert {code: row for code, row in CODES.items() if row[1] is not None} == table


def test_rules_are_named_once_and_picked_by_name_group_and_pattern() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert {rule.name for rule in select(["resume.sse", "headers", "*.agui"])} == {
        "resume.sse",
        "headers.etag",
        "headers.answers",
        "headers.sse",
        "headers.durable",
        "resume.agui",
        "cursor.agui",
        "token.agui",
        "files.agui",
    }
    with pytest.raises(ValueError, match="no rule is called nonsense"):
        select(["nonsense"])
