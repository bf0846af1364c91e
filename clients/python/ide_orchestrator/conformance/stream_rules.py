"""Rules of following: the same events in every way, from any cursor, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ide_orchestrator.conformance.projections import agui_events, legacy_frames, seq_of
from ide_orchestrator.conformance.rule import Rule
from ide_orchestrator.conformance.scenario import Run, Scenario
from ide_orchestrator.conformance.target import Broken, Target, expect, expect_same
from ide_orchestrator.conformance.transports import TYPED, code_of
from ide_orchestrator.v1.event_pb2 import Event

_NOTHING = "00000000-0000-4000-8000-000000000000"
#: A token that no hub has issued.
_NO_TOKEN = "not-a-token"  # noqa: S105 (not a secret)
_LEGACY, _AGUI = "websocket-legacy", "agui"
_WORDS = {way: words for way, (words, _) in TYPED.items()} | {
    _LEGACY: "over WebSocket without a subprotocol",
    _AGUI: "as AG-UI",
}


async def _order(scenario: Scenario) -> None:
    run = scenario.run
    expect_same([event.seq for event in run.events], list(range(1, run.last_seq + 1)), "the seq of event")
    ends = [event.seq for event in run.events if event.HasField("terminal")]
    expect(ends, [run.last_seq], "the list of terminal events")
    epochs = [event.epoch for event in run.events]
    expect_same(epochs, sorted(epochs), "the epoch of event")
    found = await scenario.hub.refinement(run.thread_id)
    expect(found["last_seq"], run.last_seq, "last_seq of the refinement")
    expect(found["status"], run.proposal["status"], "the status of the refinement")


def _check_events(found: list[Event], expected: list[Event]) -> None:
    expect_same([event.seq for event in found], [event.seq for event in expected], "the seq of event")
    for event, other in zip(found, expected, strict=True):
        if event != other:
            raise Broken(f"event {event.seq} differs from that of most other transports")


async def _live(way: str, scenario: Scenario) -> None:
    found = scenario.run.live[way]
    if isinstance(found, Exception):
        raise found
    _check_events(found, scenario.run.events)


def _cursors(last: int) -> list[int]:
    """Places to go on from: the beginning, both sides of the middle, and the end."""
    return sorted({0, last // 2, last // 2 + 1, last - 1, last})


async def _resume(way: str, scenario: Scenario) -> None:
    run, (_, follow) = scenario.run, TYPED[way]
    for after in _cursors(run.last_seq):
        found = [event async for event in follow(scenario.target, run.thread_id, after)]
        try:
            _check_events(found, run.events[after:])
        except Broken as wrong:
            raise Broken(f"after the cursor {after}: {wrong}") from None


async def _resume_legacy(scenario: Scenario) -> None:
    run = scenario.run
    whole = [frame async for frame in legacy_frames(scenario.target, run.thread_id, 0)]
    if not whole:
        raise Broken("there are no frames")
    seqs = [frame["seq"] for frame in whole]
    expect_same(seqs, sorted(set(seqs)), "the seq of frame")
    for event in run.events:
        if event.HasField("token") or event.HasField("upstream_frame"):
            expect(event.seq in seqs, True, f"whether event {event.seq} has a frame")
    for after in _cursors(run.last_seq):
        found = [frame async for frame in legacy_frames(scenario.target, run.thread_id, after)]
        rest = [frame for frame in whole if frame["seq"] > after]
        expect_same(found, rest, f"after the cursor {after}, frame")


async def _resume_agui(scenario: Scenario) -> None:
    run = scenario.run
    whole = [item async for item in agui_events(scenario.target, run.workflow_id, run.thread_id)]
    kinds = [event["type"] for _, event in whole]
    expect(kinds[:1], ["RUN_STARTED"], "the first event")
    expect(kinds[-1:] in (["RUN_FINISHED"], ["RUN_ERROR"]), True, "whether the last event ends the run")
    ids = [seq_of(item_id) for item_id, _ in whole]
    expect_same(ids, sorted(ids), "the id of event")
    expect(len({item_id for item_id, _ in whole}), len(whole), "the number of different ids")
    expect(whole[-1][0], str(run.last_seq), "the id of the last event")
    for place in (1, len(whole) // 2, len(whole) - 1):
        last_id = whole[place - 1][0]
        rest = [item async for item in agui_events(scenario.target, run.workflow_id, run.thread_id, last_id)]
        expect_same(rest, whole[place:], f"after the id {last_id}, event")


def _opened(way: str, target: Target, run: Run, thread_id: str, after: int) -> AsyncGenerator[Any, None]:
    if way == _LEGACY:
        return legacy_frames(target, thread_id, after)
    if way == _AGUI:
        return agui_events(target, run.workflow_id, thread_id, str(after) if after else "")
    return TYPED[way][1](target, thread_id, after)


async def _past_the_end(way: str, scenario: Scenario) -> None:
    run = scenario.run
    code = await code_of(_opened(way, scenario.target, run, run.thread_id, run.last_seq + 1))
    expect(code, "cursor_out_of_range", "the code")


async def _without_a_token(way: str, scenario: Scenario) -> None:
    run = scenario.run
    for token in ("", _NO_TOKEN):
        target = replace(scenario.target, token=token)
        code = await code_of(_opened(way, target, run, run.thread_id, 0))
        expect(code, "unauthenticated", "the code")


async def _of_nothing(way: str, scenario: Scenario) -> None:
    # A WebSocket does not tell what does not exist from what others own.
    code = await code_of(_opened(way, scenario.target, scenario.run, _NOTHING, 0))
    expect(code, "permission_denied" if way.startswith("websocket") else "not_found", "the code")


async def _disconnect(way: str, scenario: Scenario) -> None:
    """Ten connections, each of which is given up in the middle of the run."""
    run, (_, follow) = scenario.run, TYPED[way]
    found: list[Event] = []
    step = max(1, run.last_seq // 10)
    while not (found and found[-1].HasField("terminal")):
        events = follow(scenario.target, run.thread_id, found[-1].seq if found else 0)
        due = len(found) + step
        async for event in events:
            found.append(event)
            if len(found) >= due:
                break
        await events.aclose()
        if len(found) < due and not (found and found[-1].HasField("terminal")):
            raise Broken(f"a connection ended after event {found[-1].seq if found else 0}")
    _check_events(found, run.events)


def stream_rules() -> Iterator[Rule]:
    """The rules of this module."""
    yield Rule(
        "order",
        "The events of a run are numbered from 1 without gaps, and one terminal event is last",
        _order,
    )
    for way, words in _WORDS.items():
        grpc = way.startswith("grpc") and way != "grpc-web"
        if way in TYPED:
            yield Rule(
                f"live.{way}",
                f"A reader {words} that follows a run from its start gets each event once, in order",
                partial(_live, way),
                grpc=grpc,
                live=way,
            )
        check = {_LEGACY: _resume_legacy, _AGUI: _resume_agui}.get(way) or partial(_resume, way)
        yield Rule(
            f"resume.{way}",
            f"A reader {words} continues at any cursor with the event after it",
            check,
            grpc=grpc,
        )
    for way in ("websocket-binary", "sse", "connect-proto", "grpc"):
        yield Rule(
            f"cut.{way}",
            f"A reader {_WORDS[way]} whose connection is cut ten times gets each event once",
            partial(_disconnect, way),
            grpc=way == "grpc",
        )
    for way, words in _WORDS.items():
        grpc = way.startswith("grpc") and way != "grpc-web"
        yield Rule(
            f"cursor.{way}",
            f"A cursor past the end is refused {words} as cursor_out_of_range",
            partial(_past_the_end, way),
            grpc=grpc,
        )
        yield Rule(
            f"token.{way}",
            f"A reader {words} without a valid token is refused as unauthenticated",
            partial(_without_a_token, way),
            grpc=grpc,
        )
        if way != _AGUI:  # where an unknown thread starts a run
            yield Rule(
                f"unknown.{way}",
                f"An unknown refinement is refused {words}",
                partial(_of_nothing, way),
                grpc=grpc,
            )
