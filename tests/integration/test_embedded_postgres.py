from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.server import embedded


async def query(dsn: str, sql: str) -> Any:
    connection = await asyncpg.connect(dsn, timeout=60)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def child(data_dir: Path) -> AsyncIterator[Process]:
    """Another process that embeds a server; a process group of its own, as in a terminal."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.embedded_child", str(data_dir)),
        stdout=PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def says(process: Process) -> tuple[str, str]:
    assert process.stdout is not None
    word, _, rest = (await process.stdout.readline()).decode().strip().partition(" ")
    return word, rest


def servers_on(data_dir: Path, cluster: str = "postgres") -> list[int]:
    """The pids of server processes that work in the folder, without children of theirs that have no name of
    their own yet."""
    parents: dict[int, int] = {}
    for process in psutil.process_iter():
        try:
            command, folder, parent = process.cmdline(), process.cwd(), process.ppid()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if command and command[0].endswith("/postgres") and folder == str(data_dir / cluster):
            parents[process.pid] = parent
    return [pid for pid, parent in parents.items() if parent not in parents]


async def test_the_data_is_there_at_the_next_start(tmp_path: Path) -> None:
    data_dir = tmp_path / "deep" / "data"
    async with embedded(data_dir) as dsn:
        await query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        assert await query(dsn, "SHOW fsync") == "on"
        assert await query(dsn, "SHOW listen_addresses") == ""
        assert await query(dsn, "SHOW server_encoding") == "UTF8"
        assert dsn.startswith("postgresql://ide_orchestrator@/ide_orchestrator?host=")
    assert servers_on(data_dir) == []
    async with embedded(data_dir) as dsn:
        assert await query(dsn, "SELECT number FROM kept") == 7


async def test_a_second_use_of_the_folder_is_refused_and_the_first_continues(tmp_path: Path) -> None:
    async with embedded(tmp_path) as dsn:
        with pytest.raises(EmbeddedServerError, match="another process uses"):
            async with embedded(tmp_path):
                pass
        async with child(tmp_path) as other:
            word, why = await says(other)
            assert (word, str(tmp_path) in why, "IDEO_DATA_DIR" in why) == ("refused", True, True)
        assert await query(dsn, "SELECT 1") == 1


async def test_of_two_that_start_together_on_a_new_folder_one_runs(tmp_path: Path) -> None:
    async with child(tmp_path) as one, child(tmp_path) as two:
        words = sorted([(await says(one))[0], (await says(two))[0]])
        assert words == ["ready", "refused"]


async def test_after_kill_9_the_next_start_has_what_was_committed(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        word, dsn = await says(process)
        assert word == "ready"
        await query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        process.kill()
        await process.wait()
        async with embedded(tmp_path) as dsn:
            assert await query(dsn, "SELECT number FROM kept") == 7
    assert servers_on(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part of it")
async def test_after_kill_9_the_server_ends_too_without_another_start(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        assert (await says(process))[0] == "ready"
        assert servers_on(tmp_path)
        process.kill()
        async with asyncio.timeout(60):
            while servers_on(tmp_path):
                await asyncio.sleep(0.02)


async def test_after_kill_9_of_hub_and_server_the_next_start_recovers(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        _, dsn = await says(process)
        await query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        [server] = servers_on(tmp_path)
        os.kill(server, signal.SIGKILL)
        process.kill()
        await process.wait()
        async with embedded(tmp_path) as dsn:
            assert await query(dsn, "SELECT number FROM kept") == 7


async def test_ctrl_c_stops_the_hub_first_and_then_the_server(tmp_path: Path) -> None:
    async with child(tmp_path) as process:
        _, dsn = await says(process)
        assert await query(dsn, "SELECT 1") == 1
        os.killpg(process.pid, signal.SIGINT)
        assert (await says(process))[0] == "alive"
        assert (await says(process))[0] == "stopped"
        assert await process.wait() == 0
        assert servers_on(tmp_path) == []


@pytest.mark.parametrize("made", ["base", "postmaster.pid", "base/1", "pg_ident.conf", "base/4", "base/5"])
async def test_a_cancelled_start_leaves_no_process_and_no_half_made_cluster(
    tmp_path: Path, made: str
) -> None:
    async def start() -> None:
        async with embedded(tmp_path):
            pytest.fail("should have been cancelled before")

    task = asyncio.create_task(start())
    async with asyncio.timeout(60):
        while not (tmp_path / "postgres.new" / made).exists():
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert servers_on(tmp_path, "postgres.new") == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["owner.lock", "server.lock"]
    async with embedded(tmp_path) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_a_stale_pid_file_of_a_living_process_does_not_prevent_a_start(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        pid_file = (tmp_path / "postgres" / "postmaster.pid").read_text().split("\n")
    pid_file[0] = str(os.getpid())
    (tmp_path / "postgres" / "postmaster.pid").write_text("\n".join(pid_file))
    (tmp_path / "postgres" / ".s.PGSQL.5432.lock").write_text("\n".join(pid_file))
    async with embedded(tmp_path) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_a_server_that_outlived_its_hub_is_stopped_first(tmp_path: Path) -> None:
    async with embedded(tmp_path):
        pass
    owner = (tmp_path / "postgres").stat().st_uid
    with (tmp_path / "server.lock").open("ab") as lock:  # what an old server would hold
        fcntl.flock(lock, fcntl.LOCK_EX)
        # As a server does, it acts on SIGINT, even if what started the tests in the background ignores it.
        command = ["env", "--default-signal=INT", "sleep", "600"]
        old = await asyncio.create_subprocess_exec(*command, pass_fds=[lock.fileno()], user=owner)
    (tmp_path / "postgres" / "postmaster.pid").write_text(f"{old.pid}\n")
    (tmp_path / "postgres" / "postmaster.pid").chmod(0o644)
    async with embedded(tmp_path) as dsn:
        assert await old.wait() == -signal.SIGINT
        assert await query(dsn, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["x" * 120, "a b,c\"d'e%20?&ü#@:"], ids=["long", "odd"])
async def test_every_folder_name_works(tmp_path: Path, name: str) -> None:
    async with embedded(tmp_path / name) as dsn:
        assert await query(dsn, "SELECT current_database()") == "ide_orchestrator"


async def test_a_start_that_fails_says_what_the_server_said(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="shared_buffers"):
        async with embedded(tmp_path, settings={"shared_buffers": "a lot"}):
            pass
    async with embedded(tmp_path) as dsn:  # and the folder is free again
        assert await query(dsn, "SELECT 1") == 1


async def test_neither_statements_nor_rows_reach_the_log(tmp_path: Path) -> None:
    async with embedded(tmp_path) as dsn:
        await query(dsn, "CREATE TABLE t (id int PRIMARY KEY, prompt text CHECK (prompt <> 'secret-row'))")
        with pytest.raises(asyncpg.CheckViolationError):
            await query(dsn, "INSERT INTO t VALUES (1, 'secret-row')")
    log = (tmp_path / "postgres.log").read_text()
    assert "ERROR" in log
    assert "secret-row" not in log


async def test_the_users_own_libpq_settings_do_not_move_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PGPORT", "6666"), ("PGDATA", "/nowhere"), ("PGHOST", "elsewhere")):
        monkeypatch.setenv(name, value)
    async with embedded(tmp_path) as dsn:
        assert "elsewhere" not in dsn
        assert (tmp_path / "postgres" / ".s.PGSQL.5432").is_socket() or "ideo-" in dsn
