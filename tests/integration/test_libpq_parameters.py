"""The parameters of PostgreSQL's addresses, on a real server and as a person meets them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from click.testing import CliRunner

from server.cli.main import main
from server.db.connections import connect
from server.db.errors import database_errors, reason_of
from server.db.pool import open_pool
from server.domain.errors import DatabaseUnavailable
from tests.support.postgres import socket_of
from tests.support.processes import hub_environment, spawn_fork
from tests.support.proxy import proxy
from tests.support.servers import free_port

WORKS = (
    "connect_timeout=10",
    "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=5000",
    "gssencmode=disable",
    "channel_binding=prefer",
    "target_session_attrs=read-write",
    "application_name=curlew",
    "options=-c%20statement_timeout%3D7s",
    "client_encoding=UTF8",
    "sslmode=prefer",
    "load_balance_hosts=random",
    "krbsrvname=postgres&gsslib=gssapi",
    "max_protocol_version=latest&min_protocol_version=3.0",
    "fallback_application_name=x&replication=false&sslsni=1&sslcompression=0&sslcertmode=allow",
)
REFUSED = (
    "require_auth=scram-sha-256",
    "channel_binding=require",
    "gssencmode=require",
    "target_session_attrs=standby",
    "sslrootcert=/nowhere",
    "passfile=/nowhere",
    "service=nowhere",
    "schema=public",
    "statement_timeout=5s",
    "connect_timeout=soon",
    "port=many",
)


@pytest.mark.parametrize("query", WORKS)
async def test_a_parameter_that_is_accepted_works_on_each_way_to_the_database(
    database: str, query: str
) -> None:
    dsn = f"{database}&{query}"
    connection = await connect(dsn, timeout_s=20)
    try:
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()
    async with open_pool(dsn) as pool:
        assert await pool.fetchval("SELECT 1") == 1


async def test_what_an_address_asks_of_the_server_is_there(database: str) -> None:
    async with open_pool(f"{database}&application_name=curlew&options=-c%20statement_timeout%3D7s") as pool:
        assert await pool.fetchval("SELECT current_setting('application_name')") == "curlew"
        assert await pool.fetchval("SELECT current_setting('statement_timeout')") == "7s"


async def test_keepalives_are_set_on_the_connections_socket(database: str) -> None:
    parts = urlsplit(database)
    async with proxy(socket_of(database)) as way:
        dsn = f"postgresql://{parts.username}@127.0.0.1:{way.place}{parts.path}"
        asked = "keepalives_idle=31&keepalives_interval=11&keepalives_count=4&tcp_user_timeout=5001"
        connection = await connect(f"{dsn}?sslmode=disable&{asked}", timeout_s=20)
        opened: Any = connection._transport.get_extra_info("socket")
        try:
            assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            found = [opened.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
            assert found == [31, 11, 4, 5001]
        finally:
            await connection.close()


async def test_the_first_host_that_answers_is_used(database: str) -> None:
    folder = quote(str(socket_of(database).parent), safe="")
    parts = urlsplit(database)
    dsn = f"postgresql://{parts.username}@{parts.path}?host=127.0.0.1,{folder}&port={free_port()},5432"
    connection = await connect(dsn, timeout_s=20)
    await connection.close()


async def test_a_connect_timeout_of_the_address_is_kept() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        dsn = f"postgresql://ann@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=1"
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError):
                await connect(dsn, timeout_s=60)


async def test_a_server_that_refuses_a_setting_makes_the_database_unavailable(database: str) -> None:
    with pytest.raises(DatabaseUnavailable) as refused, database_errors():
        await connect(f"{database}&options=-c%20nosuch%3Dkingfisher", timeout_s=20)
    assert reason_of(refused.value) == "UndefinedObjectError"


@pytest.mark.parametrize("query", REFUSED)
def test_a_parameter_that_does_not_work_ends_a_command_with_two_and_its_name(query: str) -> None:
    environment = hub_environment(f"postgresql://ann@127.0.0.1:9/x?{query}", "http://127.0.0.1:9")
    done = CliRunner().invoke(main, ["migrate", "status"], env=environment)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("ideo: DATABASE_URL: ")
    assert query.partition("=")[0] in done.stderr


@pytest.mark.parametrize("options", ["-c%20nosuch%3Dthing", "--nonsense"])
async def test_options_that_the_server_refuses_end_a_command_with_two(
    database: str, options: str, tmp_path: Path
) -> None:
    environment = hub_environment(f"{database}&options={options}", "http://127.0.0.1:9")
    for arguments in (("migrate", "up"), ("doctor",)):
        code, output = await outcome(*arguments, environment=environment, log=tmp_path / "log")
        assert code in (1, 2), output
        assert "DATABASE_URL" in output
        assert "Traceback" not in output
    assert code == 1


async def outcome(*arguments: str, environment: dict[str, str], log: Path) -> tuple[int, str]:
    """The exit code of a command, and all that it printed."""
    process = await spawn_fork(*arguments, environment=environment, log=log)
    output = await process.output() + log.read_text()
    return await process.ended(), output


@pytest.mark.parametrize(
    ("arguments", "password"),
    [
        (("doctor",), "kingf#sher"),
        (("serve",), "kingf/sher"),
        (("dev", "--once"), "kingf?sher"),
        (("migrate", "up"), "king@sher"),
    ],
)
async def test_a_password_that_is_not_encoded_is_named_by_every_command_and_never_shown(
    arguments: tuple[str, ...], password: str, tmp_path: Path
) -> None:
    environment = hub_environment(f"postgresql://ann:{password}@127.0.0.1/hub", "http://127.0.0.1:9")
    code, output = await outcome(*arguments, environment=environment, log=tmp_path / "log")
    assert code == 2
    assert "DATABASE_URL: must have" in output
    assert "king" not in output
    assert "sher" not in output
    assert "Traceback" not in output


async def test_a_host_that_does_not_answer_does_not_hide_the_next(database: str) -> None:
    """As after a failover: the old primary's machine takes connections, or packets, and says nothing."""
    parts = urlsplit(database)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hosts = f"127.0.0.1,{quote(str(socket_of(database).parent), safe='')}"
        dsn = parts._replace(query=f"host={hosts}&port={port},5432").geturl()
        connection = await connect(dsn, timeout_s=2)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        async with open_pool(dsn, connect_timeout_s=2) as pool:
            assert await pool.fetchval("SELECT 1") == 1
