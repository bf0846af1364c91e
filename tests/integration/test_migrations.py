"""The migrations, and that the table classes describe what they make."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import asyncpg
import pytest
from piccolo.columns import Column, ForeignKey
from piccolo.table import Table

from server.db import migrate
from server.db.migrations import ide_orchestrator_2026_11_28t23_10_00_000000 as places_of_earlier_rows
from server.db.tables import TABLES, VIEWS
from server.domain.errors import DatabaseUnavailable

#: Tables that only SQL uses.
SQL_TABLES = {
    "runs",
    "proposal_decisions",
    "events",
    "idempotency_keys",
    "tickets",
    "quotas",
    "replicas",
    "contents",
    "draft_version_files",
    "proposal_hashes",
    "wakeup_key",
    "webhooks",
    "quarantined_frames",
    "webhook_deliveries",
}
#: Columns that nothing reads or writes: no class has them, and the schema keeps them.
UNUSED = {"users": {"display_name", "is_service"}}

UP = "import asyncio, sys; from server.db import migrate; print(len(asyncio.run(migrate.up(sys.argv[1]))))"


async def tables_in(dsn: str) -> set[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def test_up_creates_every_table_and_returns_what_it_applied(empty_database: str) -> None:
    before = await migrate.status(empty_database)
    assert before
    assert not any(state.applied for state in before)
    assert await migrate.up(empty_database) == [state.id for state in before]
    made = {table._meta.tablename for table in TABLES} | SQL_TABLES | {"migration"}
    assert made == await tables_in(empty_database)
    assert all(state.applied and state.description for state in await migrate.status(empty_database))
    assert await migrate.up(empty_database) == []


async def test_status_changes_nothing(empty_database: str) -> None:
    await migrate.status(empty_database)
    assert await tables_in(empty_database) == set()


async def test_down_to_nothing_and_up_again(empty_database: str) -> None:
    applied = await migrate.up(empty_database)
    assert await migrate.down(empty_database, 99) == applied[::-1]
    assert await tables_in(empty_database) == {"migration"}
    functions = await asyncpg.connect(empty_database)
    try:
        left = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        assert await functions.fetchval(left) == 0
    finally:
        await functions.close()
    assert await migrate.up(empty_database) == applied


async def test_down_undoes_the_requested_number_of_migrations(empty_database: str) -> None:
    applied = await migrate.up(empty_database)
    assert await migrate.down(empty_database, 0) == []
    assert await migrate.down(empty_database, 1) == applied[-1:]


async def test_replicas_that_start_together_apply_each_migration_once(empty_database: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", UP, empty_database, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    outputs = [(await process.communicate())[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(map(int, outputs)) == len(await migrate.status(empty_database))


async def test_tasks_of_one_process_may_migrate_together(empty_database: str) -> None:
    applied = await asyncio.gather(*(migrate.up(empty_database) for _ in range(4)))
    once = [state.id for state in await migrate.status(empty_database)]
    assert sorted(each for ids in applied for each in ids) == once


async def test_a_failed_migration_leaves_no_trace(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE events ()")  # the first migration trips over it half way
    try:
        with pytest.raises(asyncpg.DuplicateTableError):
            await migrate.up(empty_database)
        assert await tables_in(empty_database) == {"events"}
    finally:
        await connection.close()


async def test_migrations_before_one_that_fails_stay_applied_and_up_goes_on_with_it(
    empty_database: str,
) -> None:
    ids = await migrate.up(empty_database)
    await migrate.down(empty_database, 2)
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE proposal_access_newest ()")  # the last migration trips over it
    try:
        with pytest.raises(asyncpg.DuplicateTableError):
            await migrate.up(empty_database)
        assert [state.applied for state in await migrate.status(empty_database)][-2:] == [True, False]
        await connection.execute("DROP TABLE proposal_access_newest")
        assert await migrate.up(empty_database) == ids[-1:]
    finally:
        await connection.close()


async def test_while_earlier_rows_get_their_places_in_lists_all_rows_are_read_and_others_added(
    empty_database: str,
) -> None:
    await migrate.up(empty_database)
    await migrate.down(empty_database, 2)
    filling, caller = [await asyncpg.connect(empty_database) for _ in range(2)]
    try:
        async with filling.transaction():
            for statement in places_of_earlier_rows.UP:
                await filling.execute(statement)
            await caller.execute("SET lock_timeout = 1000")
            assert await caller.fetchval("SELECT count(*) FROM proposal_callers") == 0
            async with caller.transaction():
                await caller.execute("LOCK TABLE proposal_access IN ROW EXCLUSIVE MODE")
    finally:
        await filling.close()
        await caller.close()


async def test_migrations_have_only_raw_steps() -> None:
    for manager in await migrate._managers():
        assert manager.raw
        assert manager.raw_backwards
        assert manager.wrap_in_transaction
        assert not manager.add_tables
        assert not manager.add_columns.add_columns
        assert not manager.alter_columns.alter_columns


async def test_an_unreachable_server_is_a_domain_error() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate.up("postgresql://nobody@127.0.0.1:1/none")


async def test_piccolos_own_command_line_reads_the_same_migrations(empty_database: str) -> None:
    await migrate.up(empty_database)
    env = {**os.environ, "PICCOLO_CONF": "server.db.piccolo_conf", "DATABASE_URL": empty_database}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "piccolo.main", "migrations", "backwards", "ide_orchestrator", "all"),
        "--auto_agree",
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    assert not any(state.applied for state in await migrate.status(empty_database))
    assert await tables_in(empty_database) == {"migration"}


# --- The table classes ---------------------------------------------------------------------------

COLUMNS = """
    SELECT a.attname, upper(format_type(a.atttypid, a.atttypmod)) AS type, NOT a.attnotnull AS nullable,
        pg_get_expr(d.adbin, d.adrelid) IS NOT NULL AS has_default
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
FIRST_KEY_COLUMN = """
    SELECT attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = $1::regclass AND i.indisprimary
"""
REFERENCES = """
    SELECT a.attname, c.confrelid::regclass::text AS target
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.conrelid = $1::regclass AND c.contype = 'f' AND array_length(c.conkey, 1) = 1
"""
TYPES = {
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ",
    "CHARACTER VARYING": "VARCHAR",
}


def plain(database_type: str) -> str:
    for long, short in TYPES.items():
        database_type = database_type.replace(long, short)
    return database_type


def described(column: Column) -> tuple[str, str, bool]:
    return column._meta.db_column_name, column.column_type, column._meta.null


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table._meta.tablename)
async def test_a_table_class_describes_what_the_database_holds(table: type[Table], pool: Any) -> None:
    name = table._meta.tablename
    unused = UNUSED.get(name, set())
    rows = [row for row in await pool.fetch(COLUMNS, name) if row["attname"] not in unused]
    held = [(row["attname"], plain(row["type"]), row["nullable"]) for row in rows]
    assert [described(column) for column in table._meta.columns] == held
    assert table._meta.primary_key._meta.db_column_name == await pool.fetchval(FIRST_KEY_COLUMN, name)
    references = {row["attname"]: row["target"] for row in await pool.fetch(REFERENCES, name)}
    for column in table._meta.foreign_key_columns:
        assert isinstance(column, ForeignKey)
        target = column._foreign_key_meta.resolved_references._meta.tablename
        assert references[column._meta.db_column_name] == target
    for row in rows:  # a default of the class's own is one of the database's, too
        default = getattr(table, row["attname"]).get_default_value()
        assert default is None or row["has_default"], row["attname"]


async def test_an_unused_column_needs_no_value(pool: Any) -> None:
    for table, unused in UNUSED.items():
        held = {row["attname"]: row for row in await pool.fetch(COLUMNS, table)}
        assert all(held[name]["nullable"] or held[name]["has_default"] for name in unused)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view._meta.tablename)
async def test_a_view_class_has_the_columns_of_the_view(view: type[Table], pool: Any) -> None:
    rows = await pool.fetch(COLUMNS, view._meta.tablename)
    held = [(row["attname"], plain(row["type"])) for row in rows]
    assert [described(column)[:2] for column in view._meta.columns] == held


# --- What the schema itself promises ---------------------------------------------------------------


async def test_the_indexes_of_proposals_that_the_api_needs_are_there(pool: Any) -> None:
    rows = await pool.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'proposals'")
    named = {row["indexname"] for row in rows}
    assert {f"idx_proposals_{what}" for what in ("thread_id", "draft_id", "status", "created_by")} <= named
