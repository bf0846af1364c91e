"""How the pool connects: directly, or through a transaction pooler, which it notices by itself.

A transaction pooler (pgbouncer) gives each transaction another session of the server. So nothing may be
kept in a session: neither prepared statements nor settings. A pooler shows itself by refusing a setting at
the start of a connection, or by a process id that is not that of the server's session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Any

import asyncpg

_logger = logging.getLogger(__name__)

#: The level that the statements are written for: each sees what was committed before it, and a row that
#: changed meanwhile is read again. The database's default may be another.
_ISOLATION = {"default_transaction_isolation": "read committed"}
#: What a pooler answers to a setting that it does not track.
_PROTOCOL_VIOLATION = "08P01"


class Connector:
    """Makes connections. `pooled`: whether a pooler is known to be in front of the database.

    `connect` takes the arguments of `asyncpg.connect`.
    """

    def __init__(
        self, *, pooled: bool = False, connect: Callable[..., Awaitable[Any]] = asyncpg.connect
    ) -> None:
        self._connect = connect
        #: None until the first connection.
        self._pooled: bool | None = pooled or None
        self._finding_out = asyncio.Lock()
        #: Whether a connection was lost since the last one was made.
        self._lost = False
        self._reconnected_at = -inf

    @property
    def seconds_since_reconnect(self) -> float:
        """How long ago a connection was made after another one was lost; infinite if that never happened."""
        return time.monotonic() - self._reconnected_at

    def _on_lost(self, connection: Any) -> None:
        self._lost = True

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A connection. Raises as `connect`."""
        connection = await self._connected(*args, **kwargs)
        if self._lost:
            self._lost, self._reconnected_at = False, time.monotonic()
        connection.add_termination_listener(self._on_lost)
        return connection

    async def _connected(
        self, *args: Any, server_settings: Mapping[str, str], statement_cache_size: int, **kwargs: Any
    ) -> Any:
        if self._pooled is None:
            async with self._finding_out:
                if self._pooled is None:
                    self._pooled = await self._is_pooled(*args, server_settings=server_settings, **kwargs)
        if self._pooled:
            return await self._connect(
                *args, server_settings=server_settings, statement_cache_size=0, **kwargs
            )
        return await self._connect(
            *args,
            server_settings={**server_settings, **_ISOLATION},
            statement_cache_size=statement_cache_size,
            **kwargs,
        )

    async def _is_pooled(self, *args: Any, server_settings: Mapping[str, str], **kwargs: Any) -> bool:
        settings = {**server_settings, **_ISOLATION}
        try:
            connection = await self._connect(
                *args, server_settings=settings, statement_cache_size=0, **kwargs
            )
        except Exception as error:
            if getattr(error, "sqlstate", None) != _PROTOCOL_VIOLATION:
                raise
            pooled = True
        else:
            try:
                pooled = await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid()
            finally:
                connection.terminate()
        if pooled:
            _logger.info("database_pooler_found")
        return pooled
