"""Rights: what an account makes of its quota, and what is left to those who lost theirs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import cycle
from uuid import uuid4

import httpx

from tests.hostile.attacks.attack import Aim, Family, NotHeld, ask_on, told
from tests.hostile.attacks.sockets import head, holding, upgrade
from tests.support.client import Client, StreamEnded
from tests.support.tokens import token

FAMILY = Family("rights")
#: Links of an account's, sockets of each, and the quota that they share.
LINKS, SOCKETS, MAX_STREAMS = 20, 5, 20
#: Creates of a minute, by default, and how many an attack may get: it may last from one minute into the next.
MAX_CREATES = 2 * 120
#: Seconds after which a stream of one who lost access has ended: the next look at all of them, and a margin.
MAX_REVOKED_S = 25.0


@FAMILY.attack(settings={"IDEO_MAX_STREAMS": str(MAX_STREAMS)})
async def rights_streams_by_links(aim: Aim) -> str:
    """An account opens streams by 20 links of its own, more than its quota."""
    async with aim.client() as http:
        secrets = [
            (await http.post(f"/api/proposals/{aim.proposal_id}/shares", json={})).json()["secret"]
            for _ in range(LINKS)
        ]
    requests = [upgrade(aim.thread_id, secret) for secret in secrets for _ in range(SOCKETS)]
    answers: Counter[str] = Counter()
    async with holding(aim.http, requests) as made:
        await asyncio.sleep(min(aim.seconds, 3))
        for each in made:
            with suppress(OSError):
                answers[each.recv(100)[9:12].decode("latin-1")] += 1
    if answers["101"] > MAX_STREAMS:
        raise NotHeld(f"{answers['101']} streams, though {MAX_STREAMS} are allowed")
    return told(answers)


@FAMILY.attack()
async def rights_creates(aim: Aim) -> str:
    """An account makes links, tickets and grants on eight connections, as fast as it can."""
    base = f"/api/proposals/{aim.proposal_id}"
    async with aim.client() as http:
        asks: Iterator[Callable[[], Awaitable[httpx.Response]]] = cycle(
            (
                lambda: http.post(f"{base}/shares", json={}),
                lambda: http.post("/api/ws/tickets", json={"thread_id": aim.thread_id}),
                lambda: http.put(f"{base}/access/{uuid4()}", json={"access_type": "viewer"}),
            )
        )
        made = await ask_on(8, aim.seconds, lambda: next(asks)())
    if sum(count for status, count in made.items() if status < 300) > MAX_CREATES:
        raise NotHeld(f"more than {MAX_CREATES} were made: {told(made)}")
    return told(made)


@FAMILY.attack()
async def rights_guesses(aim: Aim) -> str:
    """Sixteen connections try invalid tokens and links, over HTTP and as WebSockets."""
    until, answers = time.monotonic() + aim.seconds, Counter[int]()

    async def one(number: int) -> None:
        while time.monotonic() < until:
            credential = f"ideo_share_{uuid4().hex}" if number % 2 else f"a.b{number}.c"
            async with aim.client(credential) as http:
                with suppress(httpx.HTTPError):
                    for _ in range(50):
                        answers[(await http.get(f"/api/proposals/{aim.proposal_id}")).status_code] += 1
            async with holding(aim.http, [upgrade(aim.thread_id, credential)]):
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one(number) for number in range(16)))
    if answers.keys() - {401}:
        raise NotHeld(f"answers other than 401: {dict(answers)}")
    return f"{answers[401]} x 401"


@FAMILY.attack()
async def rights_of_a_removed_owner(aim: Aim) -> str:
    """An owner makes a link and opens streams, and is removed: link and streams must end."""
    bob = token("removed@example.com")
    base = f"/api/proposals/{aim.proposal_id}"
    async with aim.client() as ann, aim.client(bob) as his:
        user_id = (await his.get("/api/me")).json()["user_id"]
        (await ann.put(f"{base}/access/{user_id}", json={"access_type": "owner"})).raise_for_status()
        link = (await his.post(f"{base}/shares", json={})).raise_for_status().json()["secret"]
        streams = [
            asyncio.ensure_future(_follow(aim, way, credential))
            for way in ("ws-json", "sse", "ws-legacy", "grpc")
            for credential in (bob, link)
        ]
        await asyncio.sleep(1)
        (await ann.delete(f"{base}/access/{user_id}")).raise_for_status()
        async with aim.client(link) as linked:
            after = [(await his.get(base)).status_code, (await linked.get(base)).status_code]
        _, open_still = await asyncio.wait(streams, timeout=MAX_REVOKED_S)
        for each in open_still:
            each.cancel()
    if open_still or not set(after) <= {401, 404}:
        raise NotHeld(
            f"{len(open_still)} of 8 streams are open after {MAX_REVOKED_S:.0f} s; answers: {after}"
        )
    return f"8 streams ended, answers {after}"


async def _follow(aim: Aim, way: str, credential: str) -> None:
    with suppress(StreamEnded, OSError):
        async for _ in Client(aim, credential).follow(way, aim.thread_id):
            pass


@FAMILY.attack()
async def rights_of_strangers(aim: Aim) -> str:
    """An account learns nothing of users: a grant to a known id looks like one to an unknown id, and a link
    is shown no user."""
    async with aim.client() as ann, aim.client(token("known@example.com")) as known:
        user_id = (await known.get("/api/me")).json()["user_id"]
        base = f"/api/proposals/{aim.proposal_id}"
        answers = [
            await ann.put(f"{base}/access/{each}", json={"access_type": "viewer"})
            for each in (user_id, str(uuid4()))
        ]
        seen = [(answer.status_code, sorted(answer.json()), answer.json().get("email")) for answer in answers]
        async with aim.client(aim.link) as linked:
            shown = (await linked.get(base)).text
        owner = (await ann.get("/api/me")).json()["user_id"]
        sent = 0
        until = time.monotonic() + aim.seconds
        while time.monotonic() < until:
            await ann.put(f"{base}/access/{uuid4()}", json={"access_type": "viewer"})
            sent += 1
    if seen[0] != seen[1] or seen[0][2]:
        raise NotHeld(f"grants to known and unknown ids differ: {seen}")
    if owner in shown or "@" in shown:
        raise NotHeld("a share link is shown who made the proposal")
    return f"{sent} ids tried"


@FAMILY.attack()
async def rights_refused_upgrades(aim: Aim) -> str:
    """Strangers ask for WebSockets, as fast as they are refused."""
    until, sent = time.monotonic() + aim.seconds, 0
    requests = [
        upgrade(aim.thread_id, ""),
        upgrade(aim.thread_id, "a.b.c"),
        head("/api/ws/refinements/x", ""),
    ]
    while time.monotonic() < until:
        async with holding(aim.http, [requests[number % 3] for number in range(50)]):
            await asyncio.sleep(0.02)
        sent += 50
    return f"{sent} upgrades"
