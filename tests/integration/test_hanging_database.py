"""A database that accepts everything and answers nothing: nobody waits long for it, and it is found again."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc.aio
import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from ide_orchestrator.v1.refinement_pb2_grpc import RefinementServiceStub
from ide_orchestrator.v1.workflow_pb2_grpc import WorkflowServiceStub
from server.db import migrate
from server.db.dedicated_connection import DedicatedConnection
from server.db.pool import ACQUIRE_S, CANCEL_S, USE_S, open_pool
from server.db.users import PostgresUserStore
from server.domain.errors import DatabaseUnavailable
from server.lifecycle import DRAIN_S, READY_S
from server.wire import messages as m
from tests.support.grpc_interface import refusal_of
from tests.support.hand_clock import until
from tests.support.http_interface import socket, upgrade
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start
from tests.support.proxy import through_a_proxy
from tests.support.stored import NOON, some_claims

#: Within which a caller is refused, and seconds more for a machine that is busy.
REFUSED_S, BUSY_S = USE_S + CANCEL_S, 10.0


async def timed(call: Awaitable[Any]) -> tuple[float, Any]:
    """How long a call takes, and its result or error."""
    began = time.monotonic()
    (result,) = await asyncio.gather(call, return_exceptions=True)
    return time.monotonic() - began, result


def test_a_caller_is_refused_within_five_seconds() -> None:
    assert USE_S + CANCEL_S < 5


async def test_every_transport_refuses_calls_in_time_and_serves_the_first_one_after(database: str) -> None:
    async with (
        through_a_proxy(database) as (dsn, between),
        running_hub(dsn, heartbeat_s=0.2) as hub,
        hub.client() as client,
        httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http,
    ):
        live = await start(client, "[[replay:short_run silent=10]]", workflow := await a_workflow(client))
        async with socket(hub.http, live["thread_id"], hub.token(), "ideo.v1") as follower:
            await _heartbeat(follower)
            between.open.clear()
            try:
                answers = await asyncio.gather(*_calls(hub, http, workflow, live["thread_id"]))
                assert {answer for _, answer in answers} == {
                    "503 5",
                    "StatusCode.UNAVAILABLE 5",
                }
                assert max(seconds for seconds, _ in answers) < REFUSED_S + BUSY_S
                for path, status in (("/readyz", 503), ("/healthz", 200)):
                    seconds, answer = await timed(http.get(path))
                    assert answer.status_code == status
                    assert seconds < READY_S + BUSY_S
                # A stream that is open needs nothing of the database. More than came before the outage:
                for _ in range(10):
                    await _heartbeat(follower)
            finally:
                between.open.set()
            seconds, made = await timed(client.call("POST", "/api/workflows", {"name": "first"}))
            assert made["name"] == "first"
            assert seconds < 1 + BUSY_S


async def _heartbeat(follower: ClientConnection) -> None:
    """Wait for the next heartbeat."""
    async with asyncio.timeout(60):
        while not str(await follower.recv()).startswith('{"heartbeat"'):
            pass


def _calls(
    hub: RunningHub, http: httpx.AsyncClient, workflow: str, thread: str
) -> list[Awaitable[tuple[float, str]]]:
    """Creates and reads on every transport: how long each takes, and how it is refused."""
    headers = {"Authorization": f"Bearer {hub.token()}"}
    metadata = (("authorization", headers["Authorization"]),)

    async def over_http(method: str, path: str, accept: str = "application/json", **more: Any) -> str:
        answer = await http.request(method, path, headers=headers | {"Accept": accept}, **more)
        return f"{answer.status_code} {answer.headers.get('retry-after')}"

    async def over_a_socket() -> str:
        status, found, _ = await upgrade(hub.http, f"/api/ws/refinements/{thread}", headers)
        return f"{status} {found.get('retry-after')}"

    async def over_grpc(call: Callable[[grpc.aio.Channel], Awaitable[Any]]) -> str:
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel)
        refusal = refusal_of(caught.value)
        return f"{refusal.code} {refusal.retry_after_s}"

    def create(channel: grpc.aio.Channel) -> Awaitable[Any]:
        stub: Any = WorkflowServiceStub(channel)
        return stub.CreateWorkflow(m.CreateWorkflowRequest(name="x"), metadata=metadata)  # type: ignore[no-any-return]

    def watch(channel: grpc.aio.Channel) -> Awaitable[Any]:
        stub: Any = RefinementServiceStub(channel)
        return stub.WatchRefinement(m.WatchRefinementRequest(thread_id=thread), metadata=metadata).read()  # type: ignore[no-any-return]

    events = f"/api/refinements/{thread}/events"
    calls = [
        over_http("POST", "/api/workflows", json={"name": "x"}),
        over_http("POST", f"/api/workflows/{workflow}/refinements", json={"user_prompt": "x"}),
        over_http("GET", "/api/proposals"),
        over_http("GET", events),
        over_http("GET", f"{events}?wait=20"),
        over_http("GET", events, "text/event-stream"),
        over_http("POST", f"/api/refinements/{thread}/cancel"),
        over_a_socket(),
        over_grpc(create),
        over_grpc(watch),
    ]
    # More than the pool has connections: some wait for one.
    return [timed(call) for call in (*calls, *(over_http("GET", "/api/proposals") for _ in range(10)))]


async def test_a_transaction_whose_end_gets_no_answer_ends_in_time(database: str) -> None:
    async with through_a_proxy(database) as (dsn, between), open_pool(dsn) as pool:

        async def stalled() -> None:
            async with pool.acquire() as connection, connection.transaction():
                between.open.clear()
                await connection.fetchval("SELECT 1")

        seconds, error = await timed(stalled())
        assert isinstance(error, TimeoutError | asyncpg.InterfaceError | asyncpg.PostgresConnectionError)
        assert seconds < REFUSED_S + BUSY_S
        between.open.set()
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_call_that_is_cancelled_while_its_connection_is_given_up_leaves_no_error_behind(
    database: str,
) -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with through_a_proxy(database) as (dsn, between), open_pool(dsn) as pool:

        async def stalled() -> None:
            async with pool.acquire() as connection:
                between.open.clear()
                await connection.fetchval("SELECT 1")

        call = asyncio.ensure_future(stalled())
        await until(lambda: not between.open.is_set())
        # The first one ends the statement, the second one the wait for the server's confirmation.
        for _ in range(2):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait([call])
        await until(lambda: not pool.get_size())
        gc.collect()
    assert errors == []


async def test_after_one_connection_is_found_dead_no_idle_one_is_used(database: str) -> None:
    """As behind a firewall that forgot all of them, and tells nobody."""
    async with (
        through_a_proxy(database) as (dsn, between),
        open_pool(dsn, max_size=4, command_timeout_s=2.0) as pool,
    ):
        await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.2)", timeout=20) for _ in range(4)))
        assert pool.get_idle_size() == 4
        between.break_all("swallow")
        with pytest.raises(TimeoutError):
            await pool.fetchval("SELECT 1")
        # One that is dead answers never.
        assert await asyncio.gather(*(pool.fetchval("SELECT 1", timeout=20) for _ in range(4))) == [1] * 4


async def test_who_waits_for_a_connection_is_served_as_soon_as_the_network_is_back(database: str) -> None:
    """What was sent meanwhile is lost: the attempt that sent it never ends by itself."""
    async with through_a_proxy(database) as (dsn, between), open_pool(dsn, max_size=1) as pool:
        assert await pool.fetchval("SELECT 1") == 1
        await pool.expire_connections()
        between.open.clear()
        before = between.accepted
        waiting = asyncio.create_task(pool.fetchval("SELECT 2"))
        await until(lambda: between.accepted > before)
        between.break_all("swallow")
        between.open.set()
        async with asyncio.timeout(ACQUIRE_S):
            assert await waiting == 2


async def test_a_statement_that_waits_for_a_lock_is_refused_in_time_however_long_it_may_take(
    database: str,
) -> None:
    async with open_pool(database) as pool:
        blocker = await asyncpg.connect(database)
        try:
            transaction = blocker.transaction()
            await transaction.start()
            await blocker.execute("LOCK TABLE users")
            seconds, error = await timed(pool.fetchval("SELECT count(*) FROM users", timeout=60))
            assert isinstance(error, asyncpg.LockNotAvailableError)
            assert seconds < REFUSED_S + BUSY_S
            await transaction.rollback()
        finally:
            await blocker.close()
        # The address may say otherwise.
        async with open_pool(f"{database}&options=-c%20lock_timeout%3D70s") as other:
            assert await other.fetchval("SHOW lock_timeout") == "70s"


async def test_a_starter_does_not_wait_for_the_database_and_its_run_goes_on(database: str, pool: Any) -> None:
    """The database answers until the run is stored, and no more until its job is sent."""
    async with running_hub(database) as hub, hub.client() as client:
        workflow = await a_workflow(client)
        blocker = await asyncpg.connect(database)
        await pool.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$; "
            "CREATE TRIGGER waits BEFORE UPDATE OF status ON runs FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        try:
            await blocker.execute("SELECT pg_advisory_lock(7)")
            async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http:
                seconds, answer = await timed(
                    http.post(
                        f"/api/workflows/{workflow}/refinements",
                        json={"user_prompt": "[[replay:short_run]]"},
                        headers={"Authorization": f"Bearer {hub.token()}"},
                    )
                )
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert seconds < REFUSED_S + BUSY_S
        finally:
            await blocker.close()
        (run,) = (await client.call("GET", "/api/proposals"))["items"]
        proposal = await finished(client, {"thread_id": run["thread_id"], "proposal_id": run["id"]})
        assert proposal["status"] == "completed"


async def test_the_state_of_the_schema_is_not_waited_for(database: str) -> None:
    """A hub asks for it when it starts."""
    blocker = await asyncpg.connect(database)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE migration")
            seconds, error = await timed(migrate.status(database))
            assert isinstance(error, DatabaseUnavailable)
            assert seconds < migrate.STATUS_S + migrate.CLOSE_S + BUSY_S
    finally:
        await blocker.close()


async def test_a_hub_stops_in_time_while_its_database_hangs(database: str) -> None:
    async with through_a_proxy(database) as (dsn, between):
        async with running_hub(dsn, drain_s=0.0) as hub, hub.client() as client:
            for _ in range(3):
                await start(client, "[[replay:short_run silent=10]]")
            headers = {"Authorization": f"Bearer {hub.token()}"}
            limit_s = hub.core.runner.context.limits.max_close_s
            between.open.clear()
            async with httpx.AsyncClient(base_url=hub.http, trust_env=False, timeout=60) as http:
                pending = asyncio.create_task(timed(http.get("/api/proposals", headers=headers)))
                await asyncio.sleep(0)
                began = time.monotonic()
        # With 2 s for the pool's connections.
        assert time.monotonic() - began < limit_s + DRAIN_S + 2 + 2 * BUSY_S
        between.open.set()
        pending.cancel()


async def test_what_a_store_does_after_an_outage_succeeds_at_once(database: str) -> None:
    async with through_a_proxy(database) as (dsn, between), open_pool(dsn, max_size=2) as pool:
        users = PostgresUserStore(pool)
        await users.ensure_user(some_claims("ann"), NOON)
        between.open.clear()
        calls = [timed(users.ensure_user(some_claims(f"bob{number}"), NOON)) for number in range(20)]
        answers = await asyncio.gather(*calls)
        assert {type(error) for _, error in answers} == {DatabaseUnavailable}
        assert max(seconds for seconds, _ in answers) < REFUSED_S + BUSY_S
        between.open.set()
        seconds, _ = await timed(users.ensure_user(some_claims("eve"), NOON))
        assert seconds < 1 + BUSY_S
        async with pool.acquire() as connection:
            assert await connection.fetchval("SELECT count(*) FROM users WHERE subject = 'eve'") == 1


async def test_a_kept_connection_is_replaced_once_it_or_all_idle_ones_may_be_dead(database: str) -> None:
    async with through_a_proxy(database) as (dsn, between), open_pool(dsn) as pool:
        kept = DedicatedConnection(pool, timeout_s=1)

        async def pid() -> int:
            (row,) = await kept.fetch("SELECT pg_backend_pid() AS pid")
            return int(row["pid"])

        first = await pid()
        assert await pid() == first
        between.open.clear()
        with pytest.raises(TimeoutError):
            await kept.fetch("SELECT 1")
        between.open.set()
        second = await pid()
        assert second != first
        # Closed by the server.
        await pool.fetchval("SELECT pg_terminate_backend($1, 5000)", second)
        await until(lambda: kept._connection is None or kept._connection.is_closed())
        third = await pid()
        assert third not in (first, second)
        # Another user of the pool lost its connection, and nobody was answered since.
        between.open.clear()
        with pytest.raises(TimeoutError):
            async with pool.acquire(limit_s=0.5) as connection:
                await connection.fetchval("SELECT 1")
        between.open.set()
        assert await pid() != third
        kept.close()
