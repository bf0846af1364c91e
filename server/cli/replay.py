"""`ideo replay`: one recorded run, served through the runtime's endpoints, or shown through a hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from server.addresses import listening
from server.cli import exit_codes
from server.cli.event_loop import ending_when_cancelled, run_command, serve_until_stopped, until_stopped
from server.cli.exit_codes import CommandError, notice
from server.cli.keys import stepping
from server.observability.logs import configure_logging
from server.replay.directives import FAULTS, STALL_S, BadDirective, Directive, positive
from server.replay.recording import RecordingError
from server.replay.recording_file import read_recording
from server.replay.runs import Steps
from server.replay.server import replay_runtime

#: What a terminal sends for Ctrl-D, when keys are read one by one.
_END_OF_INPUT = b"\x04"


def run(
    file: Path,
    *,
    speed: float | None,
    faults: Sequence[str],
    step: bool,
    host: str,
    port: int,
    hub: bool,
    once: bool,
) -> NoReturn:
    """Serve the recording until a signal. Prints `runtime ADDRESS` when it accepts connections.

    faults: `KIND@K` each. step: every key, or line of the input, sends the next frame. hub: start a hub, too,
    and show the run; once: end then. Raises CommandError.
    """
    directive = _directive(speed, faults)
    try:
        recordings = read_recording(file)
    except RecordingError as error:
        raise CommandError(str(error), exit_code=exit_codes.USAGE) from None
    whole = next(iter(recordings.values()))
    if whole.unfinished and directive.silent is None:
        notice(f"{file} has no `end`: after its {len(whole.frames)} frames the run stays running")
    configure_logging(dev=True, level=logging.WARNING)

    async def _work() -> int:
        steps = Steps() if step else None
        async with AsyncExitStack() as stack:
            opening = _open_runtime(host, port, recordings=recordings, directive=directive, steps=steps)
            address = await stack.enter_async_context(opening)
            if steps is not None:
                stack.enter_context(stepping(steps.step))
            if hub:
                # Here, so that the runtime alone starts without the hub's parts.
                from server.cli import dev

                return await dev.show_replay(address, whole.name, once=once)
            click.echo(f"runtime {address}/deepagents-runtime")
            notice(
                "a hub uses it with this address as DEEPAGENTS_RUNTIME_URL, IDEO_RUNTIME_PROFILE=full and"
                " IDEO_RUNTIME_CAN_RESUME=true"
            )
            await asyncio.Event().wait()
        return 0

    async def _until_stopped(stop: asyncio.Event) -> int:
        return await (until_stopped if once else serve_until_stopped)(ending_when_cancelled(_work()), stop)

    run_command(_until_stopped)


def _directive(speed: float | None, faults: Sequence[str]) -> Directive:
    """How the run is played. Raises CommandError."""
    found: dict[str, Any] = {}
    try:
        for fault in faults:
            kind, separator, place = fault.partition("@")
            frame, _, seconds = place.partition(":")
            if kind not in FAULTS or not separator or (seconds and kind != "stall"):
                known = ", ".join(f"{each}@K" for each in FAULTS)
                raise BadDirective(f"--fault {fault[:40]!r} is none of {known} (stall@K:SECONDS)")
            if kind in found:
                raise BadDirective(f"--fault {kind}@ is given twice: a run has one of each kind")
            found[kind] = positive(f"the frame of --fault {fault[:40]!r}", frame, int)
            if seconds:
                found["stall_s"] = positive(f"the seconds of --fault {fault[:40]!r}", seconds, float)
    except BadDirective as error:
        raise CommandError(str(error), exit_code=exit_codes.USAGE) from None
    return Directive(speed=speed, **{"stall_s": STALL_S, **found})


@asynccontextmanager
async def _open_runtime(host: str, port: int, **more: Any) -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        try:
            address = await stack.enter_async_context(replay_runtime(host, port, **more))
        except (OSError, UnicodeError) as error:
            raise CommandError(
                f"cannot listen on {host}:{port} ({listening.refusal(error)}): "
                + listening.remedy(error, host="--host", port="--port")
            ) from None
        yield address
