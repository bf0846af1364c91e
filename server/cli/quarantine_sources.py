"""Where `ideo quarantine` works: on the database, or by calls of a hub. Both give the JSON of the HTTP
interface."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import msgspec
from typing_extensions import override

from ide_orchestrator.client.http_calls import PAGE, address, with_query
from server.cli.hub_client import HubClient
from server.clock import SystemClock
from server.compiled.spliced import SplicingInterpreter
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.db.quarantine import PostgresQuarantineStore
from server.domain.model import Page
from server.domain.quarantine.quarantine import Quarantine
from server.settings.settings import Settings
from server.wire.codec import ProtobufCodec
from server.wire.quarantine import (
    QuarantinedFrame,
    QuarantinedShape,
    ReleasedShape,
    ScannedQuarantine,
)
from server.wire.text import dumps

#: Seconds of the lease of a journal that is only read.
_NO_LEASE_S = 1.0


class Source(Protocol):
    """The quarantine. Raises what its place raises: NotFound, or HubError."""

    def shapes(self, *, include_released: bool) -> AsyncGenerator[dict[str, Any], None]:
        """The shapes, those with the newest frames first."""
        ...

    async def shape(self, shape_id: str) -> dict[str, Any]:
        """One shape."""
        ...

    def frames(self, shape_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The frames of a shape, by thread and seq."""
        ...

    async def content(self, thread_id: str, seq: int) -> bytes:
        """A frame as it came."""
        ...

    async def release(self, shape_id: str, cursor: str | None) -> dict[str, Any]:
        """Release the frames of a shape; one page of reports."""
        ...

    async def scan(self, cursor: str | None) -> dict[str, Any]:
        """Note what earlier releases have kept; one page of journals."""
        ...


class InDatabase(Source):
    """Beside the database."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine

    @override
    async def shapes(self, *, include_released: bool) -> AsyncGenerator[dict[str, Any], None]:
        async for group in _each(partial(self._quarantine.groups, handled=include_released)):
            yield _json(QuarantinedShape.of(group))

    @override
    async def shape(self, shape_id: str) -> dict[str, Any]:
        return _json(QuarantinedShape.of(await self._quarantine.group(shape_id)))

    @override
    async def frames(self, shape_id: str) -> AsyncGenerator[dict[str, Any], None]:
        async for frame in _each(partial(self._quarantine.frames, shape_id)):
            yield _json(QuarantinedFrame.of(frame))

    @override
    async def content(self, thread_id: str, seq: int) -> bytes:
        return await self._quarantine.content(UUID(thread_id), seq)

    @override
    async def release(self, shape_id: str, cursor: str | None) -> dict[str, Any]:
        return _json(ReleasedShape.of(await self._quarantine.release(shape_id, limit=PAGE, token=cursor)))

    @override
    async def scan(self, cursor: str | None) -> dict[str, Any]:
        return _json(ScannedQuarantine.of(await self._quarantine.scan(cursor)))


class OverHub(Source):
    """By calls of a hub, as one of its operators."""

    def __init__(self, client: HubClient) -> None:
        self._client = client

    @override
    def shapes(self, *, include_released: bool) -> AsyncGenerator[dict[str, Any], None]:
        return self._client.items("/api/quarantine/shapes", include_released=include_released, limit=PAGE)

    @override
    async def shape(self, shape_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._client.call("GET", _address(shape_id))
        return found

    @override
    def frames(self, shape_id: str) -> AsyncGenerator[dict[str, Any], None]:
        return self._client.items(f"{_address(shape_id)}/frames", limit=PAGE)

    @override
    async def content(self, thread_id: str, seq: int) -> bytes:
        return await self._client.read(with_query(address("quarantine/frames", thread_id), {"seq": seq}))

    @override
    async def release(self, shape_id: str, cursor: str | None) -> dict[str, Any]:
        body = {"limit": PAGE, "cursor": cursor}
        page: dict[str, Any] = await self._client.call("POST", f"{_address(shape_id)}/release", body)
        return page

    @override
    async def scan(self, cursor: str | None) -> dict[str, Any]:
        page: dict[str, Any] = await self._client.call("POST", "/api/quarantine/scan", {"cursor": cursor})
        return page


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[InDatabase]:
    """The quarantine in the settings' database. Raises DatabaseUnavailable."""
    dsn = settings.database_url.get_secret_value() if settings.database_url else ""
    async with open_pool(dsn, max_size=1, application_name="ideo quarantine") as pool:
        journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=_NO_LEASE_S)
        yield InDatabase(
            Quarantine(PostgresQuarantineStore(pool), journal, ProtobufCodec(), SplicingInterpreter)
        )


def _address(shape_id: str) -> str:
    return address("quarantine/shapes", shape_id)


async def _each(page_of: Callable[..., Awaitable[Page]]) -> AsyncGenerator[Any, None]:
    """The items of all pages. page_of: takes `limit` and `token`."""
    token: str | None = None
    while True:
        page = await page_of(limit=PAGE, token=token)
        for item in page.items:
            yield item
        token = page.next_token
        if token is None:
            return


def _json(model: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dumps(model))
    return found
