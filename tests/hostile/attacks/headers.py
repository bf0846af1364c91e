"""Hostile headers: what the holder of a share link can put into a request."""

from __future__ import annotations

from itertools import cycle

import httpx

from tests.hostile.attacks.attack import Aim, Family, NotHeld, ask_on, told

FAMILY = Family("headers of requests")
#: Of a request's conditions, positions and ids.
NAMES = (
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Range",
    "If-Range",
    "Last-Event-ID",
    "traceparent",
    "tracestate",
    "baggage",
    "Cookie",
    "Forwarded",
    "Accept",
    "Accept-Language",
    "Prefer",
)
#: 10,000 characters each: what a head may have leaves room for them.
VALUES = (
    '"' + "a" * 9_998 + '"',
    '"a",' * 2_500,
    "W/" * 5_000,
    "bytes=" + "0-," * 3_331,
    "9" * 10_000,
    "-" * 10_000,
    "00-" + "a" * 9_997,
    "a=b," * 2_500,
    "text/event-stream;q=0.1," * 416,
    "\t \t" * 3_333 + "x",
    "\\" * 10_000,
    "%00%ff" * 1_666,
    "\xff" * 10_000,
)


@FAMILY.attack()
async def http_conditions(aim: Aim) -> str:
    """A share link's requests with conditions, ranges, positions and traces of 10,000 characters."""
    headers = cycle([(name, value) for name in (*NAMES, "cursor") for value in VALUES])
    paths = cycle([f"/api/refinements/{aim.thread_id}/events", f"/api/proposals/{aim.proposal_id}"])
    async with aim.client(aim.link) as http:

        async def ask() -> httpx.Response:
            name, value = next(headers)
            position = name == "cursor"
            sent = [] if position else [(name.encode(), value.encode("latin-1"))]
            params = {"cursor": value} if position else {"limit": "1"}
            answer = await http.get(next(paths), headers=sent, params=params)
            if answer.status_code >= 500 and answer.status_code != 503:
                raise NotHeld(f"{name}: {value[:20]} is answered with {answer.status_code}")
            return answer

        return told(await ask_on(50, aim.seconds, ask))
