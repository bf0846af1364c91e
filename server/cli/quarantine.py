"""`ideo quarantine`: frames that the hub did not understand, from the database or by calls of a hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NoReturn

from ide_orchestrator.client import HubError
from ide_orchestrator.client.http_calls import member
from server.cli import exit_codes
from server.cli.environment import read_settings
from server.cli.event_loop import run_command, until_stopped
from server.cli.exit_codes import CommandError, notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import ids_beginning_with, run_with_hub
from server.cli.printable import counted, json_line, print_content, print_line, words
from server.cli.quarantine_sources import OverHub, Source, open_database
from server.domain.errors import NotFound
from server.settings.settings import Settings

#: Seconds between two looks at what the owners of runs have released.
_LOOK_S = 0.5
#: Shapes that are offered as completions.
_OFFERED = 100
_OUTCOMES = ("journalled", "superseded", "reported")

#: A frame: its thread and its seq.
Place = tuple[str, int]


def ls(*, handled: bool, limit: int, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """List the shapes."""

    async def _ls(source: Source) -> int:
        empty = True
        async for shape in _first(limit, source.shapes(include_released=handled)):
            _print_shape(shape, as_json=as_json)
            empty = False
        if empty and not as_json:
            notice("the quarantine is empty" if handled else "no frames wait in quarantine")
        return 0

    _run(_ls, url=url, token=token)


def show(
    shape_id: str, *, content: bool, limit: int, url: str | None, token: str | None, as_json: bool
) -> NoReturn:
    """Show a shape with its frames, or the content of the example. Raises CommandError."""

    async def _show(source: Source) -> int:
        shape = await source.shape(shape_id)
        if content:
            example = member(shape, "sample_thread_id"), member(shape, "sample_seq")
            print_content(await source.content(*example) + b"\n")
            return 0
        frames = [frame async for frame in _first(limit, source.frames(shape_id))]
        if as_json:
            print_line(json_line({**shape, "frames": frames}))
            return 0
        _print_shape(shape, as_json=False)
        for frame in frames:
            outcome = words(frame["outcome"] or "waits")
            at = f" as {frame['outcome_seq']}" if frame["outcome_seq"] else ""
            print_line(f"{_place_text(frame)}  {_time(frame['kept_at'])}  {outcome}{at}")
        return 0

    _run(_show, url=url, token=token)


def release(shape_id: str, *, wait_s: float, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Release the frames of a shape. Raises CommandError."""
    reported: set[Place] = set()

    async def _released(source: Source) -> int:
        """Release everything, print new reports, and return how many frames the owners were asked for."""
        requested, cursor = 0, None
        while True:
            page = await source.release(shape_id, cursor)
            requested += int(member(page, "requested_count"))
            for report in member(page, "items"):
                if _place(report) not in reported:
                    print_line(json_line(report) if as_json else f"{_place_text(report)}  {_meaning(report)}")
                reported.add(_place(report))
            cursor = member(page, "next_cursor")
            if cursor is None:
                return requested

    async def _release(source: Source) -> int:
        if await _released(source) and await _runs_ended(source, shape_id, wait_s, reported):
            await _released(source)
        shape = await source.shape(shape_id)
        print_line(json_line(shape) if as_json else _shape_line(shape))
        if shape["waiting_count"]:
            notice(
                f"{shape['waiting_count']} frames are left: this release does not understand them, or the"
                " owners of their runs have not answered yet"
            )
        return exit_codes.FAILED if shape["waiting_count"] else 0

    _run(_release, url=url, token=token)


def scan(*, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Note what earlier releases have kept."""

    async def _scan(source: Source) -> int:
        added, cursor = 0, None
        while True:
            page = await source.scan(cursor)
            added += member(page, "added_count")
            cursor = member(page, "next_cursor")
            if cursor is None:
                break
        print_line(json_line({"added_count": added}) if as_json else f"{counted(added, 'frame')} noted")
        return 0

    _run(_scan, url=url, token=token)


def complete_shapes(incomplete: str) -> Sequence[tuple[str, str]]:
    """The shapes that wait whose ids begin with the text; none while they cannot be asked for."""

    def shown(shape: Mapping[str, Any]) -> tuple[str, str]:
        return str(shape["id"]), f"{words(shape['reason'])} {shape['event_type']}"

    try:
        settings = read_settings(about_names=False)
        if settings.database_url is None:
            return ids_beginning_with(incomplete, "/api/quarantine/shapes", shown)
        found = asyncio.run(_offered(settings))
    except Exception:
        # Completion neither fails nor says why.
        return []
    return [shown(shape) for shape in found if shape["id"].startswith(incomplete)]


async def _offered(settings: Settings) -> list[dict[str, Any]]:
    async with open_database(settings) as source:
        return [shape async for shape in _first(_OFFERED, source.shapes(include_released=False))]


async def _runs_ended(source: Source, shape_id: str, wait_s: float, reported: Collection[Place]) -> bool:
    """Wait until the owners have released what they were asked for, or until the time is over. Returns
    whether runs ended before that, whose frames are to be reported."""
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        asked = ended = False
        async with aclosing(source.frames(shape_id)) as frames:
            async for frame in frames:
                if frame["outcome"] is None and frame["run_ended"]:
                    ended = ended or _place(frame) not in reported
                elif frame["outcome"] is None and frame["release_requested"]:
                    asked = True
                    break
        if not asked:
            return ended
        if asyncio.get_running_loop().time() >= deadline:
            notice(
                f"the owners of the runs did not answer within {wait_s:g} s; they still release the frames"
            )
            return False
        await asyncio.sleep(_LOOK_S)


def _run(work: Callable[[Source], Awaitable[int]], *, url: str | None, token: str | None) -> NoReturn:
    """Run a command on the database of the settings; with an address, or without a database, by calls of
    the hub."""
    if url is None:
        settings = read_settings()
        if settings.database_url is not None:
            _run_beside_the_database(work, settings)

    async def _with_hub(client: HubClient) -> int:
        try:
            return await work(OverHub(client))
        except HubError as error:
            raise (_not_found(error) if error.code == "not_found" else error) from None

    # Without an address, the settings have been read.
    run_with_hub(_with_hub, url=url, token=token, about_names=url is not None)


def _run_beside_the_database(work: Callable[[Source], Awaitable[int]], settings: Settings) -> NoReturn:
    async def _work() -> int:
        async with open_database(settings) as source:
            return await work(source)

    async def _until_stopped(stop: asyncio.Event) -> int:
        try:
            return await until_stopped(_work(), stop)
        except NotFound as error:
            raise _not_found(error) from None

    run_command(_until_stopped)


def _not_found(error: Exception) -> CommandError:
    return CommandError(f"{error}: `ideo quarantine ls` shows the shapes")


async def _first(
    limit: int, items: AsyncGenerator[dict[str, Any], None]
) -> AsyncGenerator[dict[str, Any], None]:
    """At most so many of the items."""
    async with aclosing(items):
        async for item in items:
            yield item
            limit -= 1
            if not limit:
                return


def _time(time: str) -> str:
    """A time without its fraction."""
    return f"{time[:19]}Z"


def _print_shape(shape: Mapping[str, Any], *, as_json: bool) -> None:
    print_line(json_line(shape) if as_json else _shape_line(shape))
    if not as_json:
        print_line(f"    {shape['structure'] or 'not read: too many values'}")


def _shape_line(shape: Mapping[str, Any]) -> str:
    outcomes = "".join(
        f", {shape[f'{outcome}_count']} {outcome}" for outcome in _OUTCOMES if shape[f"{outcome}_count"]
    )
    return (
        f"{member(shape, 'id')}  {words(shape['reason'])} {shape['event_type'] or '(no type)'}"
        f"  {shape['waiting_count']} of {shape['frame_count']} frames wait{outcomes},"
        f" in {counted(shape['run_count'], 'run')}, {shape['size_bytes']} bytes,"
        f" {_time(shape['first_at'])} to {_time(shape['last_at'])},"
        f" such as {shape['sample_thread_id']} {shape['sample_seq']}"
    )


def _place(frame: Mapping[str, Any]) -> Place:
    return frame["thread_id"], frame["seq"]


def _place_text(frame: Mapping[str, Any]) -> str:
    return f"{frame['thread_id']} {frame['seq']:>6}"


def _meaning(report: Mapping[str, Any]) -> str:
    """What a frame means, in counts and without its texts."""
    if not report["understood"]:
        return "not understood"
    if report["state"] is not None:
        counts = {
            "messages": report["state"]["message_count"],
            "files": report["state"]["file_count"],
            "todos": report["state"]["todo_count"],
            "other keys": report["state"]["other_key_count"],
        }
        return "a state with " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if report["token"] is not None:
        return f"a token of {report['token']['character_count']} characters"
    return "adds nothing"
