"""`ideo proposal`: the commands that read, and their options. Those that decide are in `review_commands`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click
from click.shell_completion import CompletionItem

from server.cli.options import client_options, diff_options, download_options, examples

#: Words of `ProposalStatus`, which are not imported here: help is to answer at once. A test compares them.
STATUSES = ("queued", "processing", "awaiting_input", "completed", "failed", "cancelled")


def _complete_proposal(context: click.Context, parameter: click.Parameter, text: str) -> list[CompletionItem]:
    from server.cli import proposal as command

    return [CompletionItem(proposal_id, help=prompt) for proposal_id, prompt in command.complete_ids(text)]


PROPOSAL = click.argument(
    "proposal_id", metavar="PROPOSAL", type=click.UUID, shell_complete=_complete_proposal
)


@click.group()
def proposal() -> None:
    """List, show, review and download proposals."""


@proposal.command(
    "ls",
    epilog=examples(
        "ideo proposal ls --status completed --resolution none   # what awaits a decision",
        "ideo proposal ls --text 'web search' --json | jq -r .id",
    ),
)
@click.option("--workflow", "workflow_id", type=click.UUID, help="Only those of this workflow (UUID).")
@click.option("--status", type=click.Choice(STATUSES), help="Only those in this status.")
@click.option(
    "--resolution",
    type=click.Choice(("accepted", "rejected", "none")),
    help="Only those with this resolution; none: still undecided.",
)
@click.option("--text", help="Only those with this text in the request or in the path of its file.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Maximum number of proposals.",
)
@client_options("Print the proposals as JSON, one per line.")
def proposal_ls(limit: int, url: str | None, bearer: str | None, as_json: bool, **only: Any) -> None:
    """List the proposals that you may see, newest first."""
    from server.cli import proposal as command

    command.ls(only, limit=limit, url=url, token=bearer, as_json=as_json)


@proposal.command(
    "show",
    epilog=examples("ideo proposal show $PROPOSAL", "ideo proposal show $PROPOSAL /plan.md > plan.md"),
)
@PROPOSAL
@click.argument("path", required=False)
@client_options("Print the proposal, or the entry of the file, as JSON on one line.")
def proposal_show(
    proposal_id: UUID, path: str | None, url: str | None, bearer: str | None, as_json: bool
) -> None:
    """Show a proposal and list its files, or print the file at PATH, also one that the proposal rejects."""
    from server.cli import proposal as command

    command.show(str(proposal_id), path, url=url, token=bearer, as_json=as_json)


@proposal.command(
    "download",
    epilog=examples(
        "ideo proposal download $PROPOSAL",
        "ideo proposal download $PROPOSAL --output - > files.zip",
        "ideo proposal download $PROPOSAL --patch --output - | git apply --check",
    ),
)
@PROPOSAL
@click.option("--patch", is_flag=True, help="A patch in git's format, instead of a zip archive.")
@download_options("proposal-PROPOSAL")
@client_options("Print the file's name and size as JSON on one line.")
def proposal_download(
    proposal_id: UUID,
    patch: bool,
    output: str | None,
    force: bool,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Download the files of a proposal as a zip archive, or what it changes as a patch."""
    from server.cli import download as command
    from server.cli.proposal import address

    command.run(
        address(str(proposal_id)),
        {},
        f"proposal-{proposal_id}",
        patch=patch,
        output=output,
        force=force,
        url=url,
        token=bearer,
        as_json=as_json,
    )


@proposal.command(
    "diff",
    epilog=examples(
        "ideo proposal diff $PROPOSAL | less -R",
        "ideo proposal diff $PROPOSAL /plan.md --context 10",
        "ideo proposal diff $PROPOSAL --draft   # against the draft as it is now",
    ),
)
@PROPOSAL
@click.argument("path", required=False)
@click.option("--draft", "draft", is_flag=True, help="Compare with the newest version of the draft.")
@click.option("--other", type=click.UUID, help="Compare with another proposal (UUID) of the draft.")
@diff_options
@client_options("Print the files that differ as JSON, one per line.")
def proposal_diff(
    proposal_id: UUID,
    path: str | None,
    draft: bool,
    other: UUID | None,
    context: int,
    stat: bool,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Show what a proposal changes: by default in the version of the draft that its run started from.

    Each hunk is shown with the start of its id, which `ideo proposal decide` takes.
    """
    from server.cli import diff as command

    if draft and other is not None:
        raise click.UsageError("--draft excludes --other")
    asked = {"path": path, "base": "draft" if draft else None, "other_proposal_id": other, "context": context}
    command.of_proposal(str(proposal_id), asked, stat=stat, url=url, token=bearer, as_json=as_json)
