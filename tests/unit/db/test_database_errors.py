from __future__ import annotations

import asyncio

import asyncpg
import pytest

from server.db.errors import database_errors
from server.domain.errors import DatabaseUnavailable

LOST = [
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("got result for unknown protocol state"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.CrashShutdownError("terminating connection because of crash"),
    asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
    asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
    asyncpg.InvalidPasswordError("password authentication failed for user secret"),
    asyncpg.InvalidCatalogNameError("database does not exist"),
    asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
    asyncpg.DatabaseDroppedError("terminating connection because database was dropped"),
    asyncpg.DiskFullError("could not extend file"),
    asyncpg.ConfigurationLimitExceededError("temporary file size exceeds temp_file_limit"),
    asyncpg.PostgresIOError("could not read block"),
    asyncpg.IdleInTransactionSessionTimeoutError("terminating connection due to idle-in-transaction timeout"),
    asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout"),
    asyncpg.DeadlockDetectedError("deadlock detected"),
    asyncpg.SerializationError("could not serialize access due to concurrent update"),
    asyncpg.InvalidCachedStatementError("cached plan must not change result type"),
    asyncpg.OutdatedSchemaCacheError("schema has changed"),
    asyncpg.InvalidSQLStatementNameError("prepared statement does not exist"),
    asyncpg.DuplicatePreparedStatementError("prepared statement already exists"),
    ConnectionRefusedError("refused"),
    TimeoutError(),
]

BUGS = [
    asyncpg.PostgresSyntaxError("syntax error"),
    asyncpg.UniqueViolationError("duplicate key"),
    asyncpg.CheckViolationError("violates check constraint"),
    asyncpg.DataError("invalid input for query argument $1"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.UndefinedTableError("no such table"),
    KeyError("a bug"),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_a_lost_database_is_unavailable_and_the_drivers_text_is_not_shown(error: Exception) -> None:
    with pytest.raises(DatabaseUnavailable) as caught, database_errors():
        raise error
    assert str(caught.value) == "the database is not available"
    assert caught.value.__cause__ is error
    assert caught.value.retry_after_s


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, database_errors():
        raise error
    assert caught.value is error


def test_a_cancelled_call_stays_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError), database_errors():
        raise asyncio.CancelledError
