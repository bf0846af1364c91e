"""`stored`: what a run's journal takes in the database, beside what the runtime sent and its contents.

Distinct contents are what a run has to keep at the least: each version of a file, each message and
each token's text, counted once, as UTF-8. State frames repeat them all the time.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg

from bench.environment import Environment
from bench.figures import Stats, Table
from server.db.compaction import COMPACTED_BYTES
from server.domain.journal.events import StateUpdate, Token
from server.frames.interpreter import Interpreter
from server.replay.recording import Recording, read_recordings

_SIZES = """
SELECT count(*) AS rows, sum(pg_column_size(batch) + pg_column_size(residues)) AS columns,
  sum(length(batch)) AS batch, sum(length(residues)) AS residues
FROM events WHERE thread_id = ANY($1::uuid[])
"""
#: Whether a journal has more rows than it has once it is compacted.
_IS_NOT_COMPACTED = f"""
SELECT EXISTS (
  SELECT FROM events WHERE thread_id = ANY($1::uuid[]) GROUP BY thread_id
  HAVING count(*) > sum(length(batch) + length(residues)) / {COMPACTED_BYTES} + 1)
"""


def distinct_bytes(recording: Recording) -> int:
    """Bytes of the recording's distinct contents."""
    interpreter = Interpreter()
    once: set[tuple[str, ...] | tuple[str, str, bytes]] = set()
    tokens = 0
    for frame in recording.frames:
        for kind in interpreter.interpret(frame.encode()).kinds:
            if isinstance(kind, Token):
                tokens += len(kind.text.encode("utf-8", "surrogatepass"))
                tokens += sum(len(call.name + call.arguments) for call in kind.tool_calls)
            elif isinstance(kind, StateUpdate):
                for change in kind.files:
                    if change.file is not None:
                        once.add(("file", change.path, change.file.content))
                for changed in kind.messages:
                    calls = "".join(call.name + call.arguments for call in changed.message.tool_calls)
                    once.add(("message", changed.message.text + calls))
    contents = (part for entry in once for part in entry[-1:])
    return tokens + sum(
        len(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")) for part in contents
    )


async def measure_stored(environment: Environment, *, quick: bool) -> list[Table]:
    """A row for each recording of a whole run, from a few runs of it. Raises NoFigure."""
    runs = 1 if quick else 5
    rows: list[list[str | Stats]] = []
    connection = await asyncpg.connect(environment.dsn)
    try:
        recordings = read_recordings()
        for name, recording in recordings.items():
            if "." in name or recording.continuation in recordings:
                # A part of a run that waits for a person's reply.
                continue
            before, seen = await _relation_bytes(connection), await _threads(connection)
            await environment.read(environment.hub_socket("proto"), name, runs=runs)
            threads = list(await _threads(connection) - seen)
            while await connection.fetchval(_IS_NOT_COMPACTED, threads):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
            sizes = await connection.fetchrow(_SIZES, threads)
            grown = await _relation_bytes(connection) - before
            raw = sum(len(frame.encode()) for frame in recording.frames)
            distinct = distinct_bytes(recording)
            stored = int(sizes["columns"]) / runs
            rows.append(
                [
                    name,
                    f"{len(recording.frames):,}",
                    f"{raw:,}",
                    f"{distinct:,}",
                    f"{sizes['rows'] / runs:.1f}",
                    f"{int(sizes['batch']) // runs:,} + {int(sizes['residues']) // runs:,}",
                    f"{stored:,.0f}",
                    f"{stored / distinct:.2f}",
                    f"{stored / raw:.3f}",
                    f"{grown / runs:,.0f}",
                ]
            )
    finally:
        await connection.close()
    table = Table(
        f"A run's journal in bytes, mean of {runs} runs",
        [
            "recording",
            "frames",
            "sent by the runtime",
            "distinct contents",
            "rows",
            "events + deltas",
            "columns as stored",
            "÷ distinct",
            "÷ sent",
            "table and indexes",
        ],
        rows,
    )
    return [table]


async def _threads(connection: asyncpg.Connection) -> set[UUID]:
    return {row["thread_id"] for row in await connection.fetch("SELECT thread_id FROM runs")}


async def _relation_bytes(connection: asyncpg.Connection) -> int:
    """Bytes of the journal's table with indexes and what is stored out of line, without what is free."""
    await connection.execute("VACUUM (FULL) events")
    return int(await connection.fetchval("SELECT pg_total_relation_size('events')"))
