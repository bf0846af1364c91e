"""Ways to follow a refinement by one connection: each gives the typed events after a cursor, up to the last.

A stream that is refused, or breaks, raises HubError; one that is not as the interface says raises Broken.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc.aio
import httpx
from google.protobuf.json_format import ParseDict
from websockets.typing import Subprotocol

from ide_orchestrator.client import HubError, Unavailable, streams
from ide_orchestrator.client.http_calls import with_query
from ide_orchestrator.client.responses import problem_of
from ide_orchestrator.conformance.callers import open_channel
from ide_orchestrator.conformance.grpc_calls import check_error
from ide_orchestrator.conformance.http_calls import check_problem
from ide_orchestrator.conformance.target import Broken, Target, expect
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import (
    ListEventsRequest,
    WatchRefinementRequest,
    WatchRefinementResponse,
)
from ide_orchestrator.v1.refinement_pb2_grpc import RefinementServiceStub

#: The events of a thread after a cursor.
Follow = Callable[[Target, str, int], AsyncGenerator[Event, None]]
#: Asks for events of any size.
_WHOLE_EVENTS = 0xFFFFFFFF
#: Events on a page, and seconds that a page waits for the first one.
_PAGE, _WAIT_S = 200, 20
#: Answers without events in a row that show that a hub does not wait for them.
_EMPTY = 5


class _Progress:
    """Notices answers that do not say that they were the last, and those that do not wait for events."""

    def __init__(self) -> None:
        self._began, self._empty = time.monotonic(), 0

    def check(self, events: Sequence[Event], complete: bool) -> None:
        """Look at an answer. Raises Broken."""
        if events and events[-1].HasField("terminal") and not complete:
            raise Broken("the answer with the terminal event does not say that it is the last")
        waited, self._began = time.monotonic() - self._began, time.monotonic()
        self._empty = 0 if events or complete or waited > 0.5 else self._empty + 1
        if self._empty >= _EMPTY:
            raise Broken(
                f"{_EMPTY} answers in a row have no events, do not wait for any, and are not the last"
            )


async def _over_websocket(
    subprotocol: Subprotocol, target: Target, thread_id: str, after: int
) -> AsyncGenerator[Event, None]:
    url = f"{target.http}/api/ws/refinements/{thread_id}"
    query = {"after": after, "max_message_bytes": streams.MAX_MESSAGE_BYTES}
    messages = streams.over_websocket(
        with_query(url, query),
        target.token,
        subprotocol=subprotocol,
        ssl=target.ssl,
        use_proxy=False,
    )
    async with aclosing(_events(messages, after)) as events:
        async for event in events:
            yield event


async def _over_sse(target: Target, thread_id: str, after: int) -> AsyncGenerator[Event, None]:
    url = with_query(f"{target.http}/api/refinements/{thread_id}/events", {"after": after})
    async with target.open_http() as http:
        messages = streams.over_sse(http, url, target.token, 0)
        try:
            async with aclosing(_events(messages, after)) as events:
                async for event in events:
                    yield event
        except Unavailable as error:
            # Server-sent events end with their answer; what broke has a cause, and what was refused a status.
            if error.status or error.__cause__ is not None:
                raise


async def _over_page(target: Target, thread_id: str, after: int) -> AsyncGenerator[Event, None]:
    complete, progress = False, _Progress()
    async with target.open_http() as http:
        while not complete:
            query = {"after": after, "limit": _PAGE, "wait": _WAIT_S}
            answer = await http.get(f"/api/refinements/{thread_id}/events", params=query)
            page = answered(answer)
            events = [_event(event) for event in page["items"]]
            for event in events:
                yield event
            after, complete = page["next_cursor"], page["complete"]
            progress.check(events, complete)


async def _over_durable_pages(target: Target, thread_id: str, after: int) -> AsyncGenerator[Event, None]:
    offset, closed, progress = f"{after:010}", False, _Progress()
    async with target.open_http() as http:
        while not closed:
            query = {"offset": offset, "live": "long-poll"}
            answer = await http.get(f"/api/refinements/{thread_id}/stream", params=query)
            found = answered(answer) if answer.status_code != httpx.codes.NO_CONTENT else ()
            events = [_event(event) for event in found]
            for event in events:
                yield event
            offset = answer.headers.get("stream-next-offset", "")
            if not offset:
                raise Broken("the answer has no Stream-Next-Offset")
            closed = answer.headers.get("stream-closed") == "true"
            progress.check(events, closed)


async def _over_durable_sse(target: Target, thread_id: str, after: int) -> AsyncGenerator[Event, None]:
    offset, closed, progress = f"{after:010}", False, _Progress()
    async with target.open_http() as http:
        while not closed:
            events: list[Event] = []
            query = {"offset": offset, "live": "sse"}
            async with http.stream("GET", f"/api/refinements/{thread_id}/stream", params=query) as answer:
                if answer.is_error:
                    await answer.aread()
                    answered(answer)
                async for fields in server_sent(answer.aiter_bytes()):
                    data = json.loads(fields["data"])
                    if fields.get("event") == "data":
                        events = [_event(event) for event in data]
                        for event in events:
                            yield event
                    else:
                        offset, closed = data["streamNextOffset"], data.get("streamClosed", False)
            progress.check(events, closed)


async def _over_stub(
    protocol: str, target: Target, thread_id: str, after: int
) -> AsyncGenerator[Event, None]:
    request = WatchRefinementRequest(thread_id=thread_id, after_seq=after, max_event_bytes=_WHOLE_EVENTS)
    async with open_channel(protocol, target) as channel:
        watched: Any = RefinementServiceStub(channel).WatchRefinement(request, metadata=target.metadata)
        async with aclosing(_events(_refused_by_status(watched), after)) as events:
            async for event in events:
                yield event


async def _over_grpc_pages(target: Target, thread_id: str, after: int) -> AsyncGenerator[Event, None]:
    complete, progress = False, _Progress()
    async with target.open_grpc() as channel:
        read = RefinementServiceStub(channel).ListEvents
        while not complete:
            request = ListEventsRequest(
                thread_id=thread_id,
                after_seq=after,
                limit=_PAGE,
                wait_seconds=_WAIT_S,
                max_event_bytes=_WHOLE_EVENTS,
            )
            try:
                page = await read(request, metadata=target.metadata, timeout=60)
            except grpc.aio.AioRpcError as error:
                raise check_error(error) from error
            for event in page.events:
                after = event.seq
                yield event
            complete = page.complete
            progress.check(page.events, complete)


#: By name, with how the events come. Those of gRPC need its address.
TYPED: dict[str, tuple[str, Follow]] = {
    "websocket-json": ("over WebSocket with JSON", partial(_over_websocket, streams.JSON)),
    "websocket-binary": ("over WebSocket with binary messages", partial(_over_websocket, streams.BINARY)),
    "sse": ("over server-sent events", _over_sse),
    "pages": ("by pages over HTTP", _over_page),
    "durable": ("by long polls of Durable Streams", _over_durable_pages),
    "durable-sse": ("by server-sent events of Durable Streams", _over_durable_sse),
    "connect-json": ("over Connect with JSON", partial(_over_stub, "connect-json")),
    "connect-proto": ("over Connect with binary messages", partial(_over_stub, "connect-proto")),
    "grpc-web": ("over gRPC-Web", partial(_over_stub, "grpc-web")),
    "grpc": ("over gRPC", partial(_over_stub, "grpc")),
    "grpc-pages": ("by pages over gRPC", _over_grpc_pages),
}


def answered(answer: httpx.Response) -> Any:
    """The JSON of an answer. Raises HubError for a problem document, Broken for anything else."""
    if answer.is_error:
        check_problem(answer)
        raise problem_of(answer.status_code, answer.headers, answer.content, str(answer.url))
    return answer.json()


async def server_sent(chunks: AsyncIterable[bytes]) -> AsyncIterator[dict[str, str]]:
    """The fields of each server-sent event; comments are left out."""
    fields: dict[str, str] = {}
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield fields
                fields = {}
            elif not line:
                fields = {}


async def _events(
    messages: AsyncGenerator[WatchRefinementResponse, None], after: int
) -> AsyncGenerator[Event, None]:
    """The events of a stream, which begins with one hello."""
    first = True
    async with aclosing(messages):
        async for message in messages:
            kind = message.WhichOneof("kind")
            if (kind == "hello") != first:
                raise Broken(f"the {'first' if first else 'later'} message of the stream is a {kind}")
            if first and message.hello.last_seq < after:
                raise Broken(f"the hello's last_seq is {message.hello.last_seq}, below the cursor {after}")
            first = False
            for event in message.batch.events:
                expect(event.omitted_bytes, 0, f"what was left out of event {event.seq}")
                yield event


async def _refused_by_status(watched: Any) -> AsyncGenerator[WatchRefinementResponse, None]:
    try:
        async for message in watched:
            yield message
    except grpc.aio.AioRpcError as error:
        raise check_error(error) from error


def _event(value: dict[str, Any]) -> Event:
    return ParseDict(value, Event(), ignore_unknown_fields=True)


async def code_of(events: AsyncGenerator[Any, None]) -> str:
    """The code with which a stream is refused. Raises Broken when it is not."""
    try:
        async with aclosing(events):
            async for _ in events:
                break
    except HubError as error:
        if not error.code:
            raise Broken(f"it is refused without a code: {error}") from error
        return error.code
    raise Broken("it is not refused")
