"""How the pool connects: soon after an outage, directly or through a transaction pooler.

A caller that waits for a connection leaves when its own time is over. Its attempt goes on, and the next
caller gets it, so that even a server that is slow to connect to, or the third host of the address, is
reached.

A transaction pooler (pgbouncer) gives each transaction another session of the server. So nothing may be
kept in a session: neither prepared statements nor settings. A pooler need not be announced: it refuses a
setting at the start of a connection, or reports a process id that is not that of the server's session.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from math import inf
from typing import Any

import asyncpg

_logger = logging.getLogger(__name__)

#: The level that the statements are written for: each sees what was committed before it, and a row that
#: changed meanwhile is read again. The database's default may be another.
_ISOLATION = {"default_transaction_isolation": "read committed"}
#: Milliseconds for which a statement waits for a lock, such as that of a migration by hand, unless the
#: address says otherwise: less than any use of the pool may last.
_LOCK_TIMEOUT = {"lock_timeout": "3000"}
#: What a pooler answers to a setting that it does not track.
_PROTOCOL_VIOLATION = "08P01"
#: Seconds without an answer after which a second attempt to connect is made beside the first: what the first
#: one sent may be lost, though the server is back.
AGAIN_S = 1.0


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
        #: The attempt of one that left before it ended.
        self._left: asyncio.Task[Any] | None = None
        #: Whether a connection was lost since the last one was made.
        self._lost = False
        self._reconnected_at = -inf

    @property
    def pooled(self) -> bool:
        """Whether a pooler is in front of the database: no statement stays prepared. Known once there is a
        connection."""
        return bool(self._pooled)

    @property
    def seconds_since_reconnect(self) -> float:
        """How long ago a connection was made after another one was lost; infinite if that never happened."""
        return time.monotonic() - self._reconnected_at

    def _on_lost(self, connection: Any) -> None:
        self._lost = True

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A connection. Raises as `connect`."""
        connection = await self._first_made(lambda: self._connected(*args, **kwargs))
        if self._lost:
            self._lost, self._reconnected_at = False, time.monotonic()
        connection.add_termination_listener(self._on_lost)
        return connection

    def close(self) -> None:
        """Give up the attempt that is left, or drop its connection."""
        if self._left is not None:
            _drop(self._left)
            self._left = None

    async def _first_made(self, connect: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The connection that is made first: by a new attempt, one beside it, or the one that is left.

        Raises as `connect`, when each attempt of this call has failed.
        """
        left, self._left = self._left, None
        attempts = [attempt for attempt in (left, _start(connect)) if attempt is not None]
        try:
            while True:
                done, _ = await asyncio.wait(attempts, timeout=AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    attempts.remove(attempt)
                    if _made(attempt):
                        return attempt.result()
                failed = [attempt for attempt in done if attempt is not left]
                if failed and attempts in ([], [left]):
                    return failed[0].result()
                if not done:
                    attempts.append(_start(connect))
        except asyncio.CancelledError:
            if self._left is None:
                # The oldest: it is nearest to its end.
                self._left = attempts.pop(0)
            raise
        finally:
            for attempt in attempts:
                _drop(attempt)

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
            server_settings=_settings(server_settings),
            statement_cache_size=statement_cache_size,
            **kwargs,
        )

    async def _is_pooled(self, *args: Any, server_settings: Mapping[str, str], **kwargs: Any) -> bool:
        settings = _settings(server_settings)
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


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    """The settings of a session: those of the address, and ours."""
    lock_timeout = {} if "lock_timeout" in given.get("options", "") else _LOCK_TIMEOUT
    return {**given, **_ISOLATION, **lock_timeout}


def _start(connect: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
    attempt = asyncio.create_task(connect(), name="connect")
    # Its error is seen there, also when nobody waits for it any more.
    attempt.add_done_callback(lambda done: done.cancelled() or done.exception())
    return attempt


def _made(attempt: asyncio.Task[Any]) -> bool:
    """Whether the attempt, which is over, gave a connection."""
    return not attempt.cancelled() and attempt.exception() is None and not attempt.result().is_closed()


def _drop(attempt: asyncio.Task[Any]) -> None:
    """Give up an attempt, whatever comes of it."""
    attempt.cancel()
    attempt.add_done_callback(lambda done: done.result().terminate() if _made(done) else None)
