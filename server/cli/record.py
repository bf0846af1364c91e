"""`ideo record`: a run's frames, written as a recording that the replay runtime serves."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, NoReturn

from ide_orchestrator.client import Fault
from server.cli import exit_codes
from server.cli.exit_codes import CommandError, notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.local_files import PrivateFiles
from server.cli.outages import Outages
from server.cli.printable import json_line, print_line
from server.cli.recorder import RunNotes
from server.replay.recording import continuation_of, is_continuation

#: The statuses of refinements that have ended.
_ENDED = ("completed", "failed", "cancelled")


def run(
    thread_id: str,
    *,
    output: str | None,
    force: bool,
    follow: bool,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Write the run's frames to a file, and what came after each answer to a file beside it. They exist once
    all of them are whole.

    follow: wait for the end of a run that goes on. Raises CommandError when a file exists, except with
    `force`.
    """
    target = Path(output or f"{thread_id}.ndjson")
    if is_continuation(target.stem):
        # Other recordings beside it would be taken for what follows it, and be replaced.
        raise CommandError(
            f"{target.name} is a name of what came after an answer in another recording: choose an --output"
            " whose name does not end in a dot and a number",
            exit_code=exit_codes.USAGE,
        )

    async def _record(client: HubClient) -> int:
        with PrivateFiles(force=force) as files:
            files.check(target)
            notes = await _read_notes(client, thread_id, follow=follow)
            targets = _targets(target, notes.parts)
            frames = await _write(client, thread_id, notes, [files.open(part) for part in targets])
            files.keep()
            if force:
                _remove_continuations(targets[-1])
        _warn(notes)
        _show(targets, frames, notes, as_json=as_json)
        return 0

    run_with_hub(_record, url=url, token=token)


def _targets(target: Path, parts: int) -> list[Path]:
    """The files of a recording: the first, and its continuations."""
    found = [target]
    for _ in range(parts - 1):
        found.append(_continuation(found[-1]))
    return found


def _continuation(target: Path) -> Path:
    return target.with_name(continuation_of(target.stem) + target.suffix)


def _remove_continuations(last: Path) -> None:
    """Remove those of an earlier recording: they would be played after this one."""
    while (last := _continuation(last)).is_file():
        last.unlink()


async def _read_notes(client: HubClient, thread_id: str, *, follow: bool) -> RunNotes:
    """What the typed events say, up to the end of the run, or without `follow` up to the newest one."""
    notes = RunNotes()
    newest = 0
    if follow and (await client.refinement(thread_id))["status"] not in _ENDED:
        notice("waiting for the end of the run; --no-follow records what there is so far")
    outages = Outages(reached=follow)
    async with aclosing(client.messages(thread_id, on_retry=outages.lost)) as messages:
        async for message in messages:
            outages.received(message)
            newest = newest or message.get("hello", {}).get("last_seq", 0)
            for event in message.get("batch", {}).get("events", ()):
                if not notes.last_seq and event["seq"] != 1:
                    raise Fault("the token shows only later events of this run: use the token of a user")
                notes.add(event)
            if not follow and notes.last_seq >= newest:
                break
    return notes


async def _write(client: HubClient, thread_id: str, notes: RunNotes, files: list[BinaryIO]) -> list[int]:
    """Write the parts of the recording. Returns the number of frames in each."""
    counts = [0] * len(files)

    def _add(part: int, line: str) -> None:
        files[part - 1].write(line.encode() + b"\n")
        counts[part - 1] += 1

    async with aclosing(client.legacy_frames(thread_id, notes.last_frame_seq)) as received:
        async for seq, frame in received:
            for line in notes.lines(seq, frame):
                _add(notes.part_of(seq), line)
    for part in range(1, len(files) + 1):
        end = notes.last_line(part)
        if end is not None:
            _add(part, end)
    if not counts[0]:
        raise CommandError("the run has no frames of the runtime yet: there is nothing to record")
    return counts


def _warn(notes: RunNotes) -> None:
    """Say what the recording lacks."""
    if not notes.ended:
        notice("the run continues: the recording has its frames so far, and will not end when it is replayed")
    elif notes.stopped_by_hub:
        notice(
            f"the hub ended the run ({notes.reason}): the recording has the runtime's frames alone, and does"
            " not end when it is played"
        )
    if notes.discontinuities:
        notice(
            f"the hub lost the runtime's stream {notes.discontinuities} times: frames may be missing or"
            " repeated"
        )
    if notes.binary_frames:
        notice(f"{notes.binary_frames} frames are not UTF-8: U+FFFD replaces the bytes that are not")


def _show(targets: list[Path], frames: list[int], notes: RunNotes, *, as_json: bool) -> None:
    for target, count in zip(targets, frames, strict=True):
        found = {"file": str(target), "frames": count, "whole": notes.ended and not notes.stopped_by_hub}
        print_line(json_line(found) if as_json else f"{target}  {count} frames")
