"""Which requests begin in a turn of the event loop."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

from server.domain.endings import Endings
from server.http.admission import Admission
from server.http.connection import Connection
from server.http.request_turns import REQUESTS_PER_TURN, RequestTurns


def a_connection(caller: object = None) -> Connection:
    async def wait() -> None:
        return None

    made = Connection(
        cast(Any, asyncio.Transport()),
        writable=lambda: True,
        wait=wait,
        deadline_s=1,
        endings=Endings(),
        admission=Admission(),
    )
    made.caller = cast(Any, caller)
    return made


async def test_a_request_waits_for_few_of_those_that_came_at_once() -> None:
    turns, begun = RequestTurns(), list[str]()

    async def ask(name: str, connection: Connection) -> None:
        await turns.take(connection)
        begun.append(name)

    strangers = [asyncio.create_task(ask("stranger", a_connection())) for _ in range(1000)]
    account = uuid4()
    strangers += [asyncio.create_task(ask("account", a_connection(account))) for _ in range(1000)]
    await asyncio.sleep(0)
    assert len(begun) == REQUESTS_PER_TURN
    user = asyncio.create_task(ask("user", a_connection(uuid4())))
    probe = asyncio.create_task(ask("probe", a_connection()))
    await asyncio.wait([user, probe])
    assert len(begun) <= 6 * REQUESTS_PER_TURN
    await asyncio.gather(*strangers)
    assert len(begun) == 2002


async def test_a_request_whose_client_leaves_takes_no_turn() -> None:
    turns = RequestTurns(per_turn=1)
    first, leaving, staying = (asyncio.create_task(turns.take(a_connection())) for _ in range(3))
    await asyncio.sleep(0)
    assert first.done()
    leaving.cancel()
    await asyncio.wait_for(staying, 60)
    assert leaving.cancelled()
