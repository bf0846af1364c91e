"""`ideo quarantine`: its commands and their options."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from server.cli.options import client_options, examples


def _complete_shape(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from server.cli import quarantine as command

    return [CompletionItem(shape_id, help=about) for shape_id, about in command.complete_shapes(text)]


SHAPE = click.argument("shape_id", metavar="SHAPE", shell_complete=_complete_shape)
_LIMIT = click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number."
)


def _options() -> Callable[[Callable[..., None]], Callable[..., None]]:
    return client_options("Print JSON, one object per line.")


@click.group()
def quarantine() -> None:
    """Show and release frames of the runtime that the hub did not understand.

    For operators. With DATABASE_URL these commands work on the database; without it, or with --url, they
    call the hub, with the token of an operator (IDEO_OPERATORS).
    """


@quarantine.command(
    "ls",
    epilog=examples(
        "ideo quarantine ls",
        "ideo quarantine ls --url https://ide.example.com",
        "ideo quarantine ls --all --json | jq .id",
    ),
)
@click.option("--all", "handled", is_flag=True, help="Also shapes whose frames have all been released.")
@_LIMIT
@_options()
def quarantine_ls(handled: bool, limit: int, url: str | None, bearer: str | None, as_json: bool) -> None:
    """List the frames by their shape: the type, the keys and the types of values, never the values."""
    from server.cli import quarantine as command

    command.ls(handled=handled, limit=limit, url=url, token=bearer, as_json=as_json)


@quarantine.command(
    "show", epilog=examples("ideo quarantine show $SHAPE", "ideo quarantine show $SHAPE --content")
)
@SHAPE
@click.option("--content", is_flag=True, help="Print one whole frame of the shape: it may contain prompts.")
@_LIMIT
@_options()
def quarantine_show(
    shape_id: str, content: bool, limit: int, url: str | None, bearer: str | None, as_json: bool
) -> None:
    """Show a shape and where its frames are, or one of the frames."""
    from server.cli import quarantine as command

    command.show(shape_id, content=content, limit=limit, url=url, token=bearer, as_json=as_json)


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
@_options()
def quarantine_release(
    shape_id: str, wait_s: float, url: str | None, bearer: str | None, as_json: bool
) -> None:
    """Interpret the frames of a shape again, with the present release.

    For open runs, what the frames mean is added to the journal; for ended runs, it is only shown. Exit 1 if
    frames are left, because they are still not understood or the owners of their runs did not respond.
    """
    from server.cli import quarantine as command

    command.release(shape_id, wait_s=wait_s, url=url, token=bearer, as_json=as_json)


@quarantine.command("scan", epilog=examples("ideo quarantine scan"))
@_options()
def quarantine_scan(url: str | None, bearer: str | None, as_json: bool) -> None:
    """Find the frames that releases without a quarantine have kept. Reads all journals."""
    from server.cli import quarantine as command

    command.scan(url=url, token=bearer, as_json=as_json)
