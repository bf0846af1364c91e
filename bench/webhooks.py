"""`webhooks`: how many deliveries a second the hub makes from a full outbox.

`python -m bench.webhooks COUNT` is the receiver: it prints its address, and, once it has had so many calls,
the JSON of `Received`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bench.costs import measured
from bench.environment import Environment, in_turn
from bench.figures import NoFigure, Stats, Table
from bench.jobs import answer
from bench.machine import on_other_cores, tree_cpu_seconds
from bench.stored_proposals import add_proposal, copy_proposal
from server.cli.hub_client import HubClient, open_client
from server.db.outbox import add_to_outbox
from server.db.pool import open_pool
from server.domain.model import ProposalStatus
from server.domain.webhooks.events import run_finished
from tests.support.processes import Process, running
from tests.support.tokens import token

#: Seconds for all deliveries of a round.
DELIVER_S = 45.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

_OPEN = """
SELECT count(*) FILTER (WHERE delivered_at IS NULL) || ' of ' || count(*) || ' deliveries are open, '
  || coalesce(string_agg(DISTINCT failure, ', ') FILTER (WHERE failure <> ''), 'none failed')
FROM webhook_deliveries WHERE webhook_id = ANY($1::uuid[])
"""
_REMOVE = """
WITH gone AS (DELETE FROM webhooks WHERE id = ANY($1::uuid[]))
DELETE FROM webhook_deliveries WHERE webhook_id = ANY($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Received:
    """The calls of the receiver: path, headers, body. seconds: from the first to the last one."""

    seconds: float
    calls: list[tuple[str, dict[str, str], str]]


@dataclass(frozen=True, slots=True)
class Delivered:
    """Deliveries a second, what the hub and PostgreSQL used for each, and the peak of the hub's memory."""

    per_s: float
    cpu_us: float
    postgres_us: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Outbox:
    """A hub, its database, and a user's proposals, each of which has an event to report."""

    environment: Environment
    client: HubClient
    pool: Any
    proposals: Sequence[UUID]

    async def take(self, webhooks: int) -> Delivered:
        """Deliver the events to so many webhooks. Raises NoFigure."""
        count = len(self.proposals) * webhooks
        async with _receiver(count) as process:
            address, secrets = process.addresses["receiver"], {}
            for number in range(webhooks):
                body = {"target_url": f"{address}/{number}", "event_types": ["run.finished"]}
                webhook = await self.client.call("POST", "/api/webhooks", body)
                secrets[webhook["id"]] = webhook["secret"]
            try:
                return await self._deliver(process, secrets, count)
            finally:
                await self.pool.execute(_REMOVE, list(secrets))

    async def _deliver(self, process: Process, secrets: Mapping[str, str], count: int) -> Delivered:
        """secrets: of the webhooks, by id."""
        postgres_pid = self.environment.addresses.postgres_pid
        # In one transaction: the hub finds all events at once.
        async with self.pool.acquire(limit_s=None) as connection:
            transaction = connection.transaction()
            await transaction.start()
            for proposal in self.proposals:
                event = run_finished(
                    proposal, seq=2, status=ProposalStatus.COMPLETED, failure=None, file_count=1
                )
                await add_to_outbox(connection, event)
            before = tree_cpu_seconds(postgres_pid)

            async def work() -> Received:
                await transaction.commit()
                return Received(**json.loads(await process.output()))

            try:
                async with asyncio.timeout(DELIVER_S):
                    cost, received = await measured(self.environment.hub.pid, work())
            except TimeoutError:
                left = await self.pool.fetchval(_OPEN, list(secrets))
                raise NoFigure(f"after {DELIVER_S:.0f} s {left}") from None
        postgres_us = (tree_cpu_seconds(postgres_pid) - before) / count * 1e6
        _check(received, list(secrets.values()))
        return Delivered(
            (count - 1) / received.seconds, cost.cpu_ms * 1000 / count, postgres_us, cost.memory_mib
        )


async def measure_webhooks(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each number of webhooks. Raises NoFigure."""
    # So that each row has as many deliveries.
    shares = {1: 100, 20: 5} if quick else {1: 2_000, 20: 100}
    user = token("hooks@example.com", minutes=600)
    url = environment.hub.addresses["HTTP"]
    async with open_pool(environment.dsn) as pool, open_client(url, user) as client:
        workflow = await client.call("POST", "/api/workflows", {"name": "bench"})
        proposals = await copy_proposal(pool, await add_proposal(pool, workflow, {}), max(shares.values()))

        async def take(webhooks: int) -> Delivered:
            outbox = Outbox(environment, client, pool, proposals[: shares[webhooks]])
            return await outbox.take(webhooks)

        taken = await in_turn(list(shares), 1 if quick else 4, take, warm_up=not quick)
    rows: list[list[str | Stats]] = [
        [
            f"{webhooks} webhook{'s' * (webhooks > 1)}, {events:,} events",
            *(
                Stats.of([getattr(each, figure.name) for each in some])
                for figure in dataclasses.fields(Delivered)
            ),
        ]
        for (webhooks, events), some in zip(shares.items(), taken, strict=True)
    ]
    heads = ["", "deliveries/s", "hub CPU µs", "PostgreSQL CPU µs", "hub memory MiB"]
    note = "A webhook has at most 4 calls at a time, and a replica at most 64."
    return [Table("Deliveries of webhooks from a full outbox", heads, rows, note)]


@contextlib.asynccontextmanager
async def _receiver(count: int) -> AsyncIterator[Process]:
    """A receiver of so many calls, which serves."""
    async with contextlib.AsyncExitStack() as stack:
        with on_other_cores():
            started = running(str(count), module="bench.webhooks", environment={})
            process = await stack.enter_async_context(started)
        await process.serving("receiver")
        yield process


def _check(received: Received, secrets: Sequence[str]) -> None:
    """Raises NoFigure unless each call has its webhook's signature and reports another event."""
    deliveries = {(path, headers["webhook-id"]) for path, headers, _ in received.calls}
    if len(deliveries) != len(received.calls):
        raise NoFigure(f"{len(received.calls) - len(deliveries)} deliveries were made twice")
    for path, headers, body in received.calls:
        try:
            Webhook(secrets[int(path.removeprefix("/"))]).verify(body, headers)
        except WebhookVerificationError as error:
            raise NoFigure(f"a delivery is not genuine: {error}") from None


class _Receiver:
    """The calls that came. ended: set when there are `count` of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._raw: list[tuple[bytes, bytes]] = []
        self._first_ns = self._last_ns = 0
        self.ended = asyncio.Event()

    def add(self, head: bytes, body: bytes) -> None:
        """Another call."""
        self._last_ns = time.monotonic_ns()
        self._first_ns = self._first_ns or self._last_ns
        self._raw.append((head, body))
        if len(self._raw) == self._count:
            self.ended.set()

    def received(self) -> Received:
        """All of them, parsed."""
        calls = []
        for head, body in self._raw:
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            calls.append((first.split(" ")[1], headers, body.decode()))
        return Received((self._last_ns - self._first_ns) / 1e9, calls)


class _Connection(asyncio.Protocol):
    """A connection of the hub: one request after another, in pieces of any size."""

    def __init__(self, receiver: _Receiver) -> None:
        self._receiver, self._data = receiver, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, rest = self._data.partition(b"\r\n\r\n")
        size = _LENGTH.search(head)
        if separator and size and len(rest) >= int(size[1]):
            self._data = rest[int(size[1]) :]
            self._receiver.add(head, rest[: int(size[1])])
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


async def _receive(count: int) -> Received:
    """Serve until so many calls have come."""
    receiver = _Receiver(count)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(receiver), "127.0.0.1", 0, backlog=1024)
    print(f"receiver http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await receiver.ended.wait()
    # No `wait_closed`: the hub keeps its connections for the next call.
    server.close()
    return receiver.received()


if __name__ == "__main__":
    sys.exit(answer(_receive(int(sys.argv[1]))))
