"""`ideo draft`: its commands and their options."""

from __future__ import annotations

from uuid import UUID

import click
from click.shell_completion import CompletionItem

from server.cli.options import A_FILE, client_options, diff_options, download_options, examples


def _complete_draft(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from server.cli import draft as command

    return [CompletionItem(draft_id, help=name) for draft_id, name in command.complete_ids(text)]


_DRAFT = click.argument("draft_id", metavar="DRAFT", type=click.UUID, shell_complete=_complete_draft)
_VERSION = click.IntRange(1, 2**32 - 1)
_OF_VERSION = click.option("--version", type=_VERSION, help="The version.  [default: the newest]")
_BASE = click.option(
    "--base", type=_VERSION, help="The version to compare it with.  [default: the one before]"
)
_CHANGED = click.option(
    "--version",
    type=_VERSION,
    help="The version that you changed: refuse when there is a newer one.  [default: any]",
)


@click.group()
def draft() -> None:
    """Show, compare, change, restore and download the drafts of your workflows."""


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
@_OF_VERSION
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
    "diff",
    epilog=examples(
        "ideo draft diff $DRAFT                           # what the newest version changed",
        "ideo draft diff $DRAFT /plan.md --base 2 | less -R",
        "ideo draft diff $DRAFT --version 1 --base 4      # what restoring version 1 would change",
    ),
)
@_DRAFT
@click.argument("path", required=False)
@_OF_VERSION
@_BASE
@diff_options
@client_options("Print the files that differ as JSON, one per line.")
def draft_diff(
    draft_id: UUID,
    path: str | None,
    version: int | None,
    base: int | None,
    context: int,
    stat: bool,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Show how a version of a draft differs from the one before it, or from another one."""
    from server.cli import diff as command

    asked = {"path": path, "version": version, "base_version": base, "context": context}
    command.of_draft(str(draft_id), asked, stat=stat, url=url, token=bearer, as_json=as_json)


@draft.command(
    "download",
    epilog=examples(
        "ideo draft download $DRAFT",
        "ideo draft download $DRAFT --version 2 --output - > files.zip",
        "ideo draft download $DRAFT --patch --base 2 --output - | git apply --check",
    ),
)
@_DRAFT
@_OF_VERSION
@click.option("--patch", is_flag=True, help="What it changes, in git's format, instead of a zip archive.")
@_BASE
@download_options("draft-DRAFT")
@client_options("Print the file's name and size as JSON on one line.")
def draft_download(
    draft_id: UUID,
    version: int | None,
    patch: bool,
    base: int | None,
    output: str | None,
    force: bool,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Download the files of a draft as a zip archive, or what a version of it changes as a patch."""
    from server.cli import download as command
    from server.cli.draft import address

    if base is not None and not patch:
        raise click.UsageError("--base is for --patch")
    command.run(
        address(str(draft_id)),
        {"version": version, "base_version": base},
        f"draft-{draft_id}",
        patch=patch,
        output=output,
        force=force,
        url=url,
        token=bearer,
        as_json=as_json,
    )


@draft.command(
    "put",
    epilog=examples(
        "ideo draft put $DRAFT /plan.md plan.md", "echo '# Plan' | ideo draft put $DRAFT /plan.md --version 3"
    ),
)
@_DRAFT
@click.argument("path")
@click.argument("file", type=A_FILE, default="-")
@_CHANGED
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
@_CHANGED
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
