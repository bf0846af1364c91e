"""Reads of one kind that callers ask for at the same time, answered by one statement (ADR 0058).

A statement costs its round trip, and little more when it reads several rows: the connection, the driver, two
wake-ups of the event loop. So all reads of one turn of the loop share a statement, and those that come while
it is under way share the next one.

1. A read sees everything that was committed before it was requested, because it never joins a statement that
   is already running.
2. Each caller gets only the rows that this caller may see, whatever else is in the statement.
3. A read waits at most NEXT_S for a running statement, so that one that hangs delays nobody else.
4. If one caller is cancelled, the others are not affected.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from typing import Any

import asyncpg

from server.db.errors import database_errors

#: Reads of one statement: a few milliseconds of the database's time.
MAX_READS = 64
#: Seconds that a read waits for a running statement before another one begins in parallel.
NEXT_S = 0.005


class BatchedReads:
    """Reads of at most one row each. statement: takes an array for each part of a key, and gives rows whose
    column `number` says which element of the arrays they belong to, counted from 1."""

    def __init__(self, pool: asyncpg.Pool, statement: str) -> None:
        self._pool, self._statement = pool, statement
        self._waiting: deque[tuple[Sequence[Any], asyncio.Future[asyncpg.Record | None]]] = deque()
        self._statements: set[asyncio.Task[None]] = set()
        #: Whether a statement is about to take what waits.
        self._beginning = False
        #: When what waits no longer waits for a statement that is under way.
        self._timer: asyncio.TimerHandle | None = None

    async def row(self, *key: Any) -> asyncpg.Record | None:
        """The row of a key; None if there is none. Raises DatabaseUnavailable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[asyncpg.Record | None] = loop.create_future()
        self._waiting.append((key, answer))
        if not self._beginning:
            if not self._statements:
                self._begin(loop)
            elif self._timer is None:
                self._timer = loop.call_later(NEXT_S, self._begin, loop)
        return await answer

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a statement in the next turn of the loop, with what waits by then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._beginning = True
        # It works for several callers: for none of them when they take turns.
        statement = loop.create_task(self._read(loop), name="batched reads", context=Context())
        self._statements.add(statement)
        statement.add_done_callback(self._ended)

    def _ended(self, statement: asyncio.Task[None]) -> None:
        self._statements.discard(statement)
        if self._waiting and not self._beginning:
            self._begin(statement.get_loop())

    async def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beginning = False
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_READS))]
        if self._waiting:
            self._begin(loop)
        # Callers that were cancelled need no answer.
        asked = [each for each in taken if not each[1].done()]
        try:
            rows = await self._rows([key for key, _ in asked])
        except Exception as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for number, (_, answer) in enumerate(asked, 1):
                if not answer.done():
                    answer.set_result(rows.get(number))

    async def _rows(self, keys: Sequence[Sequence[Any]]) -> dict[int, asyncpg.Record]:
        if not keys:
            return {}
        with database_errors():
            rows = await self._pool.fetch(self._statement, *zip(*keys, strict=True))
        return {row["number"]: row for row in rows}
