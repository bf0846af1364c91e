"""The files of a long run as they were, through the hub, beside the same without an index.

A run of tokens, with a change of a file at equal distances, is written into the database as the writer of
the journal leaves it, in rows of a few events; then its rows are joined, as at the end of a run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from bench.costs import HEADS, Cost, cells, measured
from bench.environment import Environment
from bench.figures import NoFigure, Stats, Table
from bench.git import Repository
from ide_orchestrator.client.http_calls import PAGE
from server.cli.hub_client import HubClient, open_client
from server.db.compaction import COMPACT
from server.domain.journal.events import (
    AgentMessage,
    Event,
    FileChange,
    MessageChange,
    Role,
    StateUpdate,
    Token,
)
from server.domain.journal.file_index import index_entries
from server.domain.proposals.files import File
from server.encoding.event_batch import delimited_delta, delimited_event
from server.wire.codec import ProtobufCodec

#: The file whose lines are blamed.
PATH = "/large.md"
_ROW_EVENTS = 5
_TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)

_INSERT = """
INSERT INTO events (thread_id, first_seq, last_seq, batch, residues, file_changes)
SELECT $1, * FROM unnest($2::int[], $3::int[], $4::bytea[], $5::bytea[], $6::bytea[])
"""


@dataclass(frozen=True, slots=True)
class LongRun:
    """A run of so many events; the large file has so many lines, and changes so many times."""

    events: int
    lines: int
    changes: int


def _versions(run: LongRun) -> Iterator[bytes]:
    """The versions of the large file: one to three lines differ from the one before."""
    random = Random(3)
    lines = [b"line %d of a file, %d\n" % (number, random.randrange(10**9)) for number in range(run.lines)]
    for version in range(run.changes):
        yield b"".join(lines)
        at = random.randrange(run.lines)
        new = [b"changed %d, %d\n" % (version, number) for number in range(random.randrange(1, 4))]
        lines[at : at + len(new)] = new


def _changes(run: LongRun, seq: int, version: bytes) -> tuple[FileChange, ...]:
    """The files that an event changes: the large one, and one of 50 small ones."""
    small = f"/small_{seq * run.changes // run.events % 50}.md"
    return FileChange(PATH, File(version)), FileChange(small, File(b"%d\n" % seq))


def _events(run: LongRun) -> Iterator[Event]:
    distance = run.events // run.changes
    versions = _versions(run)
    for seq in range(1, run.events + 1):
        if seq % distance:
            yield Event(seq, 1, _TIME, Token(message_id="m", role=Role.AI, text=f"word {seq} "))
            continue
        call = AgentMessage(role=Role.TOOL, text=f"Updated file {PATH}", tool_call_id=f"call_{seq}")
        files = _changes(run, seq, next(versions))
        yield Event(seq, 1, _TIME, StateUpdate((MessageChange(0, call),), 1, files=files))


async def _write(connection: asyncpg.Connection, thread_id: UUID, run: LongRun) -> None:
    """Put the run in the place of a thread's journal."""
    codec = ProtobufCodec()
    await connection.execute("DELETE FROM events WHERE thread_id = $1", thread_id)
    await connection.execute("UPDATE runs SET last_seq = $2 WHERE thread_id = $1", thread_id, run.events)
    columns: list[list[Any]] = [[], [], [], [], []]
    row: list[Event] = []
    for event in _events(run):
        row.append(event)
        if len(row) == _ROW_EVENTS or event.seq == run.events:
            joined = (
                b"".join(delimited_event(codec.encode(each)) for each in row),
                delimited_delta(b"") * len(row),
                b"".join(map(index_entries, row)),
            )
            for column, value in zip(columns, (row[0].seq, row[-1].seq, *joined), strict=True):
                column.append(value)
            row = []
        if len(columns[0]) == 500 or event.seq == run.events:
            await connection.execute(_INSERT, thread_id, *columns)
            columns = [[], [], [], [], []]
    await connection.execute("ANALYZE events")


async def measure_file_history(environment: Environment, *, quick: bool) -> list[Table]:
    """Rows for the tree and for blame, of a run that goes on and of one that has ended. Raises NoFigure."""
    run, rounds = (LongRun(1_000, 100, 5), 1) if quick else (LongRun(100_000, 10_000, 200), 5)
    await environment.read(environment.hub_socket("proto"), "short_run")
    rows: list[list[str | Stats]] = []
    hub = environment.hub
    connection = await asyncpg.connect(environment.dsn)
    try:
        async with open_client(hub.addresses["HTTP"], environment.addresses.token) as client:
            thread_id = await connection.fetchval(
                "SELECT thread_id FROM runs ORDER BY created_at DESC LIMIT 1"
            )
            with tempfile.TemporaryDirectory() as folder:
                git = GitHistory(Path(folder), run) if shutil.which("git") else None
                reader = Reader(client, hub.pid, connection, thread_id, git, rounds)
                await _write(connection, thread_id, run)
                rows += await _measured(reader, run, "in rows of 5 events")
                await connection.execute(COMPACT, thread_id)
                await connection.execute("ANALYZE events")
                rows += await _measured(reader, run, "in joined rows")
    finally:
        await connection.close()
    heads = ["operation", *HEADS, "without index ms", "git ms"]
    title = f"Files as they were, in a journal of {run.events:,} events with {run.changes} changes"
    return [Table(title, heads, rows)]


async def _measured(reader: Reader, run: LongRun, form: str) -> list[list[str | Stats]]:
    rows: list[list[str | Stats]] = []
    for seq in (run.events // 100, run.events // 2, run.events):
        path = f"files?seq={seq}&limit={PAGE}"
        costs, listed = await reader.read(path)
        slow = await reader.ms_without_index(path, listed) if seq == run.events else "-"
        theirs = reader.git.tree_ms(seq, listed, reader.rounds) if reader.git else "-"
        rows.append([f"tree after event {seq:,}, {form}", *costs, slow, theirs])
    costs, blame = await reader.read(f"blame?path={PATH}")
    if sum(part["line_count"] for part in blame["ranges"]) != blame["line_count"]:
        raise NoFigure("blame left lines out")
    theirs = reader.git.blame_ms(blame, reader.rounds) if reader.git else "-"
    rows.append([f"blame of {blame['line_count']:,} lines, {form}", *costs, "-", theirs])
    return rows


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of a thread's files over HTTP, `rounds` times each."""

    client: HubClient
    hub_pid: int
    connection: asyncpg.Connection
    thread_id: UUID
    git: GitHistory | None
    rounds: int

    async def read(self, path: str) -> tuple[list[str | Stats], dict[str, Any]]:
        """The cells of reads of a path, and what was read."""
        taken = [await self._once(path) for _ in range(self.rounds)]
        return cells([cost for cost, _ in taken]), taken[-1][1]

    async def ms_without_index(self, path: str, listed: dict[str, Any]) -> Stats:
        """Milliseconds of one read of rows of an earlier release. Raises NoFigure if it differs."""
        await self.connection.execute(
            "UPDATE events SET file_changes = NULL WHERE thread_id = $1", self.thread_id
        )
        cost, same = await self._once(path)
        if same != listed:
            raise NoFigure("the tree differs without the index")
        return Stats.of([cost.ms])

    async def _once(self, path: str) -> tuple[Cost, dict[str, Any]]:
        call = self.client.call("GET", f"/api/refinements/{self.thread_id}/{path}")
        return await measured(self.hub_pid, call)


class GitHistory:
    """The same versions of the files in a repository, with a commit for each change."""

    def __init__(self, folder: Path, run: LongRun) -> None:
        self._repository = Repository(folder)
        #: The event of each commit, by its number.
        self._distance = run.events // run.changes
        for number, text in enumerate(_versions(run), start=1):
            seq = number * self._distance
            for change in _changes(run, seq, text):
                assert change.file is not None
                (folder / change.path.removeprefix("/")).write_bytes(change.file.content)
            self._repository.commit(str(seq))
            self._repository.git("tag", str(seq))

    def tree_ms(self, seq: int, listed: dict[str, Any], rounds: int) -> Stats | str:
        """Milliseconds for the same tree. Raises NoFigure when it differs."""
        changed = seq // self._distance * self._distance
        if not changed:
            return "-"
        command = ("ls-tree", "-r", "--format=/%(path) %(objectsize)", str(changed))
        times, out = self._timed(command, rounds)
        ours = sorted(f"{file['path']} {file['size_bytes']}" for file in listed["items"])
        if ours != sorted(out.splitlines()):
            raise NoFigure("the tree differs from git's")
        return times

    def blame_ms(self, blame: dict[str, Any], rounds: int) -> Stats:
        """Milliseconds for the same file. Raises NoFigure when the lines are of other events."""
        times, out = self._timed(("blame", "--porcelain", PATH.removeprefix("/")), rounds)
        seqs: dict[str, int] = {}
        commit, theirs = "", []
        for line in out.splitlines():
            if line.startswith("\t"):
                theirs.append(commit)
            elif line.startswith("summary "):
                seqs[commit] = int(line.removeprefix("summary "))
            elif len(line.split(" ")[0]) == 40:
                commit = line.split(" ")[0]
        ours = [part["seq"] for part in blame["ranges"] for _ in range(part["line_count"])]
        if ours != [seqs[each] for each in theirs]:
            raise NoFigure("blame differs from git's")
        return times

    def _timed(self, command: Sequence[str], rounds: int) -> tuple[Stats, str]:
        taken = [self._repository.timed(*command) for _ in range(rounds)]
        return Stats.of([ms for ms, _ in taken]), taken[-1][1].decode()
