"""Driver errors to domain errors.

Errors that mean "the database cannot be reached, did not answer, or asks to try again" become
DatabaseUnavailable. Everything else (a syntax error, a violated constraint) is a bug and is raised unchanged.
Callers never see the driver's text; the cause is chained for the log.
"""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from types import TracebackType

import asyncpg

from server.domain.errors import DatabaseUnavailable

#: asyncpg reports a connection that is lost during a call as any of these. `InternalClientError` is neither a
#: PostgresError nor an InterfaceError, and occurs when a server is killed.
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # includes TimeoutError
)

#: Answers of a server that cannot serve now, by their class where all of a class say so.
_REFUSED = (
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.OperatorInterventionError,  # shut down, starting up, cancelled, database dropped
    asyncpg.PostgresIOError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # the answer of a demoted primary
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)

#: Answers that ask to try again: nothing was executed.
_ROLLED_BACK = (
    asyncpg.TransactionRollbackError,  # deadlocks, and conflicts under a stricter isolation level
    asyncpg.InvalidCachedStatementError,  # the schema changed under a prepared statement
    asyncpg.InvalidSQLStatementNameError,  # a pooler lost a prepared statement
    asyncpg.DuplicatePreparedStatementError,
)


def is_unavailable(error: BaseException) -> bool:
    """Whether the error says that the database cannot be reached, cannot serve now, or asks to try again."""
    if isinstance(error, asyncpg.DataError):  # an InterfaceError when the driver refuses an argument
        return False
    if isinstance(error, asyncpg.InterfaceError) and "another operation" in str(error):
        return False  # two tasks on one connection: a bug in the hub
    return isinstance(error, _LOST + _REFUSED + _ROLLED_BACK)


class _DatabaseErrors:
    """As a class, since each commit enters it: a generator would take seven calls."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and is_unavailable(error):
            raise DatabaseUnavailable from error


_DATABASE_ERRORS = _DatabaseErrors()


def database_errors() -> AbstractContextManager[None, None]:
    """Raises DatabaseUnavailable for an error that `is_unavailable`; any other is raised unchanged."""
    return _DATABASE_ERRORS


def is_unknown_host(error: DatabaseUnavailable) -> bool:
    """Whether the host name in the database's address cannot be resolved."""
    return isinstance(error.__cause__, socket.gaierror)


def reason_of(error: DatabaseUnavailable) -> str:
    """Why the database is unavailable: the driver's or the server's name for it, which has no value in it."""
    cause = error.__cause__
    if is_unknown_host(error):
        return "its host name has no address"
    return str(getattr(cause, "reason", "") or type(cause).__name__) if cause else "no answer"
