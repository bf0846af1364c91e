"""`ideo quarantine`: its commands and their options."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from server.cli.options import examples


def _complete_shape(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from server.cli import quarantine as command

    return [CompletionItem(shape_id, help=about) for shape_id, about in command.complete_shapes(text)]


SHAPE = click.argument("shape_id", metavar="SHAPE", shell_complete=_complete_shape)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
_LIMIT = click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number."
)


@click.group()
def quarantine() -> None:
    """Show and release frames of the runtime that the hub did not understand.

    For operators: these commands use the database of DATABASE_URL.
    """


@quarantine.command(
    "ls", epilog=examples("ideo quarantine ls", "ideo quarantine ls --all --json | jq .shape")
)
@click.option("--all", "handled", is_flag=True, help="Also shapes whose frames have all been released.")
@_LIMIT
@_JSON
def quarantine_ls(handled: bool, limit: int, as_json: bool) -> None:
    """List the frames by their shape: the type, the keys and the types of values, never the values."""
    from server.cli import quarantine as command

    command.ls(handled=handled, limit=limit, as_json=as_json)


@quarantine.command(
    "show", epilog=examples("ideo quarantine show $SHAPE", "ideo quarantine show $SHAPE --content")
)
@SHAPE
@click.option("--content", is_flag=True, help="Print one whole frame of the shape: it may contain prompts.")
@_LIMIT
@_JSON
def quarantine_show(shape_id: str, content: bool, limit: int, as_json: bool) -> None:
    """Show a shape and where its frames are, or one of the frames."""
    from server.cli import quarantine as command

    command.show(shape_id, content=content, limit=limit, as_json=as_json)


@quarantine.command("release", epilog=examples("ideo quarantine release $SHAPE"))
@SHAPE
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the owners of open runs.",
)
@_JSON
def quarantine_release(shape_id: str, wait_s: float, as_json: bool) -> None:
    """Interpret the frames of a shape again, with the present release.

    For open runs, what the frames mean is added to the journal; for ended runs, it is only shown. Exit 1 if
    frames are left, because they are still not understood or the owners of their runs did not respond.
    """
    from server.cli import quarantine as command

    command.release(shape_id, wait_s=wait_s, as_json=as_json)


@quarantine.command("scan", epilog=examples("ideo quarantine scan"))
@_JSON
def quarantine_scan(as_json: bool) -> None:
    """Find the frames that releases without a quarantine have kept. Reads all journals."""
    from server.cli import quarantine as command

    command.scan(as_json=as_json)
