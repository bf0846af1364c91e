"""The files of a long run as they were, through the hub, beside the same without an index.

A run of tokens, with a change of a file at equal distances, is written into the database as the writer of
the journal leaves it, in rows of a few events; then its rows are joined, as at the end of a run.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from bench.environment import Environment
from bench.figures import NoFigure, Stats, Table
from bench.git import Repository
from bench.machine import cpu_seconds
from server.db.journal import COMPACT
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
from tests.support.tokens import bearer

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


def _events(run: LongRun) -> Iterator[Event]:
    distance = run.events // run.changes
    versions = _versions(run)
    for seq in range(1, run.events + 1):
        if seq % distance:
            yield Event(seq, 1, _TIME, Token(message_id="m", role=Role.AI, text=f"word {seq} "))
            continue
        call = AgentMessage(role=Role.TOOL, text=f"Updated file {PATH}", tool_call_id=f"call_{seq}")
        files = (
            FileChange(PATH, File(next(versions))),
            FileChange(f"/small_{seq // distance % 50}.md", File(b"%d\n" % seq)),
        )
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


@dataclass(frozen=True, slots=True)
class Reader:
    """A client of the hub, and the thread that it reads."""

    http: httpx.AsyncClient
    thread_id: UUID
    hub_cpu: Callable[[], float]

    async def get(self, path: str) -> dict[str, Any]:
        """An answer. Raises NoFigure."""
        answer = await self.http.get(f"/api/refinements/{self.thread_id}/{path}")
        if answer.status_code != 200:
            raise NoFigure(f"{path}: {answer.text}")
        return dict(answer.json())

    async def timed(
        self, path: str, rounds: int, before: Callable[[], Awaitable[object]] | None = None
    ) -> tuple[Stats, Stats, dict[str, Any]]:
        """Milliseconds of the call, and of the hub's CPU, and the answer. before: called before each."""
        times, cpu = [], []
        answer: dict[str, Any] = {}
        for _ in range(rounds):
            if before is not None:
                await before()
            began, used = time.perf_counter(), self.hub_cpu()
            answer = await self.get(path)
            times.append(1000 * (time.perf_counter() - began))
            cpu.append(1000 * (self.hub_cpu() - used))
        return Stats.of(times), Stats.of(cpu), answer


async def measure_file_history(environment: Environment, *, quick: bool) -> list[Table]:
    """Rows for the tree and for blame, of a run that goes on and of one that has ended. Raises NoFigure."""
    run, rounds = (LongRun(1_000, 100, 5), 1) if quick else (LongRun(100_000, 10_000, 200), 5)
    await environment.read(environment.hub_socket("proto"), "short_run")
    rows: list[list[str | Stats]] = []
    connection = await asyncpg.connect(environment.dsn)
    addresses = environment.addresses
    headers = bearer(addresses.token)
    try:
        async with httpx.AsyncClient(
            base_url=environment.hub.addresses["HTTP"], headers=headers, timeout=120, trust_env=False
        ) as http:
            thread_id = await connection.fetchval(
                "SELECT thread_id FROM runs ORDER BY created_at DESC LIMIT 1"
            )
            reader = Reader(http, thread_id, lambda: cpu_seconds(environment.hub.pid))
            await _write(connection, thread_id, run)
            rows += await _measured(reader, connection, run, "in rows of 5 events", rounds)
            await connection.execute(COMPACT, thread_id)
            await connection.execute("ANALYZE events")
            rows += await _measured(reader, connection, run, "in joined rows", rounds)
    finally:
        await connection.close()
    heads = ["operation", "ms", "hub CPU ms", "without index ms", "git ms"]
    title = f"Files as they were, in a journal of {run.events:,} events with {run.changes} changes"
    return [Table(title, heads, rows)]


async def _measured(
    reader: Reader, connection: asyncpg.Connection, run: LongRun, form: str, rounds: int
) -> list[list[str | Stats]]:
    async def forget() -> None:
        await connection.execute(
            "UPDATE events SET file_changes = NULL WHERE thread_id = $1", reader.thread_id
        )

    rows: list[list[str | Stats]] = []
    for seq in (run.events // 100, run.events // 2, run.events):
        path = f"files?seq={seq}"
        times, cpu, listed = await reader.timed(path, rounds)
        slow, _, same = await reader.timed(path, 1, forget) if seq == run.events else (None, None, listed)
        if same != listed:
            raise NoFigure("the tree differs without the index")
        rows.append([f"tree after event {seq:,}, {form}", times, cpu, slow or "-", "-"])
    times, cpu, blame = await reader.timed(f"blame?path={PATH}", rounds)
    if sum(part["line_count"] for part in blame["ranges"]) != blame["line_count"]:
        raise NoFigure("blame left lines out")
    rows.append([f"blame of {blame['line_count']:,} lines, {form}", times, cpu, "-", _git_blame(run, blame)])
    return rows


def _git_blame(run: LongRun, blame: dict[str, Any]) -> str | Stats:
    """Milliseconds of git for the same file and versions. Raises NoFigure when it has other ranges."""
    if shutil.which("git") is None:
        return "-"
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(Path(folder))
        for number, text in enumerate(_versions(run)):
            (Path(folder) / "large.md").write_bytes(text)
            repository.commit(str(number))
        times = []
        for _ in range(3):
            began = time.perf_counter()
            out = repository.git("blame", "--porcelain", "large.md").decode()
            times.append(1000 * (time.perf_counter() - began))
    distance = run.events // run.changes
    owners: dict[str, int] = {}
    commit, theirs = "", []
    for line in out.splitlines():
        if line.startswith("\t"):
            theirs.append(commit)
        elif line.startswith("summary "):
            owners[commit] = (int(line.removeprefix("summary ")) + 1) * distance
        elif len(line.split(" ")[0]) == 40:
            commit = line.split(" ")[0]
    ours = [part["seq"] for part in blame["ranges"] for _ in range(part["line_count"])]
    if ours != [owners[each] for each in theirs]:
        raise NoFigure("blame differs from git's")
    return Stats.of(times)
