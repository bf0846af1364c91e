"""The commands about recorded runs and their options: `ideo record`, `ideo replay`, `ideo replay-runtime`."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from server.cli.options import THREAD, client_options, complete_fault, examples


@click.command("replay-runtime")
@click.option(
    "--frames",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of the recordings, NAME.jsonl each.  [default: the shipped ones]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free port."
)
@click.option("--default", help="Recording for other prompts.  [default: short_run, or the first by name]")
@click.option("--choose-thread-ids", is_flag=True, help="Give threads ids that differ from their jobs'.")
def replay_runtime(
    frames: Path | None, host: str, port: int, default: str | None, *, choose_thread_ids: bool
) -> None:
    """Serve recorded runs through the runtime's endpoints.

    A prompt chooses the recording: `[[replay:NAME speed=10]]`.
    """
    from server.cli import replay_runtime as command

    command.run(frames, host=host, port=port, default=default, chooses_ids=choose_thread_ids)


@click.command(
    epilog=examples(
        "ideo replay run.ndjson --speed 4 --hub",
        "ideo replay run.ndjson --fault drop@40 --fault stall@60:2 --port 8000",
        "ideo replay run.ndjson --step",
    )
)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--speed",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    help="Speed: 1 is 20 frames a second.  [default: as fast as possible]",
)
@click.option("--step", is_flag=True, help="Send the next frame for each key, or line of standard input.")
@click.option(
    "--fault",
    "faults",
    metavar="KIND@K",
    multiple=True,
    shell_complete=complete_fault,
    help="What goes wrong at frame K: drop, stall (stall@K:SECONDS), duplicate, cut or silent. Repeatable.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="0 takes a free port.  [default: 8000, with --hub a free one]",
)
@click.option(
    "--hub", is_flag=True, help="Start a hub, too, as `ideo dev` does, and show the run through it."
)
@click.option("--once", is_flag=True, help="With --hub: stop after the run; exit 0 only if it completed.")
def replay(
    file: Path,
    speed: float | None,
    step: bool,
    faults: tuple[str, ...],
    host: str,
    port: int | None,
    hub: bool,
    once: bool,
) -> None:
    """Serve a recorded run through the runtime's endpoints: every job replays it.

    FILE is a recording, as `ideo record` writes it. Its continuations are in files next to it.
    """
    from server.cli import replay as command

    if once and not hub:
        raise click.UsageError("--once works only with --hub")
    chosen = (0 if hub else 8000) if port is None else port
    command.run(file, speed=speed, faults=faults, step=step, host=host, port=chosen, hub=hub, once=once)


@click.command(
    epilog=examples(
        "ideo record $THREAD -o run.ndjson",
        "ideo replay run.ndjson --hub --once",
    )
)
@THREAD
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    help="The file to write, which only you can read.  [default: THREAD.ndjson]",
)
@click.option("--force", "-f", is_flag=True, help="Replace an existing file.")
@click.option(
    "--follow/--no-follow",
    default=True,
    help="Wait until the run has ended, or record what there is so far.  [default: --follow]",
)
@client_options("Print the files as JSON, one per line.")
def record(
    thread_id: UUID,
    output: str | None,
    force: bool,
    follow: bool,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Write the runtime's frames of a run to a file that `ideo replay` serves.

    The frames after a person's reply go to files next to it: run.2.ndjson, run.3.ndjson.
    """
    from server.cli import record as command

    command.run(
        str(thread_id), output=output, force=force, follow=follow, url=url, token=bearer, as_json=as_json
    )
