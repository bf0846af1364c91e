"""The checks of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from server.addresses.postgres import parse_address
from server.cli.doctor.finding import TIMEOUT_S, Finding
from server.db import migrate
from server.db.connections import ConnectionRefused, connect
from server.db.errors import database_errors, is_unknown_host, reason_of
from server.domain.errors import DatabaseUnavailable
from server.settings.settings import Settings

#: The oldest PostgreSQL that is tested.
MIN_POSTGRES_VERSION = 14
#: The largest harmless difference: tokens expire by the hub's clock, leases by the database's.
MAX_CLOCK_DIFFERENCE = timedelta(seconds=2)
#: What is below it is shown as none.
_SHOWN_DIFFERENCE = timedelta(seconds=0.05)


async def fetch_row(dsn: str, statement: str) -> Any:
    """The first row of a statement, which runs on a new connection. Raises DatabaseUnavailable."""
    with database_errors():
        connection = await connect(dsn, timeout_s=TIMEOUT_S, command_timeout_s=TIMEOUT_S)
        try:
            return await connection.fetchrow(statement)
        finally:
            await connection.close(timeout=TIMEOUT_S)


async def check_database(settings: Settings, dsn: str) -> Finding:
    """Whether the server answers and is recent enough."""
    try:
        row = await fetch_row(dsn, "SELECT current_setting('server_version_num')::integer / 10000 AS version")
    except DatabaseUnavailable as error:
        why = reason_of(error)
        unreachable = f"{parse_address(dsn).places()} cannot be reached ({why})".lstrip()
        cause = error.__cause__
        if isinstance(cause, ConnectionRefused) and cause.options_refused:
            fix = "correct the parameter options of DATABASE_URL"
            return Finding("database", f"refuses the settings in the address ({why})", fix)
        if is_unknown_host(error):
            fix = "correct the host in DATABASE_URL, or the name service of this machine"
            return Finding("database", unreachable, fix)
        return Finding(
            "database",
            unreachable,
            "check that PostgreSQL runs, that DATABASE_URL has the right host, port, user, password and "
            "database, and that the network policy allows the connection",
        )
    if row["version"] < MIN_POSTGRES_VERSION:
        return Finding(
            "database", f"PostgreSQL {row['version']}", f"upgrade to {MIN_POSTGRES_VERSION} or later"
        )
    return Finding("database", f"PostgreSQL {row['version']}")


async def check_migrations(settings: Settings, dsn: str) -> Finding:
    """Whether the schema is complete."""
    states = await migrate.status(dsn)
    missing = [state.id for state in states if not state.applied]
    if missing:
        return Finding("migrations", f"{len(missing)} of {len(states)} are missing", "run `ideo migrate up`")
    return Finding("migrations", f"all {len(states)} are applied")


async def check_rights(settings: Settings, dsn: str) -> Finding:
    """Whether the database user may read and write every table."""
    row = await fetch_row(
        dsn,
        "SELECT current_user AS name, pg_is_in_recovery() AS standby, "
        "coalesce(bool_and(has_table_privilege(c.oid, needed)), true) AS allowed "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, "
        "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed "
        "WHERE n.nspname = current_schema() AND c.relkind = 'r'",
    )
    if row["standby"]:
        return Finding("rights", "the server is a standby", "set DATABASE_URL to the primary")
    if not row["allowed"]:
        return Finding(
            "rights",
            f"{row['name']} may not read and write every table",
            "make the user that runs migrations the owner of the tables, "
            "or grant SELECT, INSERT, UPDATE, DELETE on all of them",
        )
    return Finding("rights", f"{row['name']} may read and write every table")


async def check_connections(settings: Settings, dsn: str) -> Finding:
    """Whether the server allows the connections of two replicas."""
    row = await fetch_row(dsn, "SELECT current_setting('max_connections')::integer AS maximum")
    message = f"the hub uses up to {settings.database_max_connections}, the server allows {row['maximum']}"
    if 2 * settings.database_max_connections > row["maximum"]:
        return Finding(
            "connections",
            message,
            "lower IDEO_DATABASE_MAX_CONNECTIONS, raise max_connections, or put a pooler between them: "
            "two replicas need twice as many",
        )
    return Finding("connections", message)


async def check_clock(settings: Settings, dsn: str) -> Finding:
    """Whether this machine's clock agrees with the database's."""
    before = datetime.now(UTC)
    row = await fetch_row(dsn, "SELECT clock_timestamp() AS now")
    after = datetime.now(UTC)
    # The database read its clock at some moment between the two.
    difference = max(before - row["now"], row["now"] - after, timedelta(0))
    if difference < _SHOWN_DIFFERENCE:
        return Finding("clock", "agrees with the database's")
    message = f"differs from the database's by at least {difference.total_seconds():.1f} s"
    if difference > MAX_CLOCK_DIFFERENCE:
        return Finding("clock", message, "synchronise the clocks of both machines (NTP)")
    return Finding("clock", message)
