"""A browser's own `EventSource`: it can set no header, and reconnects to the same address by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.contract.interfaces.event_source import Dispatched, EventSource
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import problem, upgrade
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.tokens import bearer

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


@pytest.fixture
async def thread(hub: RunningHub) -> str:
    """A finished refinement of 52 events."""
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
    return str(started["thread_id"])


@pytest.fixture
async def browser(hub: RunningHub) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no token."""
    async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as client:
        yield client


async def ticket_of(hub: RunningHub, thread: str) -> dict[str, Any]:
    """A new ticket, as the hub answers it."""
    headers = bearer(hub.token())
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, trust_env=False, timeout=60) as client:
        made = await client.post("/api/ws/tickets", json={"thread_id": thread})
    assert made.status_code == 201
    return dict(made.json())


def seqs(events: list[Dispatched]) -> list[int]:
    return [event.data["seq"] for event in events if "seq" in event.data]


async def test_a_ticket_follows_a_finished_refinement_once_and_to_its_end(
    hub: RunningHub, thread: str, browser: httpx.AsyncClient
) -> None:
    made = await ticket_of(hub, thread)
    assert made["events_url"] == f"/api/refinements/{thread}/events?ticket={made['ticket']}"
    source = EventSource(browser, made["events_url"])
    events = [event async for event in source.events()]
    assert seqs(events) == list(range(1, 53))
    # After the stream's end the browser reconnects once; the answer 204 stops it.
    assert source.answers == [200, 204]


async def test_without_names_every_event_is_a_message(
    hub: RunningHub, thread: str, browser: httpx.AsyncClient
) -> None:
    address = (await ticket_of(hub, thread))["events_url"] + "&names=false"
    source = EventSource(browser, address)
    events = [event async for event in source.events(cut=lambda event: event.data.get("seq") == 20)]
    assert {event.name for event in events} == {"message"}
    assert seqs(events) == list(range(1, 53))
    assert events[0].data.keys() == {"hello"}
    headers = {**STREAM, **bearer(hub.token())}
    wrong = await browser.get(f"/api/refinements/{thread}/events?names=no", headers=headers)
    assert problem(wrong)["fields"].keys() == {"names"}


async def test_every_connection_that_breaks_is_resumed_with_the_same_ticket(
    hub: RunningHub, thread: str, browser: httpx.AsyncClient
) -> None:
    source = EventSource(browser, (await ticket_of(hub, thread))["events_url"] + "&after=3")
    events = [event async for event in source.events(cut=lambda event: event.data.get("seq", 1) % 5 == 0)]
    assert seqs(events) == list(range(4, 53))
    assert source.answers == [200] * 11 + [204]


async def test_a_connection_that_breaks_before_the_first_event_is_resumed_too(
    hub: RunningHub, browser: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
    hellos = 0

    def _cut(event: Dispatched) -> bool:
        nonlocal hellos
        hellos += event.name == "hello"
        return hellos < 4

    source = EventSource(browser, (await ticket_of(hub, started["thread_id"]))["events_url"])
    async with asyncio.timeout(PATIENCE_S):
        async for event in source.events(cut=_cut):
            if event.data.get("seq") == 11:
                break
    assert (hellos, source.answers) == (4, [200] * 4)


async def test_a_token_in_the_address_opens_it_where_that_is_allowed(
    hub: RunningHub, thread: str, browser: httpx.AsyncClient, database: str
) -> None:
    address = f"/api/refinements/{thread}/events?token={hub.token()}"
    source = EventSource(browser, address)
    assert seqs([event async for event in source.events(cut=lambda e: e.data.get("seq") == 20)]) == list(
        range(1, 53)
    )
    # Only for streams: other calls can set headers.
    assert (await browser.get(address)).status_code == 401
    assert (
        await browser.get(f"/api/refinements/{thread}?token={hub.token()}", headers=STREAM)
    ).status_code == 401
    async with (
        running_hub(database, query_token=False) as strict,
        httpx.AsyncClient(base_url=strict.http, trust_env=False, timeout=60) as client,
    ):
        refused = await client.get(address, headers=STREAM)
        assert (refused.status_code, problem(refused)["code"]) == (401, "unauthenticated")
        made = await ticket_of(strict, thread)
        assert (await client.get(made["events_url"], headers=STREAM)).status_code == 200


async def test_a_share_link_in_the_address_reads_its_refinement(
    hub: RunningHub, browser: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        await finished(client, started)
        link = await client.call("POST", f"/api/proposals/{started['proposal_id']}/shares", {"after_seq": 40})
    source = EventSource(browser, f"/api/refinements/{started['thread_id']}/events?token={link['secret']}")
    assert seqs([event async for event in source.events()]) == list(range(41, 53))


async def test_a_used_ticket_resumes_one_stream_and_opens_nothing_else(
    hub: RunningHub, thread: str, browser: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        other = (await start(client, "[[replay:short_run]]"))["thread_id"]
    made = await ticket_of(hub, thread)
    address, ticket = made["events_url"], made["ticket"]
    # No JSON page, and it is not used up by one.
    assert (await browser.get(address)).status_code == 401
    assert (await browser.get(address, headers=STREAM)).status_code == 200
    # Without the id of an event, a second use does not count as a reconnection.
    refusals = [
        await browser.get(address, headers=STREAM),
        await browser.get(f"/api/refinements/{other}/events?ticket={ticket}", headers=STREAM),
        await browser.get(
            f"/api/refinements/{other}/events?ticket={ticket}", headers={**STREAM, "Last-Event-ID": "1"}
        ),
        await browser.get(f"{address}x", headers={**STREAM, "Last-Event-ID": "1"}),
        await browser.get(
            f"/api/refinements/{thread}/events?ticket={'x' * 5000}", headers={**STREAM, "Last-Event-ID": "1"}
        ),
        await browser.get(f"/api/refinements/{thread}/events?ticket=", headers=STREAM),
    ]
    assert [answer.status_code for answer in refusals] == [401] * len(refusals)
    assert all(ticket not in answer.text for answer in refusals)
    for query in (f"?ticket={ticket}", f"?ticket=resume:{ticket}"):
        status, _, _ = await upgrade(hub.http, f"/api/ws/refinements/{thread}{query}", {"Last-Event-ID": "1"})
        assert status == 401
    resumed = await browser.get(address, headers={**STREAM, "Last-Event-ID": "50"})
    assert (resumed.status_code, resumed.text.count("\nevent: ")) == (200, 3)


async def test_a_ticket_that_opened_a_socket_resumes_no_stream(
    hub: RunningHub, thread: str, browser: httpx.AsyncClient
) -> None:
    made = await ticket_of(hub, thread)
    status, _, _ = await upgrade(hub.http, made["websocket_url"], {})
    assert status == 101
    answer = await browser.get(made["events_url"], headers={**STREAM, "Last-Event-ID": "1"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("UPDATE tickets SET expires_at = now() WHERE thread_id = $1", 401),
        ("UPDATE tickets SET token_expires_at = now() - interval '31 s' WHERE thread_id = $1", 401),
        (
            "UPDATE users SET disabled_at = now() FROM tickets WHERE thread_id = $1 AND users.id = user_id",
            401,
        ),
        (
            "DELETE FROM proposal_access USING proposals"
            " WHERE proposal_id = id AND thread_id = $1::uuid::text",
            404,
        ),
    ],
    ids=["an hour is over", "token", "user", "access"],
)
async def test_a_browser_that_may_no_longer_follow_gives_up(
    hub: RunningHub, browser: httpx.AsyncClient, statement: str, status: int
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
    source = EventSource(browser, (await ticket_of(hub, started["thread_id"]))["events_url"])
    async with asyncio.timeout(PATIENCE_S):
        async for event in source.events(cut=lambda event: event.name == "heartbeat"):
            if event.name == "heartbeat":
                await hub.core.pool.execute(statement, UUID(started["thread_id"]))
    assert source.answers == [200, status]


async def test_a_browser_whose_token_ends_while_it_follows_is_sent_for_a_new_ticket(
    hub: RunningHub, browser: httpx.AsyncClient
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
    # On a busy machine, little time may be over before all events have come.
    for left_s in (3, 15, 60):
        made = await ticket_of(hub, started["thread_id"])
        # The hub accepts a token for 30 s after its end.
        await hub.core.pool.execute(
            "UPDATE tickets SET token_expires_at = now() + make_interval(secs => $1)", left_s - 30
        )
        source = EventSource(browser, made["events_url"])
        async with asyncio.timeout(left_s + PATIENCE_S):
            events = [event async for event in source.events()]
        if seqs(events) == list(range(1, 12)):
            break
    assert source.answers[-1] == 401
    assert set(source.answers[:-1]) == {200}
    assert seqs(events) == list(range(1, 12))
    await until(lambda: hub.core.broadcaster.readers == 0)


async def test_refused_tickets_are_counted(hub: RunningHub, thread: str, browser: httpx.AsyncClient) -> None:
    address = f"/api/refinements/{thread}/events?ticket=x"
    await browser.get(address, headers=STREAM)
    await upgrade(hub.http, f"/api/ws/refinements/{thread}?ticket=x", {})
    metrics = (await browser.get("/metrics")).text
    assert (
        'ide_orchestrator_authentications_refused_total{presented="ticket",reason="invalid"} 2.0' in metrics
    )
