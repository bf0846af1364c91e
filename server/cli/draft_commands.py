"""`ideo draft`: its commands and their options."""

from __future__ import annotations

from uuid import UUID

import click
from click.shell_completion import CompletionItem

from server.cli.options import A_FILE, client_options, examples


def _complete_draft(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from server.cli import draft as command

    return [CompletionItem(draft_id, help=name) for draft_id, name in command.complete_ids(text)]


_DRAFT = click.argument("draft_id", metavar="DRAFT", type=click.UUID, shell_complete=_complete_draft)
_VERSION = click.IntRange(1, 2**32 - 1)
_BASE = click.option(
    "--version",
    type=_VERSION,
    help="The version that you changed: refuse when there is a newer one.  [default: any]",
)


@click.group()
def draft() -> None:
    """Show, change and restore the drafts of your workflows."""


@draft.command("ls", epilog=examples("ideo draft ls", "ideo draft ls --json | jq -r .draft_id"))
@client_options("Print the drafts as JSON, one per line.")
def draft_ls(url: str | None, bearer: str | None, as_json: bool) -> None:
    """List the drafts of your workflows."""
    from server.cli import draft as command

    command.ls(url=url, token=bearer, as_json=as_json)


@draft.command(
    "show",
    epilog=examples("ideo draft show $DRAFT", "ideo draft show $DRAFT /plan.md --version 2 > plan.md"),
)
@_DRAFT
@click.argument("path", required=False)
@click.option("--version", type=_VERSION, help="The version.  [default: the newest]")
@client_options("Print the draft, or the file, as JSON on one line.")
def draft_show(
    draft_id: UUID,
    path: str | None,
    version: int | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """List the files of a draft, or print the file at PATH."""
    from server.cli import draft as command

    command.show(str(draft_id), path, version=version, url=url, token=bearer, as_json=as_json)


@draft.command("history", epilog=examples("ideo draft history $DRAFT"))
@_DRAFT
@client_options("Print the versions as JSON, one per line.")
def draft_history(draft_id: UUID, url: str | None, bearer: str | None, as_json: bool) -> None:
    """List the versions of a draft, newest first."""
    from server.cli import draft as command

    command.history(str(draft_id), url=url, token=bearer, as_json=as_json)


@draft.command(
    "put",
    epilog=examples(
        "ideo draft put $DRAFT /plan.md plan.md", "echo '# Plan' | ideo draft put $DRAFT /plan.md --version 3"
    ),
)
@_DRAFT
@click.argument("path")
@click.argument("file", type=A_FILE, default="-")
@_BASE
@client_options("Print the new version as JSON on one line.")
def draft_put(
    draft_id: UUID,
    path: str,
    file: str,
    version: int | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Write FILE, a text, into a draft at PATH, as a new version. Without FILE, write standard input."""
    from server.cli import draft as command

    command.put(str(draft_id), path, file, version=version, url=url, token=bearer, as_json=as_json)


@draft.command("rm", epilog=examples("ideo draft rm $DRAFT /old.md /older.md"))
@_DRAFT
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_BASE
@client_options("Print the new version as JSON on one line.")
def draft_rm(
    draft_id: UUID,
    paths: tuple[str, ...],
    version: int | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Delete the files at PATH... from a draft, as one new version."""
    from server.cli import draft as command

    command.rm(str(draft_id), paths, version=version, url=url, token=bearer, as_json=as_json)


@draft.command("restore", epilog=examples("ideo draft restore $DRAFT 3"))
@_DRAFT
@click.argument("version", type=_VERSION)
@client_options("Print the new version as JSON on one line.")
def draft_restore(draft_id: UUID, version: int, url: str | None, bearer: str | None, as_json: bool) -> None:
    """Give a draft the files of VERSION again, as a new version. To undo, restore the version before."""
    from server.cli import draft as command

    command.restore(str(draft_id), version, url=url, token=bearer, as_json=as_json)
