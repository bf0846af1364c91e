"""What a LangGraph server sends in the streams of its runs."""

from __future__ import annotations

import asyncio
from asyncio import StreamWriter
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Protocol

from tests.hostile.attacks.attack import Aim, Attack, Family
from tests.hostile.attacks.frames import play

FAMILY = Family("streams of a LangGraph server")
#: A stream of which the end does not come.
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
#: Events, or comments, that differ, and those that are sent at once; how many runs there are at a time.
EVENTS, AT_ONCE, RUNS = 20_000, 500, 49
#: What comes of an event that does not end: nearly as much as one may have.
_HALF = b"id: 5-0\ndata: " + b"x" * (15 << 20)


class Harm(Protocol):
    """What the server sends in a stream. again: whether the hub asks for what came under an id."""

    async def __call__(self, writer: StreamWriter, *, again: bool) -> None: ...


def _without_end(made: Callable[[int], bytes]) -> Harm:
    # Made before they are sent: other users' runs would wait for the server, and not for the hub.
    pieces = [b"".join(map(made, range(start, start + AT_ONCE))) for start in range(0, EVENTS, AT_ONCE)]

    async def send(writer: StreamWriter, *, again: bool) -> None:
        writer.write(HEAD)
        for piece in cycle(pieces):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return send


def _event(milliseconds: int, number: int) -> bytes:
    return b"id: %d-0\nevent: metadata\ndata: [%d]\n\n" % (milliseconds, number)


async def _half(writer: StreamWriter, *, again: bool) -> None:
    writer.write(HEAD + (_HALF if again else 2 * _event(5, 0)))
    await asyncio.Event().wait()


#: By what a prompt names.
HARM: Mapping[str, Harm] = {
    "comments": _without_end(lambda number: b": a comment of a stream\n\n"),
    "one-id": _without_end(lambda number: _event(5, number)),
    "ids-that-go-back": _without_end(lambda number: _event(9 - number % 2, number)),
    "half-events": _half,
}
_WHAT: Mapping[str, str] = {
    "comments": "49 runs whose streams send comments without end.",
    "one-id": "49 runs whose streams send events without end, all with one id.",
    "ids-that-go-back": "49 runs whose streams send events without end, with ids of which every second one "
    "goes back.",
    "half-events": "49 runs whose streams repeat an event; asked what came under its id, the server sends an "
    "event of 15 MiB that does not end.",
}


def _attack(name: str) -> Attack:
    async def run(aim: Aim) -> str:
        return await play(aim, name, at_once=RUNS, max_runs=RUNS)

    settings = {"IDEO_RUNTIME_KIND": "langgraph-server", "IDEO_MAX_CREATES_PER_MINUTE": "0"}
    return Attack(f"streams-of-{name}", _WHAT[name], run, settings=settings, plays=(name,))


FAMILY.attacks += [_attack(name) for name in HARM]
