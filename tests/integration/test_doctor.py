"""`ideo doctor` finds what is wrong and says how to fix it: one planted fault per test."""

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

from server import file_descriptors
from server.cli.doctor.command import examine
from server.cli.doctor.finding import Finding
from server.cli.main import main
from server.replay.server import replay_runtime
from server.settings.loading import load
from tests.support.certificates import Authority, write
from tests.support.hub import running_hub
from tests.support.pooler import pooler
from tests.support.processes import forked, hub_environment
from tests.support.servers import answer, http_server
from tests.support.tokens import SECRET

NOBODY = "http://127.0.0.1:9"
#: Settings for published keys, from an issuer that cannot be reached.
NO_KEYS = {"jwks_url": "https://127.0.0.1:9/keys", "jwt_issuer": "i", "jwt_audience": "a", "jwt_secret": None}


@pytest.fixture
async def runtime() -> AsyncIterator[str]:
    async with replay_runtime() as url:
        yield url


async def found(dsn: str, runtime_url: str, **settings: Any) -> dict[str, Finding]:
    """The findings, by check."""
    defaults: dict[str, Any] = {"env": "dev", "jwt_secret": SECRET, "http_port": 0, "grpc_port": 0}
    # Whatever this process's limit of file descriptors is.
    defaults["max_connections"] = 10
    chosen = load(**defaults | {"runtime_url": runtime_url} | settings)
    return {finding.check: finding async for finding in examine(chosen, dsn)}


async def faults(dsn: str, runtime_url: str, **settings: Any) -> dict[str, str]:
    """The fixes of what is wrong, by check."""
    findings = await found(dsn, runtime_url, **settings)
    return {name: finding.fix for name, finding in findings.items() if finding.fix}


async def test_where_nothing_is_wrong_every_check_is_ok(database: str, runtime: str) -> None:
    findings = await found(database, runtime)
    assert {name for name, finding in findings.items() if not finding.ok} == set()
    assert len(findings) == 15
    assert all(finding.message for finding in findings.values())


# --- The database --------------------------------------------------------------------------------


async def test_a_database_that_cannot_be_reached(runtime: str) -> None:
    wrong = await faults("postgresql://ann:kingfisher@127.0.0.1:9/x", runtime)
    assert wrong.keys() == {"database"}
    assert "DATABASE_URL" in wrong["database"]


async def test_a_database_whose_host_has_no_address(runtime: str) -> None:
    wrong = await faults("postgresql://ann:kingfisher@no.such.host.invalid/x", runtime)
    assert wrong.keys() == {"database"}
    assert wrong["database"].startswith("correct the host in DATABASE_URL")


async def test_an_unknown_database_user_is_found_and_the_password_is_not_shown(
    database: str, runtime: str
) -> None:
    parts = urlsplit(database)
    wrong = await found(urlunsplit(parts._replace(netloc="nobody:kingfisher@")), runtime)
    assert not wrong["database"].ok
    assert "kingfisher" not in str(wrong)


async def test_missing_migrations(empty_database: str, runtime: str) -> None:
    wrong = await faults(empty_database, runtime)
    assert "ideo migrate up" in wrong["migrations"]


async def test_tables_that_the_database_user_may_not_write(database: str, runtime: str) -> None:
    admin = await asyncpg.connect(database)
    try:
        # A superuser keeps every right on its tables: another role is needed.
        await admin.execute("CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        name = urlsplit(database).path[1:]
        await admin.execute(f"ALTER DATABASE {name} SET role = reader")
        wrong = await faults(database, runtime)
    finally:
        await admin.execute("RESET role; DROP OWNED BY reader; DROP ROLE reader")
        await admin.close()
    assert "GRANT" in wrong["rights"].upper()


async def test_a_pool_that_is_too_large_for_the_server(database: str, runtime: str) -> None:
    wrong = await faults(database, runtime, database_max_connections=150)
    assert wrong.keys() == {"connections"}
    assert "IDEO_DATABASE_MAX_CONNECTIONS" in wrong["connections"]


async def test_a_direct_address_of_another_database(database: str, empty_database: str, runtime: str) -> None:
    wrong = await faults(database, runtime, database_direct_url=empty_database)
    assert wrong.keys() == {"wakeups"}
    assert "DATABASE_DIRECT_URL" in wrong["wakeups"]


async def test_a_pooler_without_a_direct_address(database: str, runtime: str) -> None:
    async with pooler(database) as pooled:
        wrong = await faults(pooled, runtime)
        assert wrong.keys() == {"wakeups"}
        assert "DATABASE_DIRECT_URL" in wrong["wakeups"]
        assert await faults(pooled, runtime, database_direct_url=database) == {}


async def test_a_clock_that_differs(database: str, runtime: str) -> None:
    # The database's clock cannot be set here: a function that is found first replaces it.
    admin = await asyncpg.connect(database)
    try:
        await admin.execute(
            "CREATE SCHEMA skewed; CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
            "AS $$ SELECT pg_catalog.clock_timestamp() - interval '90 seconds' $$"
        )
        name = urlsplit(database).path[1:]
        assert (await found(database, runtime))["clock"].message == "agrees with the database's"
        await admin.execute(f"ALTER DATABASE {name} SET search_path = public, skewed, pg_catalog")
        findings = await found(database, runtime)
    finally:
        await admin.close()
    assert {name for name, finding in findings.items() if not finding.ok} == {"clock"}
    assert "NTP" in findings["clock"].fix


async def test_servers_of_wakeups_and_events_that_cannot_be_reached(database: str, runtime: str) -> None:
    nobody = "redis://:kingfisher@127.0.0.1:9/0"
    wrong = await found(database, runtime, wakeup_url=nobody, runtime_events_url=nobody)
    assert {name for name, finding in wrong.items() if not finding.ok} == {"wakeups", "events"}
    assert "IDEO_WAKEUP_URL" in wrong["wakeups"].fix
    assert "IDEO_RUNTIME_EVENTS_URL" in wrong["events"].fix
    assert "kingfisher" not in str(wrong)


# --- Tokens, the runtime -------------------------------------------------------------------------


async def test_keys_that_cannot_be_fetched(database: str, runtime: str) -> None:
    wrong = await faults(database, runtime, **NO_KEYS)
    assert wrong.keys() == {"keys"}
    assert "JWK Set" in wrong["keys"]


async def test_neither_a_key_nor_an_address_of_keys(database: str, runtime: str, tmp_path: Path) -> None:
    assert (await faults(database, runtime, jwt_secret=None, data_dir=tmp_path)).keys() == {"keys"}


async def test_tokens_in_addresses_are_pointed_out_with_the_setting_that_turns_them_off(
    database: str, runtime: str
) -> None:
    on, off = [(await found(database, runtime, query_token=value))["tokens"] for value in (True, False)]
    assert on.ok
    assert off.ok
    assert "IDEO_QUERY_TOKEN=false" in on.message
    assert "address" not in off.message


async def test_a_runtime_that_cannot_be_reached(database: str) -> None:
    wrong = await faults(database, NOBODY)
    assert wrong.keys() == {"runtime"}
    assert "DEEPAGENTS_RUNTIME_URL" in wrong["runtime"]


@asynccontextmanager
async def another_service(status: int, body: bytes) -> AsyncIterator[str]:
    """A server that is not the runtime."""

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(status, body)

    async with http_server(answerer) as url:
        yield url


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (502, b""), (302, b""), (401, b"{}")])
async def test_an_address_of_a_service_that_is_not_the_runtime(
    database: str, status: int, body: bytes
) -> None:
    async with another_service(status, body) as url:
        wrong = await faults(database, url)
    assert wrong.keys() == {"runtime"}


# --- This machine --------------------------------------------------------------------------------


async def test_origins_that_are_not_encrypted(database: str, runtime: str) -> None:
    origins = ("http://ide.example",)
    wrong = await faults(database, runtime, allowed_origins=origins, env="prod", **NO_KEYS)
    assert wrong.keys() == {"origins", "keys"}
    assert "origin" in wrong["origins"]


async def test_more_connections_than_file_descriptors(database: str, runtime: str) -> None:
    many = 1_000_000
    if file_descriptors.limit() >= file_descriptors.needed(many):
        pytest.skip("this process may have as many as the settings allow")
    assert "IDEO_MAX_CONNECTIONS" in (await faults(database, runtime, max_connections=many))["descriptors"]


async def test_a_port_that_another_program_uses_but_not_one_of_a_hub(database: str, runtime: str) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        wrong = await faults(database, runtime, grpc_port=taken.getsockname()[1])
    assert wrong.keys() == {"ports"}
    assert "IDEO_GRPC_PORT" in wrong["ports"]
    async with running_hub(database) as hub:
        port, grpc_port = urlsplit(hub.http).port or 0, int(hub.grpc.rpartition(":")[2])
        assert await faults(database, runtime, http_port=port, grpc_port=grpc_port) == {}


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "x" * 70])
async def test_a_host_that_is_not_this_machine_is_corrected_and_no_program_is_stopped(
    database: str, runtime: str, host: str
) -> None:
    wrong = await faults(database, runtime, host=host, http_port=8080)
    assert wrong.keys() == {"ports"}
    assert "IDEO_HOST" in wrong["ports"]
    assert "stop the program" not in wrong["ports"]


async def test_certificates_without_their_key_or_too_old(database: str, runtime: str, tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = write(tmp_path, authority.pair("localhost", expired=True))
    wrong = await found(database, runtime, grpc_certificate=certificate, grpc_key=key)
    assert (wrong["certificate"].message, bool(wrong["certificate"].fix)) == ("has expired", True)
    certificate.write_bytes(authority.pair("localhost").certificate)
    wrong = await found(database, runtime, grpc_certificate=certificate, grpc_key=key)
    assert "do not belong together" in wrong["certificate"].message


# --- The command ---------------------------------------------------------------------------------


def test_the_command_reports_every_wrong_setting_and_ends_with_two() -> None:
    unset = dict.fromkeys(("IDEO_ENV", "DATABASE_URL", "IDEO_JWKS_URL", "DEEPAGENTS_RUNTIME_URL"))
    environment = {**unset, "IDEO_HTTP_PORT": "x"}
    done = CliRunner().invoke(main, ["doctor"], env=environment)
    assert done.exit_code == 2
    for name in ("IDEO_HTTP_PORT", "DATABASE_URL", "IDEO_JWKS_URL", "DEEPAGENTS_RUNTIME_URL"):
        assert name in done.output
    assert "fix: " in done.output
    done = CliRunner().invoke(main, ["doctor", "--json"], env=environment)
    findings = [json.loads(line) for line in done.output.splitlines()]
    assert len(findings) >= 4
    assert all(line.keys() == {"check", "ok", "message", "fix"} for line in findings)


def test_the_command_says_what_to_set_and_how_a_hub_of_ideo_dev_is_checked() -> None:
    unset = dict.fromkeys(("IDEO_ENV", "DATABASE_URL", "IDEO_JWKS_URL", "DEEPAGENTS_RUNTIME_URL"))
    output = CliRunner().invoke(main, ["doctor"], env=unset).output
    assert "fix: set it; " in output
    assert "fix: correct it" not in output
    assert output.splitlines()[-1].endswith("IDEO_ENV=dev ideo doctor")


def test_the_command_names_nothing_but_a_wrong_environment_which_decides_what_is_required() -> None:
    environment = {**dict.fromkeys(("DATABASE_URL", "IDEO_JWKS_URL")), "IDEO_ENV": "devel"}
    done = CliRunner().invoke(main, ["doctor", "--json"], env=environment)
    [finding] = [json.loads(line) for line in done.output.splitlines()]
    assert (done.exit_code, finding["message"].partition(":")[0]) == (2, "IDEO_ENV")
    assert finding["fix"].startswith("correct it; ")


async def test_settings_with_old_names_are_findings_with_the_new_names(
    database: str, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDEO_STREAMS", "7")
    assert await faults(database, runtime) == {"settings": "set IDEO_MAX_STREAMS instead"}


async def test_the_command_ends_with_one_when_something_is_wrong_and_else_with_zero(
    database: str, runtime: str
) -> None:
    async with forked("doctor", environment=hub_environment(database, runtime)) as process:
        assert await process.ended() == 0
    async with forked("doctor", environment=hub_environment(database, NOBODY)) as process:
        assert await process.ended() == 1
