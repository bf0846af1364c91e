"""Reads what is left when a run is over: the journal, the row's writes, the stored files, the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from ide_orchestrator.v1 import event_pb2
from server.domain.journal.frame_reconstruction import FrameReconstructor
from server.domain.journal.segments import Segment
from server.encoding.frame_delta import digest_of
from server.wire.codec import ProtobufCodec
from tests.faults.rig.history import Journal, JournalEvent, Truth, Unit, Write
from tests.faults.rig.recorder import event_sha256, frame_sha256
from tests.faults.scripts import digests_of
from tests.support.legacy_frames import frames_for

_CODEC = ProtobufCodec()

#: SQL that makes a database record every change of a run's row: who wrote, and what was there before.
RECORD_WRITES = """
CREATE TABLE rig_writes (
  id bigserial PRIMARY KEY, thread_id uuid, writer text, owner_before text, owner_after text,
  fence_before bigint, fence_after bigint, last_before int, last_after int, status_before text,
  status_after text
);
CREATE FUNCTION rig_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO rig_writes VALUES (
    DEFAULT, NEW.thread_id, coalesce(current_setting('ideo.replica', true), ''),
    coalesce(OLD.owner, ''), coalesce(NEW.owner, ''), OLD.fence, NEW.fence, OLD.last_seq, NEW.last_seq,
    OLD.status, NEW.status);
  RETURN NULL;
END $$;
CREATE TRIGGER rig_note AFTER UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION rig_note();
"""


async def read_journal(connection: asyncpg.Connection, thread_id: str) -> Journal:
    """The run as the database has it."""
    run = await connection.fetchrow(
        "SELECT r.*, p.status AS proposal_status, p.generated_files FROM runs r "
        "JOIN proposals p ON p.id = r.proposal_id WHERE r.thread_id = $1",
        UUID(thread_id),
    )
    assert run is not None
    rows = await connection.fetch(
        "SELECT * FROM events WHERE thread_id = $1 ORDER BY first_seq", UUID(thread_id)
    )
    events: list[JournalEvent] = []
    frames: list[Unit] = []
    outcome = reason = ""
    reconstructor = FrameReconstructor()
    for row in rows:
        segment = Segment(row["first_seq"], row["last_seq"], row["batch"], row["residues"])
        for data, delta in zip(segment.events(), segment.deltas(), strict=True):
            event = event_pb2.Event.FromString(data)
            kind = event.WhichOneof("kind") or ""
            digest = digest_of(delta)
            if '"streaming_timeout"' in event.upstream_frame.text:
                digest = None  # of the endpoint, not of the run
            events.append(
                JournalEvent(
                    event.seq,
                    event_sha256(event),
                    event.epoch,
                    kind,
                    digest.hex() if digest else None,
                    event.create_time.ToNanoseconds() / 1e9,
                )
            )
            if kind == "terminal":
                outcome = event_pb2.Outcome.Name(event.terminal.outcome).removeprefix("OUTCOME_").lower()
                reason = event.terminal.reason
            if event.seq == reconstructor.seq + 1:
                sent = map(json.loads, frames_for(reconstructor, event.seq, delta, _CODEC.decode(data).kind))
                # An error frame of the hub's own has no seq: the `end` after it has.
                frames.extend((event.seq, frame_sha256(frame)) for frame in sent if "seq" in frame)
    return Journal(
        events,
        frames,
        run["status"],
        run["proposal_status"],
        outcome,
        reason,
        run["attempt"],
        run["last_seq"],
        digests_of(json.loads(run["generated_files"] or "{}")),
    )


async def read_writes(
    connection: asyncpg.Connection, thread_id: str, writers: Mapping[int, str]
) -> list[Write]:
    """The changes of the run's row, in order. `writers`: the process's name by its id, which is a part of
    an owner's name."""

    def named(owner: str) -> str:
        return writers[int(owner.split(":")[1])] if owner else ""

    rows = await connection.fetch(
        "SELECT * FROM rig_writes WHERE thread_id = $1 ORDER BY id", UUID(thread_id)
    )
    return [
        Write(
            row["writer"],
            (named(row["owner_before"]), named(row["owner_after"])),
            (row["fence_before"], row["fence_after"]),
            (row["last_before"], row["last_after"]),
            (row["status_before"], row["status_after"]),
        )
        for row in rows
    ]


async def read_truth(http: httpx.AsyncClient, runtime: str, thread_id: str) -> Truth:
    """What the runtime really did."""
    truth: dict[str, Any] = (await http.get(f"{runtime}/truth/{thread_id}")).json()
    return Truth(**truth)
