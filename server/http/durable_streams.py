"""A refinement's journal as a durable stream, for the protocol's own clients: they read, and never write."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import UUID

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath

from server.domain.errors import InvalidArgument
from server.domain.fair_budget import Reservation
from server.domain.model import Refinement
from server.http.dependencies import Cases, query_dependency
from server.http.eventstream import EventStream
from server.http.json_io import HubRequest
from server.http.large_answers import JsonText, LargeAnswer
from server.http.methods import is_head
from server.http.openapi import header, operation
from server.use_cases import UseCases
from server.wire.durable_streams import (
    LONG_POLL_S,
    MAX_LIVE_S,
    StreamEvents,
    StreamQuery,
    known_final_page,
    messages_json,
    page_etag,
    page_headers,
    state_headers,
    stream_cursor,
)
from server.wire.etags import none_match, quoted
from server.wire.event_queries import MAX_EVENTS

#: Pages of a run that has ended never change. A day bounds how long a client's cache keeps what the hub has
#: removed, or no longer lets the client read.
_FINAL = {"Cache-Control": "private, max-age=86400, immutable", "Vary": "Authorization"}
#: Other pages are asked for again, and answered with 304 while they are the same.
_REVALIDATED = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}


@get(
    "/api/refinements/{thread_id:str}/stream",
    **operation(
        "readStream",
        "refinements",
        (400, 404, 410, 429),
        dependencies=query_dependency(StreamQuery),
        response_headers=[
            header("Stream-Next-Offset", "The offset after this answer."),
            header("Stream-Up-To-Date", "`true` if this answer reaches the end of the stream."),
            header("Stream-Closed", "`true` if this answer reaches the end, and nothing will follow."),
            header("Stream-Cursor", "For the query of the next live read."),
            header("ETag", "Of this part of the stream, and of whether it has ended."),
        ],
        responses={
            200: ResponseSpec(
                list[dict[str, Any]],
                description="Events; with `live=sse` as server-sent events, with HEAD none",
                generate_examples=False,
            ),
            204: ResponseSpec(None, description="No event came within a long poll, or none will"),
            304: ResponseSpec(None, description="The caller has this part of the stream"),
        },
    ),
)
async def read_stream(
    request: HubRequest, use_cases: Cases, thread_id: FromPath[UUID], params: NamedDependency[StreamQuery]
) -> Response[Any]:
    """The refinement's events as a stream of the Durable Streams protocol: the events after an offset, a long
    poll, or server-sent events. HEAD tells where the stream ends."""
    if len(request.query_params.getall("offset", [])) > 1:
        raise InvalidArgument({"offset": "must be given once"})
    after = params.place()
    refinement = None
    if after is None or is_head(request.scope):
        refinement = await use_cases.refinements.get(request.user, thread_id)
        if params.live is None or is_head(request.scope):
            return LargeAnswer(request, use_cases, partial(_end_of_stream, refinement))
        after = refinement.last_seq
    after = max(after, request.user.after_seq)
    if params.live == "sse":
        return EventStream(
            lambda reservation: use_cases.refinements.follow(request.user, thread_id, after, reservation),
            Reservation(use_cases.outgoing, request.user.memory_id),
            form=StreamEvents(params.cursor, time.time),
            readers=use_cases.readers,
            max_age_s=params.timeout or MAX_LIVE_S,
        )
    read = partial(_read, request, use_cases, thread_id, params, after)
    return LargeAnswer(request, use_cases, read, waits=params.live is not None)


async def _end_of_stream(refinement: Refinement, reservation: Reservation) -> JsonText:
    """The state of the stream, without events."""
    closed = refinement.status.terminal
    return JsonText(b"[]", state_headers(refinement.last_seq, up_to_date=True, closed=closed))


async def _read(
    request: HubRequest,
    use_cases: UseCases,
    thread_id: UUID,
    params: StreamQuery,
    after: int,
    reservation: Reservation,
) -> JsonText:
    """A page of the events after `after`, for which a long poll waits; 304 for one that the caller has."""
    if_none_match = request.joined_header("if-none-match")
    if if_none_match is not None:
        refinement = await use_cases.refinements.get(request.user, thread_id)
        known = known_final_page(if_none_match, after, refinement)
        if known is not None:
            return JsonText(None, known | _FINAL, 304)
    page = await use_cases.refinements.page(
        request.user,
        thread_id,
        after=after,
        limit=MAX_EVENTS,
        wait_s=0 if params.live is None else params.timeout or LONG_POLL_S,
        reservation=reservation,
    )
    headers = page_headers(page)
    if params.live is not None:
        headers["Stream-Cursor"] = stream_cursor(params.cursor, time.time())
        if not page.segments:
            return JsonText(None, headers, 204)
    etag = await page_etag(page, after)
    headers |= {"ETag": quoted(etag)} | (_FINAL if page.head.terminal else _REVALIDATED)
    if none_match(if_none_match, etag):
        return JsonText(None, headers, 304)
    return JsonText(await messages_json(page), headers)


DURABLE_STREAM_ROUTES = [read_stream]
