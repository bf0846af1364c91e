"""`ideo proposal`: the commands that decide, and their options."""

from __future__ import annotations

from uuid import UUID

import click

from server.cli.options import client_options, examples, when_busy_option
from server.cli.proposal_commands import PROPOSAL

_COMMENT = click.option("--comment", "-m", default="", help="Why, for others who see the proposal.")


@click.command(
    "decide",
    epilog=examples(
        "ideo proposal decide $PROPOSAL rejected /plan.md",
        "ideo proposal decide $PROPOSAL rejected /plan.md --hunk 3f2a91c0",
        "ideo proposal decide $PROPOSAL accepted ../evil.md --as /evil.md",
    ),
)
@PROPOSAL
@click.argument("decision", type=click.Choice(("accepted", "rejected", "none")))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--hunk", "hunks", multiple=True, help="The start of the id of a hunk; may be repeated.")
@click.option("--as", "new_path", help="The new path of the file.")
@click.option("--path-id", help="The `path_id` of the file, where several have the path.")
@client_options("Print the proposal as JSON on one line.")
def decide(
    proposal_id: UUID,
    decision: str,
    paths: tuple[str, ...],
    hunks: tuple[str, ...],
    new_path: str | None,
    path_id: str | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Decide about files of a proposal, or about hunks of one file; none withdraws a decision.

    Accepting the proposal accepts everything that is not rejected. A file that the proposal itself rejects is
    accepted only with a new path.
    """
    from server.cli import review as command

    if (hunks or new_path or path_id) and len(paths) > 1:
        raise click.UsageError("--hunk, --as and --path-id are for one PATH")
    command.decide(
        str(proposal_id),
        decision,
        paths,
        hunks=hunks,
        new_path=new_path,
        path_id=path_id,
        url=url,
        token=bearer,
        as_json=as_json,
    )


@click.command(
    "accept",
    epilog=examples(
        "ideo proposal accept $PROPOSAL --dry-run",
        "ideo proposal accept $PROPOSAL --merge -m 'as discussed'",
        "ideo proposal accept $PROPOSAL --merge --use draft /plan.md --use proposal /tools.json",
        "ideo proposal accept $PROPOSAL --merge --resolve /plan.md merged-plan.md",
    ),
)
@PROPOSAL
@click.option("--merge", is_flag=True, help="Merge line by line what also changed in the draft.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and the conflicts; change nothing.")
@click.option(
    "--use",
    "sides",
    type=(click.Choice(("base", "draft", "proposal", "nothing")), str),
    metavar="SIDE PATH",
    multiple=True,
    help="For a file in conflict: use the text of base, draft or proposal; `nothing` deletes it. May be "
    "repeated.",
)
@click.option(
    "--resolve",
    "resolved",
    type=(str, click.Path(exists=True, dir_okay=False)),
    metavar="PATH FILE",
    multiple=True,
    help="For a file in conflict: use the text of FILE. May be repeated.",
)
@_COMMENT
@client_options("Print the response as JSON on one line; in a conflict, the problem.")
def accept(
    proposal_id: UUID,
    merge: bool,
    dry_run: bool,
    sides: tuple[tuple[str, str], ...],
    resolved: tuple[tuple[str, str], ...],
    comment: str,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Accept everything that is not rejected, as one new version of the draft; in a conflict, nothing.

    Exit 1 if the proposal was not accepted, or with --dry-run would not be.
    """
    from server.cli import accept as command

    command.run(
        str(proposal_id),
        merge=merge,
        dry_run=dry_run,
        sides=sides,
        resolved=resolved,
        comment=comment,
        url=url,
        token=bearer,
        as_json=as_json,
    )


@click.command("reject", epilog=examples("ideo proposal reject $PROPOSAL -m 'not now'"))
@PROPOSAL
@_COMMENT
@client_options("Print the proposal as JSON on one line.")
def reject(proposal_id: UUID, comment: str, url: str | None, bearer: str | None, as_json: bool) -> None:
    """Turn a proposal down. The draft stays as it is."""
    from server.cli import review as command

    command.reject(str(proposal_id), comment, url=url, token=bearer, as_json=as_json)


@click.command("revise", epilog=examples("ideo proposal revise $PROPOSAL 'Keep the table' --keep-decisions"))
@PROPOSAL
@click.argument("prompt")
@click.option("--keep-decisions", is_flag=True, help="Start the next round with the decisions of this one.")
@when_busy_option
@client_options("Print the events as JSON, one per line.")
def revise(
    proposal_id: UUID,
    prompt: str,
    keep_decisions: bool,
    when_busy: str | None,
    url: str | None,
    bearer: str | None,
    as_json: bool,
) -> None:
    """Ask for improvements, and show the next round live. Exit 0 if it completed."""
    from server.cli import review as command

    request = {"user_prompt": prompt, "keep_decisions": keep_decisions}
    if when_busy is not None:
        request["when_busy"] = when_busy
    command.revise(str(proposal_id), request, url=url, token=bearer, as_json=as_json)
