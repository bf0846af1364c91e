"""`ideo doctor` finds what is wrong, and says how to mend it: one planted fault a test."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from click.testing import CliRunner

from server.cli.doctor.command import examine
from server.cli.doctor.finding import Finding
from server.cli.main import main
from server.replay.server import replay_runtime
from server.settings import load
from tests.support.certificates import Authority, write
from tests.support.hub import running_hub
from tests.support.processes import hub_environment, running
from tests.support.servers import answer, http_server
from tests.support.tokens import SECRET

NOBODY = "http://127.0.0.1:9"
#: Settings of production's tokens, from an issuer that is away.
NO_KEYS = {"jwks_url": "https://127.0.0.1:9/keys", "jwt_issuer": "i", "jwt_audience": "a", "jwt_secret": None}


@pytest.fixture
async def runtime() -> AsyncIterator[str]:
    async with replay_runtime() as url:
        yield url


async def found(dsn: str, runtime_url: str, **settings: Any) -> dict[str, Finding]:
    """What is found, by check."""
    defaults: dict[str, Any] = {"env": "dev", "jwt_secret": SECRET, "http_port": 0, "grpc_port": 0}
    chosen = load(**defaults | {"runtime_url": runtime_url} | settings)
    return {finding.check: finding async for finding in examine(chosen, dsn)}


async def ill(dsn: str, runtime_url: str, **settings: Any) -> dict[str, str]:
    """What is to be mended, and how."""
    findings = await found(dsn, runtime_url, **settings)
    return {name: finding.fix for name, finding in findings.items() if finding.fix}


async def test_where_nothing_is_wrong_nothing_is_to_be_mended(database: str, runtime: str) -> None:
    findings = await found(database, runtime)
    assert {name for name, finding in findings.items() if not finding.ok} == set()
    assert len(findings) == 12
    assert all(finding.message for finding in findings.values())


# --- The database --------------------------------------------------------------------------------


async def test_a_database_that_is_away(runtime: str) -> None:
    wrong = await ill("postgresql://ann:kingfisher@127.0.0.1:9/x", runtime)
    assert wrong.keys() == {"database"}
    assert "DATABASE_URL" in wrong["database"]


async def test_a_database_user_that_there_is_not_and_no_word_of_the_password(
    database: str, runtime: str
) -> None:
    parts = urlsplit(database)
    wrong = await found(urlunsplit(parts._replace(netloc="nobody:kingfisher@")), runtime)
    assert not wrong["database"].ok
    assert "kingfisher" not in str(wrong)


async def test_migrations_that_are_missing(empty_database: str, runtime: str) -> None:
    wrong = await ill(empty_database, runtime)
    assert "ideo migrate up" in wrong["migrations"]


async def test_tables_that_the_database_user_may_not_write(database: str, runtime: str) -> None:
    admin = await asyncpg.connect(database)
    try:
        # Of tables that are its own nobody takes a right away from a superuser: another one has them.
        await admin.execute("CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        name = urlsplit(database).path[1:]
        await admin.execute(f"ALTER DATABASE {name} SET role = reader")
        wrong = await ill(database, runtime)
    finally:
        await admin.execute("RESET role; DROP OWNED BY reader; DROP ROLE reader")
        await admin.close()
    assert "GRANT" in wrong["rights"].upper()


async def test_a_pool_that_the_server_has_no_room_for(database: str, runtime: str) -> None:
    wrong = await ill(database, runtime, database_max_connections=150)
    assert wrong.keys() == {"connections"}
    assert "IDEO_DATABASE_MAX_CONNECTIONS" in wrong["connections"]


async def test_a_way_to_listen_that_leads_elsewhere(database: str, empty_database: str, runtime: str) -> None:
    wrong = await ill(database, runtime, database_direct_url=empty_database)
    assert wrong.keys() == {"wakeups"}
    assert "DATABASE_DIRECT_URL" in wrong["wakeups"]


async def test_a_clock_that_differs(database: str, runtime: str) -> None:
    # The database's clock cannot be set here: a function that is found first stands for it.
    admin = await asyncpg.connect(database)
    try:
        await admin.execute(
            "CREATE SCHEMA skewed; CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
            "AS $$ SELECT pg_catalog.clock_timestamp() - interval '90 seconds' $$"
        )
        name = urlsplit(database).path[1:]
        await admin.execute(f"ALTER DATABASE {name} SET search_path = public, skewed, pg_catalog")
        findings = await found(database, runtime)
    finally:
        await admin.close()
    assert {name for name, finding in findings.items() if not finding.ok} == {"clock"}
    assert "NTP" in findings["clock"].fix


async def test_servers_of_wakeups_and_events_that_are_away(database: str, runtime: str) -> None:
    nobody = "redis://:kingfisher@127.0.0.1:9/0"
    wrong = await found(database, runtime, wakeup_url=nobody, runtime_events_url=nobody)
    assert {name for name, finding in wrong.items() if not finding.ok} == {"wakeups", "events"}
    assert "IDEO_WAKEUP_URL" in wrong["wakeups"].fix
    assert "IDEO_RUNTIME_EVENTS_URL" in wrong["events"].fix
    assert "kingfisher" not in str(wrong)


# --- Tokens, the runtime -------------------------------------------------------------------------


async def test_keys_that_cannot_be_fetched(database: str, runtime: str) -> None:
    wrong = await ill(database, runtime, **NO_KEYS)
    assert wrong.keys() == {"keys"}
    assert "JWK Set" in wrong["keys"]


async def test_nothing_to_check_tokens_with(database: str, runtime: str) -> None:
    assert (await ill(database, runtime, jwt_secret=None)).keys() == {"keys"}


async def test_a_runtime_that_is_away(database: str) -> None:
    wrong = await ill(database, NOBODY)
    assert wrong.keys() == {"runtime"}
    assert "DEEPAGENTS_RUNTIME_URL" in wrong["runtime"]


@asynccontextmanager
async def another_service(status: int, body: bytes) -> AsyncIterator[str]:
    """A server that is no runtime."""

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(status, body)

    async with http_server(answerer) as url:
        yield url


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (502, b""), (302, b""), (401, b"{}")])
async def test_an_address_of_another_service_than_the_runtime(
    database: str, status: int, body: bytes
) -> None:
    async with another_service(status, body) as url:
        wrong = await ill(database, url)
    assert wrong.keys() == {"runtime"}


# --- This machine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["*", "ide.example.com", "https://ide.example.com/app", "https://*.example.com", "http://ide.example"],
)
async def test_origins_that_no_browser_sends_or_that_are_not_encrypted(
    database: str, runtime: str, origin: str
) -> None:
    wrong = await ill(database, runtime, allowed_origins=(origin,), env="prod", **NO_KEYS)
    assert wrong.keys() == {"origins", "keys"}
    assert "origin" in wrong["origins"]


async def test_a_port_that_is_taken_by_something_else_and_not_by_a_hub(database: str, runtime: str) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        wrong = await ill(database, runtime, grpc_port=taken.getsockname()[1])
    assert wrong.keys() == {"ports"}
    assert "IDEO_GRPC_PORT" in wrong["ports"]
    async with running_hub(database) as hub:
        port, grpc_port = urlsplit(hub.http).port or 0, int(hub.grpc.rpartition(":")[2])
        assert await ill(database, runtime, http_port=port, grpc_port=grpc_port) == {}


async def test_certificates_that_are_no_pair_or_too_old(database: str, runtime: str, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = write(tmp_path, authority.pair("localhost", expired=True))
    wrong = await found(database, runtime, grpc_certificate=certificate, grpc_key=key)
    assert (wrong["certificate"].message, bool(wrong["certificate"].fix)) == ("has expired", True)
    certificate.write_bytes(authority.pair("localhost").certificate)
    wrong = await found(database, runtime, grpc_certificate=certificate, grpc_key=key)
    assert "do not belong together" in wrong["certificate"].message


# --- The command ---------------------------------------------------------------------------------


def test_the_command_tells_every_wrong_setting_and_ends_with_two() -> None:
    unset = dict.fromkeys(("IDEO_ENV", "DATABASE_URL", "IDEO_JWKS_URL", "DEEPAGENTS_RUNTIME_URL"))
    environment = {**unset, "IDEO_HTTP_PORT": "x"}
    done = CliRunner().invoke(main, ["doctor"], env=environment)
    assert done.exit_code == 2
    for name in ("IDEO_HTTP_PORT", "DATABASE_URL", "IDEO_JWKS_URL", "DEEPAGENTS_RUNTIME_URL"):
        assert name in done.output
    assert "fix: " in done.output
    done = CliRunner().invoke(main, ["doctor", "--json"], env=environment)
    told = [json.loads(line) for line in done.output.splitlines()]
    assert len(told) >= 4
    assert all(line.keys() == {"check", "ok", "message", "fix"} for line in told)


async def test_the_command_ends_with_one_when_something_is_to_be_mended_and_with_none_when_not(
    database: str, runtime: str
) -> None:
    async with running("doctor", environment=hub_environment(database, runtime)) as process:
        assert await process.ended() == 0
    async with running("doctor", environment=hub_environment(database, NOBODY)) as process:
        assert await process.ended() == 1
