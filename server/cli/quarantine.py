"""`ideo quarantine`: frames that the hub did not understand, read from the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from server.cli import exit_codes
from server.cli.environment import read_settings
from server.cli.event_loop import run_command, until_stopped
from server.cli.exit_codes import CommandError, notice
from server.cli.printable import counted, json_line, print_content, print_line, words
from server.clock import SystemClock
from server.db.journal import PostgresJournal
from server.db.pool import open_pool
from server.db.quarantine import PostgresQuarantineStore
from server.domain.errors import NotFound
from server.domain.journal.events import StateUpdate
from server.domain.quarantine.quarantine import MAX_FRAMES, Quarantine, Released, Report
from server.domain.quarantine.store import Group, KeptFrame
from server.frames.interpreter import Interpreter
from server.wire.codec import ProtobufCodec

#: Seconds between two looks at what the owners of runs have released.
_LOOK_S = 0.5
#: Seconds of the lease of a journal that is only read.
_NO_LEASE_S = 1.0
#: Shapes that are offered as completions.
_OFFERED = 100


def ls(*, handled: bool, limit: int, as_json: bool) -> NoReturn:
    """List the shapes."""

    async def _ls(quarantine: Quarantine) -> int:
        for group in await quarantine.groups(handled=handled, limit=limit):
            print_line(json_line(_group_json(group)) if as_json else _group_line(group))
            if not as_json:
                print_line(f"    {group.structure or 'not read: too many values'}")
        return 0

    _run(_ls)


def show(shape_id: str, *, content: bool, limit: int, as_json: bool) -> NoReturn:
    """Show a shape with its frames, or the content of the example. Raises CommandError."""

    async def _show(quarantine: Quarantine) -> int:
        group = await quarantine.group(shape_id)
        if content:
            print_content(await quarantine.content(*group.example) + b"\n")
            return 0
        frames = await quarantine.frames(shape_id, limit=limit)
        if as_json:
            print_line(json_line({**_group_json(group), "frames": [_frame_json(frame) for frame in frames]}))
            return 0
        print_line(_group_line(group))
        print_line(f"    {group.structure or 'not read: too many values'}")
        for frame in frames:
            outcome = words(frame.outcome.value) if frame.outcome else "waits"
            at = f" as {frame.outcome_seq}" if frame.outcome_seq else ""
            print_line(f"{frame.thread_id} {frame.seq:>6}  {_time(frame.kept_at)}  {outcome}{at}")
        return 0

    _run(_show)


def release(shape_id: str, *, wait_s: float, as_json: bool) -> NoReturn:
    """Release the frames of a shape. Raises CommandError."""
    reported: set[tuple[UUID, int]] = set()

    async def _released(quarantine: Quarantine) -> Released:
        released = await quarantine.release(shape_id)
        for report in released.reports:
            place = (report.frame.thread_id, report.frame.seq)
            if place not in reported:
                print_line(json_line(_report_json(report)) if as_json else _report_line(report))
            reported.add(place)
        return released

    async def _release(quarantine: Quarantine) -> int:
        released = await _released(quarantine)
        if released.asked and await _runs_ended(quarantine, shape_id, wait_s, reported):
            released = await _released(quarantine)
        group = await quarantine.group(shape_id)
        print_line(json_line(_group_json(group)) if as_json else _group_line(group))
        if released.more:
            notice("more frames of this shape wait: release it again")
        elif group.waiting:
            notice(
                f"{group.waiting} frames are left: this release does not understand them, or the owners of"
                " their runs have not answered yet"
            )
        return exit_codes.FAILED if group.waiting else 0

    _run(_release)


def scan(*, as_json: bool) -> NoReturn:
    """Note what earlier releases have kept."""

    async def _scan(quarantine: Quarantine) -> int:
        added = await quarantine.scan()
        print_line(json_line({"added": added}) if as_json else counted(added, "frame") + " noted")
        return 0

    _run(_scan)


def complete_shapes(incomplete: str) -> Sequence[tuple[str, str]]:
    """The shapes that wait whose ids begin with the text; none while the database cannot be asked."""
    try:
        groups = asyncio.run(_with_quarantine(lambda found: found.groups(handled=False, limit=_OFFERED)))
    except Exception:
        # Completion neither fails nor says why.
        return []
    return [
        (group.shape_id, f"{words(group.reason)} {group.event_type}")
        for group in groups
        if group.shape_id.startswith(incomplete)
    ]


async def _runs_ended(
    quarantine: Quarantine, shape_id: str, wait_s: float, reported: Collection[tuple[UUID, int]]
) -> bool:
    """Wait until the owners have released what they were asked for, or until the time is over. Returns
    whether runs ended before that, whose frames are to be reported."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        frames = await quarantine.frames(shape_id, limit=MAX_FRAMES)
        waiting = [frame for frame in frames if frame.outcome is None]
        if not any(frame.requested and not frame.ended for frame in waiting):
            return any(frame.ended and (frame.thread_id, frame.seq) not in reported for frame in waiting)
        if asyncio.get_running_loop().time() >= deadline:
            notice(
                f"the owners of the runs did not answer within {wait_s:g} s; they still release the frames"
            )
            return False
        await asyncio.sleep(_LOOK_S)


def _run(work: Callable[[Quarantine], Awaitable[int]]) -> NoReturn:
    async def _until_stopped(stop: asyncio.Event) -> int:
        try:
            return await until_stopped(_with_quarantine(work), stop)
        except NotFound as error:
            raise CommandError(f"{error}: `ideo quarantine ls` shows the shapes") from None

    run_command(_until_stopped)


async def _with_quarantine(work: Callable[[Quarantine], Awaitable[Any]]) -> Any:
    """What `work` gets of the quarantine in the settings' database."""
    settings = read_settings(require=("DATABASE_URL",))
    dsn = settings.database_url.get_secret_value() if settings.database_url else ""
    async with open_pool(dsn, max_size=1, application_name="ideo quarantine") as pool:
        journal = PostgresJournal(pool, SystemClock(), lease_ttl_s=_NO_LEASE_S)
        return await work(Quarantine(PostgresQuarantineStore(pool), journal, ProtobufCodec(), Interpreter))


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _group_line(group: Group) -> str:
    outcomes = "".join(f", {count} {words(outcome.value)}" for outcome, count in group.outcomes)
    thread_id, seq = group.example
    return (
        f"{group.shape_id}  {words(group.reason)} {group.event_type or '(no type)'}  {group.waiting} of"
        f" {group.count} frames wait{outcomes}, in {counted(group.runs, 'run')}, {group.size_bytes} bytes,"
        f" {_time(group.first_at)} to {_time(group.last_at)}, such as {thread_id} {seq}"
    )


def _group_json(group: Group) -> dict[str, Any]:
    thread_id, seq = group.example
    return {
        "shape": group.shape_id,
        "reason": group.reason,
        "event_type": group.event_type,
        "structure": group.structure,
        "count": group.count,
        "waiting": group.waiting,
        "outcomes": {outcome.value: count for outcome, count in group.outcomes},
        "runs": group.runs,
        "size_bytes": group.size_bytes,
        "first_time": _time(group.first_at),
        "last_time": _time(group.last_at),
        "example": {"thread_id": str(thread_id), "seq": seq},
    }


def _frame_json(frame: KeptFrame) -> dict[str, Any]:
    return {
        "thread_id": str(frame.thread_id),
        "seq": frame.seq,
        "time": _time(frame.kept_at),
        "run_ended": frame.ended,
        "outcome": frame.outcome and frame.outcome.value,
        "outcome_seq": frame.outcome_seq,
    }


def _report_json(report: Report) -> dict[str, Any]:
    found = {
        "thread_id": str(report.frame.thread_id),
        "seq": report.frame.seq,
        "understood": report.understood,
    }
    return {**found, "means": _meaning(report)}


def _report_line(report: Report) -> str:
    return f"{report.frame.thread_id} {report.frame.seq:>6}  {_meaning(report)}"


def _meaning(report: Report) -> str:
    """What a frame means, in counts and without its texts."""
    if not report.understood:
        return "not understood"
    event = report.event
    if event is None:
        return "adds nothing"
    if isinstance(event, StateUpdate):
        counts = {
            "messages": len(event.messages),
            "files": len(event.files),
            "todos": len(event.todos or ()),
            "other keys": len(event.extra),
        }
        return "a state with " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"a token of {len(event.text)} characters"
