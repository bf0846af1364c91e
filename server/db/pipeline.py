"""Executions of a prepared statement that are sent together and are one transaction: PostgreSQL's pipeline.

The driver connects and prepares. For an execution it takes a callback, a timer and several layers, and it
encodes each parameter by its type. Here the parameters come in PostgreSQL's binary form, and the usual answer
is compared with what it has to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

import asyncpg
from typing_extensions import override

#: What comes before a parameter.
LENGTH = Struct("!i")
_HEAD = Struct("!ci")
_HEAD_BYTES = _HEAD.size
#: The messages Execute, for all rows of the portal without a name, and Sync.
_EXECUTE, _SYNC = b"E\0\0\0\x09\0\0\0\0\0", b"S\0\0\0\x04"
#: What follows the parameters: the end of the Bind, which is the form of the results, of which there are
#: none, and the Execute.
_NO_RESULTS = b"\0\0"
_BOUND = _NO_RESULTS + _EXECUTE
#: The answers BindComplete, CommandComplete of an INSERT of one row, and ReadyForQuery outside a transaction.
_ONE_INSERTED, _READY = b"2\0\0\0\x04C\0\0\0\x0fINSERT 0 1\0", b"Z\0\0\0\x05I"
#: An answer to an INSERT is a few bytes, and an error a few lines.
_MAX_ANSWER_BYTES = 1 << 20

#: How many rows each execution has inserted, or why that is not known.
Outcome: TypeAlias = list[int] | BaseException


def parameter(value: bytes) -> bytes:
    """A parameter in binary form with its length before it."""
    return LENGTH.pack(len(value)) + value


class Pipeline(asyncio.Protocol):
    """A connection of the driver's, which does not use it at the same time. timeout_s: for each `insert`."""

    def __init__(self, connection: asyncpg.Connection, *, timeout_s: float) -> None:
        self._connection, self._timeout_s = connection, timeout_s
        self._loop = asyncio.get_running_loop()
        self._driver: asyncio.Protocol = connection._protocol
        self._transport: asyncio.Transport = connection._transport
        #: Whether what the server sends comes here, and not to the driver.
        self._receives = False
        #: Of each query its statement, which the driver would close if nobody had it, the message Bind
        #: between its length and its parameters, and its length without these.
        self._prepared: dict[str, tuple[asyncpg.prepared_stmt.PreparedStatement, bytes, int]] = {}
        #: Gets the outcome of what was sent last, until it has.
        self._on_outcome: Callable[[Outcome], None] | None = None
        #: How many executions were sent last, the usual answer to so many, and its outcome.
        self._executions, self._usual, self._usual_counts = 0, b"", list[int]()
        #: What came of another answer, and the rows that it reports.
        self._unusual, self._counts = bytearray(), list[int]()
        #: When, in seconds of the loop's time.
        self.sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def insert(self, query: str, executions: list[bytes]) -> list[int]:
        """As `send`; the query is prepared first. Returns the outcome, or raises it."""
        if query not in self._prepared:
            await self._prepare(query)
        answer: asyncio.Future[list[int]] = self._loop.create_future()

        def end(outcome: Outcome) -> None:
            if answer.done():
                return
            if isinstance(outcome, BaseException):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        if not self.send(query, executions, end):
            raise asyncpg.ConnectionDoesNotExistError("the connection is closed")
        return await answer

    def send(self, query: str, executions: list[bytes], on_outcome: Callable[[Outcome], None]) -> bool:
        """Execute an INSERT, once for each list of parameters, in one transaction. Returns whether it was
        sent: only one that `insert` has sent before.

        executions: all parameters of each, as `parameter` gives them. on_outcome: called with the answer as
        it comes, in which the next ones may be sent; an error is the driver's, and after it the connection is
        of no more use.
        """
        prepared = self._prepared.get(query)
        if prepared is None or self._transport.is_closing():
            return False
        _, bind, bind_bytes = prepared
        parts: list[bytes] = []
        for parameters in executions:
            parts += _HEAD.pack(b"B", bind_bytes + len(parameters)), bind, parameters, _BOUND
        parts.append(_SYNC)
        if len(executions) != self._executions:
            count = self._executions = len(executions)
            self._usual, self._usual_counts = _ONE_INSERTED * count + _READY, [1] * count
        self.sent_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self.sent_at + self._timeout_s, self._look)
        if not self._receives:
            self._receives = True
            self._transport.set_protocol(self)
        self._on_outcome = on_outcome
        self._transport.write(b"".join(parts))
        return True

    async def _prepare(self, query: str) -> None:
        self.hand_back()
        statement = await self._connection.prepare(query, timeout=self._timeout_s)
        count = len(statement.get_parameters())
        # The portal has no name, and all parameters are binary.
        bind = b"\0%s\0\0\1\0\1" % statement.get_name().encode() + count.to_bytes(2, "big")
        self._prepared[query] = statement, bind, 4 + len(bind) + len(_NO_RESULTS)

    def hand_back(self) -> None:
        """Let the driver use the connection, up to the next `insert`."""
        if self._receives:
            self._receives = False
            self._transport.set_protocol(self._driver)

    def close(self) -> None:
        """Look no more for answers: the connection is dropped."""
        self._on_outcome = None
        if self._timer is not None:
            self._timer.cancel()

    @override
    def data_received(self, data: bytes) -> None:
        if data == self._usual and not self._unusual and (on_outcome := self._on_outcome) is not None:
            self._on_outcome = None
            on_outcome(self._usual_counts)
            return
        self._unusual += data
        try:
            self._read()
        except Exception as error:
            self._fail(error)

    def _read(self) -> None:
        """Read the messages that are whole. Raises the error that the server reports."""
        received = self._unusual
        while len(received) >= _HEAD_BYTES:
            kind, size_bytes = _HEAD.unpack_from(received)
            if not 4 <= size_bytes <= _MAX_ANSWER_BYTES:
                raise asyncpg.ProtocolError("an answer of the server has no proper length")
            if len(received) <= size_bytes:
                return
            content = bytes(received[_HEAD_BYTES : size_bytes + 1])
            del received[: size_bytes + 1]
            if kind == b"C":
                # Such as "INSERT 0 1".
                self._counts.append(int(content[:-1].rpartition(b" ")[2]))
            elif kind == b"E":
                raise _error_of(content)
            elif kind == b"Z":
                counts, self._counts = self._counts, []
                if self._on_outcome is None or len(counts) != self._executions:
                    raise asyncpg.ProtocolError("the server answered what it was not asked")
                self._end(counts)
            # Others are notices, and settings that have changed.

    def _end(self, outcome: Outcome) -> None:
        on_outcome, self._on_outcome = self._on_outcome, None
        if on_outcome is not None:
            on_outcome(outcome)

    def _fail(self, error: BaseException) -> None:
        self._transport.abort()
        self._end(error)

    def _look(self) -> None:
        """Whether an answer takes too long: one timer for all."""
        self._timer = None
        if self._on_outcome is not None:
            due = self.sent_at + self._timeout_s
            if due <= self._loop.time():
                self._fail(TimeoutError())
            else:
                self._timer = self._loop.call_at(due, self._look)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._driver.connection_lost(exc)
        self._fail(
            exc or asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        )

    @override
    def pause_writing(self) -> None:
        self._driver.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._driver.resume_writing()


def _error_of(content: bytes) -> asyncpg.PostgresError:
    """The driver's error of the server's message."""
    fields = {part[:1].decode(): part[1:].decode(errors="replace") for part in content.split(b"\0") if part}
    return asyncpg.PostgresError.new(fields)
