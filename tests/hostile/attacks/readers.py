"""Readers that stop, or come all at once: what goes out must be bounded for all of them together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import cycle

import httpx
from google.protobuf.message import Message

from server.wire import messages as m
from tests.hostile.attacks import http2
from tests.hostile.attacks.attack import Aim, Family, ask_on, told
from tests.hostile.attacks.frames import play
from tests.hostile.attacks.http2 import connection, message
from tests.hostile.attacks.sockets import SMALL_BUFFER, event_stream, head, holding, stopped, upgrade
from tests.support.client import Client, StreamEnded

FAMILY = Family("readers that stop, and many that read")
#: Calls of a connection whose window is closed.
CALLS = 50
#: A slow reader takes so many bytes every so many seconds.
SLOW_BYTES, SLOW_S = 40 << 10, 2.0


def _afters(aim: Aim, run: str, count: int) -> list[int]:
    """Cursors of that many readers, each at another place."""
    return [number % aim.stored[run].events for number in range(count)]


async def _sockets(aim: Aim, run: str, subprotocol: str | None) -> str:
    thread_id = aim.stored[run].thread_id
    requests = [upgrade(thread_id, aim.token, subprotocol, after) for after in _afters(aim, run, 60)]
    return await stopped(aim.http, requests, aim.seconds)


@FAMILY.attack(reads=("large",))
async def stopped_sockets_json(aim: Aim) -> str:
    """60 WebSockets in JSON of a run with events of 10 MB, that read nothing."""
    return await _sockets(aim, "large", "ideo.v1")


@FAMILY.attack(reads=("large",))
async def stopped_sockets_protobuf(aim: Aim) -> str:
    """60 WebSockets in protobuf of a run with events of 10 MB, that read nothing."""
    return await _sockets(aim, "large", "ideo.v1.proto")


@FAMILY.attack(reads=("large",))
async def stopped_sockets_legacy(aim: Aim) -> str:
    """60 WebSockets with legacy frames of a run with events of 10 MB, that read nothing."""
    return await _sockets(aim, "large", None)


@FAMILY.attack(reads=("mebibytes",))
async def stopped_sockets_legacy_of_small_files(aim: Aim) -> str:
    """60 WebSockets with legacy frames of a run with 60 events of 1 MiB, that read nothing."""
    return await _sockets(aim, "mebibytes", None)


@FAMILY.attack(reads=("large",))
async def stopped_event_streams(aim: Aim) -> str:
    """60 SSE streams of a run with events of 10 MB, that read nothing."""
    run = aim.stored["large"]
    requests = [event_stream(run.thread_id, aim.token, after) for after in _afters(aim, "large", 60)]
    return await stopped(aim.http, requests, aim.seconds)


async def _gets(aim: Aim, paths: Sequence[str]) -> str:
    return await stopped(aim.http, [head(path, aim.token) for path in paths], aim.seconds)


@FAMILY.attack(reads=("large", "mebibytes"))
async def stopped_pages(aim: Aim) -> str:
    """80 pages of 1,000 events of 10 MB and 1 MiB, that nobody reads."""
    paths = [
        f"/api/refinements/{aim.stored[run].thread_id}/events?limit=1000&after={after}"
        for run in ("large", "mebibytes")
        for after in _afters(aim, run, 40)
    ]
    return await _gets(aim, paths)


@FAMILY.attack(reads=("mebibytes",))
async def stopped_proposals(aim: Aim) -> str:
    """100 proposals of 12 MiB of files, that nobody reads."""
    return await _gets(aim, [f"/api/proposals/{aim.stored['mebibytes'].proposal_id}"] * 100)


@FAMILY.attack(reads=("mebibytes",))
async def stopped_files(aim: Aim) -> str:
    """200 files of 1 MiB, that nobody reads."""
    run = aim.stored["mebibytes"]
    return await _gets(aim, [f"/api/proposals/{run.proposal_id}/files/{run.sha256}"] * 200)


@FAMILY.attack()
async def stopped_lists(aim: Aim) -> str:
    """100 lists of 40 workflows with definitions of 200 KB, that nobody reads."""
    definition = {f"k{number}": "ñ" * 1000 for number in range(100)}
    async with aim.client() as http:
        for number in range(40):
            await http.post("/api/workflows", json={"name": f"w{number}", "agent_definition": definition})
    return await _gets(aim, ["/api/workflows?limit=200"] * 100)


async def _calls(aim: Aim, path: str, requests: Sequence[Message]) -> str:
    """Calls whose window is closed: no byte of an answer can be sent."""
    async with AsyncExitStack() as stack:
        held = []
        for first in range(0, len(requests), CALLS):
            made = await stack.enter_async_context(connection(aim.grpc, window=0))
            for request in requests[first : first + CALLS]:
                made.call(path, aim.token, message(request.SerializeToString()), ends=True)
            await made.drain()
            held.append(made)
        await asyncio.sleep(aim.seconds)
        ended, closed = sum(len(each.ended) for each in held), sum(each.closed_s is not None for each in held)
        return f"{len(requests)} calls, {ended} ended, {closed} of {len(held)} connections closed by the hub"


@FAMILY.attack(reads=("names",))
async def stopped_archives(aim: Aim) -> str:
    """60 archives of 5,000 files with long paths, that nobody reads."""
    return await _gets(aim, [f"/api/proposals/{aim.stored['names'].proposal_id}/archive"] * 60)


@FAMILY.attack(reads=("large",))
async def stopped_watches(aim: Aim) -> str:
    """100 gRPC watches of a run with events of 10 MB, half of them of whole events, that read nothing."""
    run = aim.stored["large"]
    requests = [
        m.WatchRefinementRequest(thread_id=run.thread_id, after_seq=after, max_event_bytes=whole)
        for after in _afters(aim, "large", 50)
        for whole in (0, 16 << 20)
    ]
    return await _calls(aim, http2.WATCH, requests)


@FAMILY.attack(reads=("mebibytes",))
async def stopped_event_pages(aim: Aim) -> str:
    """200 gRPC pages of events of 1 MiB, that nobody reads."""
    run = aim.stored["mebibytes"]
    requests = [
        m.ListEventsRequest(thread_id=run.thread_id, after_seq=after, limit=1000)
        for after in _afters(aim, "mebibytes", 200)
    ]
    return await _calls(aim, f"{http2.SERVICE}RefinementService/ListEvents", requests)


@FAMILY.attack(reads=("large", "mebibytes"))
async def stopped_pieces(aim: Aim) -> str:
    """gRPC reads of 40 whole events, 100 proposals and 100 files, that nobody reads."""
    large, small = aim.stored["large"], aim.stored["mebibytes"]
    kinds: list[tuple[str, Callable[[int], Message], int]] = [
        (
            f"{http2.SERVICE}RefinementService/ReadEvent",
            lambda number: m.ReadEventRequest(thread_id=large.thread_id, seq=2 + number % (large.events - 2)),
            40,
        ),
        (http2.GET_PROPOSAL, lambda _: m.GetProposalRequest(proposal_id=small.proposal_id), 100),
        (
            f"{http2.SERVICE}ProposalService/ReadFile",
            lambda _: m.ReadFileRequest(proposal_id=small.proposal_id, sha256=small.sha256),
            100,
        ),
    ]
    found = await asyncio.gather(
        *(_calls(aim, path, [ask(number) for number in range(count)]) for path, ask, count in kinds)
    )
    return "; ".join(found)


@FAMILY.attack(reads=("large", "mebibytes"))
async def slow_readers(aim: Aim) -> str:
    """60 readers, in every form, take 40 KiB every two seconds."""
    large, small = aim.stored["large"], aim.stored["mebibytes"]
    forms: list[Callable[[int], bytes]] = [
        lambda after: upgrade(large.thread_id, aim.token, "ideo.v1", after),
        lambda after: upgrade(large.thread_id, aim.token, "ideo.v1.proto", after),
        lambda after: upgrade(large.thread_id, aim.token, None, after),
        lambda after: event_stream(large.thread_id, aim.token, after),
        lambda _: head(f"/api/proposals/{small.proposal_id}", aim.token),
    ]
    requests = [form(after) for form, after in zip(cycle(forms), _afters(aim, "large", 60), strict=False)]
    async with holding(aim.http, requests, buffer=SMALL_BUFFER) as made:
        until = time.monotonic() + aim.seconds
        while time.monotonic() < until:
            for each in made:
                with suppress(OSError):
                    each.recv(SLOW_BYTES)
            await asyncio.sleep(SLOW_S)
    return "60 readers"


async def _readers(aim: Aim, way: str, thread_id: str, afters: Sequence[int]) -> str:
    """Readers that take everything, until time is over."""
    ends: Counter[str] = Counter()

    async def one(after: int) -> None:
        try:
            async with asyncio.timeout(aim.seconds):
                async for _ in Client(aim, aim.token).follow(way, thread_id, after):
                    pass
            ends["complete"] += 1
        except TimeoutError:
            ends["not complete"] += 1
        except (StreamEnded, OSError, httpx.HTTPError) as error:
            ends[str(error) or type(error).__name__] += 1

    await asyncio.gather(*map(one, afters))
    return ", ".join(f"{count} {how}" for how, count in ends.most_common())


@FAMILY.attack(reads=("long",))
async def readers_in_json(aim: Aim) -> str:
    """50 readers in JSON of a finished run with 50,000 events, all from the first."""
    return await _readers(aim, "ws-json", aim.stored["long"].thread_id, [0] * 50)


@FAMILY.attack(reads=("long",))
async def readers_of_agui(aim: Aim) -> str:
    """50 AG-UI clients that follow a finished run with 50,000 events, again and again, half of them from near
    its end."""
    run, until, ends = aim.stored["long"], time.monotonic() + aim.seconds, Counter[int]()
    body = {"threadId": run.thread_id, "runId": "r", "messages": [], "tools": [], "context": [], "state": {}}

    async def one(http: httpx.AsyncClient, number: int) -> None:
        headers = {"Last-Event-ID": str(run.events - 20)} if number % 2 else {}
        path = f"/api/workflows/{run.workflow_id}/agui"
        while (left_s := until - time.monotonic()) > 0:
            with suppress(httpx.HTTPError, TimeoutError):
                async with (
                    asyncio.timeout(left_s),
                    http.stream("POST", path, json=body, headers=headers) as answer,
                ):
                    ends[answer.status_code] += 1
                    async for _ in answer.aiter_raw():
                        pass

    async with aim.client() as http:
        await asyncio.gather(*(one(http, number) for number in range(50)))
    return told(ends)


@FAMILY.attack(reads=("lines", "more-lines"))
async def readers_of_comparisons(aim: Aim) -> str:
    """20 readers of the difference between two files of 7 million empty lines, without end."""
    lines, more = aim.stored["lines"], aim.stored["more-lines"]
    path = f"/api/proposals/{lines.proposal_id}/diff?other_proposal_id={more.proposal_id}"
    async with aim.client() as http:
        return told(await ask_on(20, aim.seconds, lambda: http.get(path)))


@FAMILY.attack(reads=("many",))
async def readers_of_histories(aim: Aim) -> str:
    """50 readers of the files that a run of 100,000 had, without end."""
    path = f"/api/refinements/{aim.stored['many'].thread_id}"
    asks = cycle([f"{path}/files?limit=1", f"{path}/files/{'0' * 64}", f"{path}/blame?path=/d1/f1.md"])
    async with aim.client() as http:
        return told(await ask_on(50, aim.seconds, lambda: http.get(next(asks))))


@FAMILY.attack(reads=("long",))
async def readers_that_come_late(aim: Aim) -> str:
    """100 readers of legacy frames come back near the end of a run with 50,000 events."""
    run = aim.stored["long"]
    return await _readers(aim, "ws-legacy", run.thread_id, [run.events - 20] * 100)


@FAMILY.attack(reads=("mebibytes",))
async def readers_of_legacy_frames(aim: Aim) -> str:
    """40 readers of legacy frames of a run with 60 events of 1 MiB, who read all."""
    return await _readers(aim, "ws-legacy", aim.stored["mebibytes"].thread_id, [0] * 40)


@FAMILY.attack(plays=("windows",), settings={"IDEO_MAX_ACTIVE_RUNS": "0"})
async def readers_of_many_runs(aim: Aim) -> str:
    """40 runs at a time, with 5.6 MiB of events each, the newest of them followed."""
    following = asyncio.ensure_future(_follow_newest(aim))
    try:
        return await play(aim, "windows", at_once=40, max_runs=80)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow_newest(aim: Aim) -> None:
    seen: set[str] = set()
    async with (
        aim.client() as http,
        asyncio.TaskGroup() as group,
    ):
        while True:
            with suppress(httpx.HTTPError, KeyError):
                for each in (await http.get("/api/proposals?limit=100")).json()["items"]:
                    if each["thread_id"] not in seen:
                        seen.add(each["thread_id"])
                        group.create_task(_readers(aim, "ws-proto", each["thread_id"], [0]))
            await asyncio.sleep(0.2)
