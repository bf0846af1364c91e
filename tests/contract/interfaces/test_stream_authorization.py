"""How readers are let in by tickets, and how long they may stay, on every transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from ide_orchestrator.v1 import refinement_pb2, refinement_pb2_grpc
from server.domain.errors import Unauthenticated
from tests.contract.interfaces.quiet import quiet_thread
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import http_interface, problem, socket, upgrade
from tests.support.hub import RunningHub, running_hub

ABSENT = "00000000-0000-4000-8000-000000000000"
ANN = "ann@example.com"


@pytest.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database, heartbeat_s=0.1) as running:
        yield running


def caller(hub: RunningHub, token: str) -> httpx.AsyncClient:
    """An HTTP client with a token."""
    return httpx.AsyncClient(
        base_url=hub.http, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    )


async def ticket_of(hub: RunningHub, thread: str, token: str | None = None) -> str:
    """A new ticket."""
    async with caller(hub, token or hub.token()) as client:
        made = await client.post("/api/ws/tickets", json={"thread_id": thread})
    assert made.raise_for_status().status_code == 201
    return str(made.json()["ticket"])


#: For how many seconds more the hub lets a token in, in one try after the other: on a busy machine, the first
#: ones may be over before a stream is open.
LEFT_S = (3, 15, 60)


def nearly_expired(hub: RunningHub, left_s: float) -> str:
    """A token that the tolerance between clocks lets in for so many seconds more."""
    return hub.token(ANN, minutes=(left_s - 30) / 60)


# --- Tickets ------------------------------------------------------------------------------------


async def test_a_ticket_opens_its_thread_once(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    ticket = await ticket_of(hub, thread)
    path = f"/api/ws/refinements/{thread}?ticket={ticket}"
    for protocol in ({}, {"Sec-WebSocket-Protocol": "ideo.v1"}):
        status, told, refusal = await upgrade(hub.http, path, protocol)
        if not protocol:
            assert status == 101
            continue
        assert (status, refusal["code"]) == (401, "unauthenticated")
        assert ticket not in str(refusal) + str(told)


async def test_a_ticket_names_its_address_and_end(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    began = datetime.now(UTC)
    async with caller(hub, hub.token()) as client:
        answer = await client.post("/api/ws/tickets", json={"thread_id": thread})
    answered, made = datetime.now(UTC), answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert made["thread_id"] == thread
    assert made["websocket_url"] == f"/api/ws/refinements/{thread}?ticket={made['ticket']}"
    expires_at, second = datetime.fromisoformat(made["expires_at"]), timedelta(seconds=1)
    assert began - second <= expires_at - timedelta(seconds=30) <= answered + second
    async with socket(hub.http, thread, None, "ideo.v1", query=f"?ticket={made['ticket']}") as opened:
        assert "hello" in str(await opened.recv())


async def test_the_store_has_no_ticket_but_its_hash(hub: RunningHub) -> None:
    ticket = await ticket_of(hub, await quiet_thread(hub))
    rows = await hub.core.pool.fetch("SELECT t.*::text AS row FROM tickets t")
    assert len(rows) == 1
    assert ticket not in rows[0]["row"]
    assert ticket.encode().hex() not in rows[0]["row"]


async def test_a_ticket_that_is_used_up_expired_or_of_another_thread_is_not_good(hub: RunningHub) -> None:
    thread, other = await quiet_thread(hub), await quiet_thread(hub)
    elsewhere = await ticket_of(hub, other)
    late = await ticket_of(hub, thread)
    await hub.core.pool.execute(
        "UPDATE tickets SET expires_at = now() - interval '1 second' WHERE thread_id = $1", UUID(thread)
    )
    disabled = await ticket_of(hub, thread)
    refusals = []
    for ticket in (elsewhere, elsewhere, late, "x", "%C3%A9%00", "%ED%A0%80", "x" * 5000):
        status, _, told = await upgrade(hub.http, f"/api/ws/refinements/{thread}?ticket={ticket}", {})
        refusals.append((status, told["code"], told["detail"]))
    await hub.core.pool.execute("UPDATE users SET disabled_at = now()")
    status, _, told = await upgrade(hub.http, f"/api/ws/refinements/{thread}?ticket={disabled}", {})
    refusals.append((status, told["code"], told["detail"]))
    # Shown for the wrong thread, it is used up for the right one.
    status, _, told = await upgrade(hub.http, f"/api/ws/refinements/{other}?ticket={elsewhere}", {})
    refusals.append((status, told["code"], told["detail"]))
    assert len(set(refusals)) == 1
    assert refusals[0][:2] == (401, "unauthenticated")


async def test_of_fifty_that_show_a_ticket_at_once_on_two_replicas_one_gets_in(
    hub: RunningHub, database: str
) -> None:
    thread = await quiet_thread(hub)
    ticket = await ticket_of(hub, thread)
    async with running_hub(database) as other:
        tries = [(hub, other)[number % 2].core.tickets.redeem(ticket, UUID(thread)) for number in range(50)]
        done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in done) == 1
    assert sum(isinstance(one, Unauthenticated) for one in done) == 49


async def test_a_ticket_is_for_who_may_see_the_thread(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    answers = []
    async with caller(hub, hub.token("eve@example.com")) as eve, caller(hub, hub.token()) as ann:
        for client, wanted in ((eve, thread), (ann, ABSENT), (ann, "x")):
            answer = await client.post("/api/ws/tickets", json={"thread_id": wanted})
            answers.append((answer.status_code, problem(answer)["code"], problem(answer)["detail"]))
        wrong = await ann.post("/api/ws/tickets", json={"thread_id": thread, "user_id": ABSENT})
        assert problem(wrong)["fields"].keys() == {"user_id"}
        missing = await ann.post("/api/ws/tickets", json={})
        assert problem(missing)["fields"].keys() == {"thread_id"}
    assert set(answers) == {(404, "not_found", answers[0][2])}


async def test_unused_tickets_are_swept(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    for _ in range(3):
        await ticket_of(hub, thread)
    await hub.core.pool.execute("UPDATE tickets SET expires_at = now() - interval '1 second'")
    await ticket_of(hub, thread)
    assert await hub.core.pool.fetchval("SELECT count(*) FROM tickets") == 1


async def test_a_token_in_the_address_can_be_switched_off(database: str) -> None:
    async with running_hub(database, query_token=False) as hub:
        thread = await quiet_thread(hub)
        status, _, told = await upgrade(hub.http, f"/api/ws/refinements/{thread}?token={hub.token()}", {})
        assert (status, told["code"]) == (401, "unauthenticated")


# --- How long a reader may stay ----------------------------------------------------------------


async def ends(hub: RunningHub, thread: str, **shown: Any) -> dict[str, Any]:
    """How each kind of stream ends that is opened behind event 10 by now. stay_s: how long it is open."""
    token, stay_s = shown["token"], shown.get("stay_s", 0.0)
    found: dict[str, Any] = {}

    async def _socket(name: str, shown: str | None, *protocols: str, query: str) -> None:
        async with socket(hub.http, thread, shown, *protocols, query=query) as opened:
            with suppress(ConnectionClosed):
                while True:
                    await opened.recv()
            found[name] = (opened.close_code, opened.close_reason)

    async def _sse() -> None:
        async with caller(hub, token) as client:
            headers = {"Accept": "text/event-stream"}
            url = f"/api/refinements/{thread}/events?after=10"
            async with client.stream("GET", url, headers=headers) as answer:
                answer.raise_for_status()
                text = "".join([part async for part in answer.aiter_text()])
            found["sse"] = "hello" in text

    async def _grpc() -> None:
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            stub = refinement_pb2_grpc.RefinementServiceStub(channel)
            request = refinement_pb2.WatchRefinementRequest(thread_id=thread, after_seq=10)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                async for _ in stub.WatchRefinement(
                    request, metadata=(("authorization", f"Bearer {token}"),)
                ):
                    pass
            found["grpc"] = failed.value.code()

    ticket = await ticket_of(hub, thread, token)
    streams = [
        asyncio.create_task(each)
        for each in (
            _socket("seed", token, query="?after=10"),
            _socket("json", token, "ideo.v1", query="?after=10"),
            _socket("proto", token, "ideo.v1.proto", query="?after=10"),
            _socket("ticket", None, "ideo.v1", query=f"?after=10&ticket={ticket}"),
            _sse(),
            _grpc(),
        )
    ]
    await until(lambda: hub.core.broadcaster.readers == len(streams) or all(each.done() for each in streams))
    if "meanwhile" in shown:
        await shown["meanwhile"]()
    async with asyncio.timeout(stay_s + PATIENCE_S):
        outcomes = await asyncio.gather(*streams, return_exceptions=True)
    for outcome in filter(None, outcomes):
        raise outcome
    assert hub.core.broadcaster.readers == 0
    assert len(hub.core.authorizations) == 0
    return found


async def test_no_stream_outlives_its_token(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    expected = {
        **dict.fromkeys(("seed", "json", "proto", "ticket"), (4401, "after=11")),
        "sse": True,
        "grpc": grpc.StatusCode.UNAUTHENTICATED,
    }
    found: Any = None
    for left_s in LEFT_S:
        try:
            found = await ends(hub, thread, token=nearly_expired(hub, left_s), stay_s=left_s)
        except (InvalidStatus, httpx.HTTPStatusError) as late:
            found = late
        if found == expected:
            break
    assert found == expected
    # It goes on with a new one.
    async with socket(hub.http, thread, hub.token(), "ideo.v1", query="?after=11") as opened:
        assert "hello" in str(await opened.recv())


async def test_a_new_token_of_the_same_user_prolongs_a_socket(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    # Legacy frames have no heartbeat to count.
    for protocol in ("ideo.v1", "ideo.v1.proto"):
        prolonged: object = None
        for left_s in LEFT_S:
            try:
                prolonged = await _prolonged(hub, thread, protocol, left_s)
                break
            except (InvalidStatus, ConnectionClosed) as late:
                prolonged = late
        assert prolonged is State.OPEN


async def _prolonged(hub: RunningHub, thread: str, protocol: str, left_s: float) -> State:
    """The state of a socket that got a new token, after the end of the old one, which had so long to live."""
    old_ends = asyncio.get_running_loop().time() + left_s + 1
    async with socket(hub.http, thread, nearly_expired(hub, left_s), protocol, query="?after=10") as opened:
        await opened.send("nothing to do with it")
        await opened.send(json.dumps({"type": "auth", "token": hub.token()}))
        async with asyncio.timeout(left_s + PATIENCE_S):
            while asyncio.get_running_loop().time() < old_ends:
                await opened.recv()
            for _ in range(5):
                await opened.recv()
        return opened.state


@pytest.mark.parametrize(
    ("email", "minutes", "code"), [("eve@example.com", 10, 4403), (ANN, -10, 4401)], ids=["other", "old"]
)
async def test_a_new_token_that_is_another_users_or_not_valid_ends_a_socket(
    hub: RunningHub, email: str, minutes: int, code: int
) -> None:
    thread = await quiet_thread(hub)
    async with socket(hub.http, thread, hub.token(), "ideo.v1", query="?after=10") as opened:
        await opened.send(json.dumps({"type": "auth", "token": hub.token(email, minutes=minutes)}))
        with suppress(ConnectionClosed):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await opened.recv()
        assert opened.close_code == code


@pytest.mark.parametrize(
    "message",
    [
        "{",
        '{"type":"auth"}',
        '{"type":"auth","token":1}',
        '{"type":"auth","token":{}}',
        '[{"type":"auth"}]',
        '{"type":["auth"]}',
        '{"auth":' * 400,
        '{"type":"other","auth":1,"token":"x"}',
        b'{\xff"auth"',
    ],
)
async def test_whatever_else_a_client_says_changes_nothing(hub: RunningHub, message: str | bytes) -> None:
    thread = await quiet_thread(hub)
    async with socket(hub.http, thread, hub.token(), "ideo.v1", query="?after=10") as opened:
        await opened.send(message)
        for _ in range(5):
            await opened.recv()
        assert opened.state is State.OPEN


@pytest.mark.parametrize(
    "lost",
    ["DELETE FROM proposal_access", "UPDATE users SET disabled_at = now()"],
    ids=["access", "account"],
)
async def test_a_reader_who_loses_access_gets_nothing_more(hub: RunningHub, lost: str) -> None:
    thread = await quiet_thread(hub)

    async def _withdrawn() -> None:
        await hub.core.authorizations.recheck()
        assert hub.core.broadcaster.readers == 6
        await hub.core.pool.execute(lost)
        await hub.core.authorizations.recheck()

    found = await ends(hub, thread, token=hub.token(), meanwhile=_withdrawn)
    assert found == {
        **dict.fromkeys(("seed", "json", "proto", "ticket"), (4403, "")),
        "sse": True,
        "grpc": grpc.StatusCode.PERMISSION_DENIED,
    }


async def test_a_reader_that_left_is_asked_about_no_more(hub: RunningHub) -> None:
    thread = await quiet_thread(hub)
    async with (
        http_interface(hub.core) as interface,
        socket(interface.http, thread, hub.token(), "ideo.v1") as opened,
    ):
        await opened.recv()
        assert len(hub.core.authorizations) == 1
    await until(lambda: len(hub.core.authorizations) == 0)
    async with caller(hub, hub.token("eve@example.com")) as eve:
        assert (await eve.get(f"/api/refinements/{thread}/events")).status_code == 404
    assert len(hub.core.authorizations) == 0
