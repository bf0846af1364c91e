"""`ideo proposal accept`: bring a proposal into its draft, or show the conflicts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ide_orchestrator.client import HubError
from ide_orchestrator.client.http_calls import if_match, member
from server.cli import draft, exit_codes
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.local_files import read_text
from server.cli.printable import json_line, print_line, printable, words
from server.cli.proposal import address, read

_SIDES = ("base", "draft", "proposal")
_CHANGE_MARKS = {"added": "+", "modified": "~", "deleted": "-"}


def run(
    proposal_id: str,
    *,
    merge: bool,
    dry_run: bool,
    sides: Sequence[tuple[str, str]],
    resolved: Sequence[tuple[str, str]],
    comment: str,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Accept a proposal.

    sides: for files in conflict, `base`, `draft`, `proposal` or `nothing` with the path. resolved: the path
    with a file of this machine. Raises CommandError for one that is not text.
    """
    files = [
        {"path": path, "deleted": True} if side == "nothing" else {"path": path, "side": side}
        for side, path in sides
    ]
    files += [{"path": path, "text": read_text(file)} for path, file in resolved]
    body: dict[str, Any] = {"strategy": "three_way" if merge else "refuse", "comment": comment}

    async def _accept(client: HubClient) -> int:
        proposal = await read(client, proposal_id)
        if files:
            newest = await draft.read(client, str(member(proposal, "draft_id")))
            body["draft_etag"] = member(newest, "etag")
            body["resolved_files"] = files
        where = f"{address(proposal_id)}/accept" + ("?validate_only=true" if dry_run else "")
        try:
            accepted = await client.call_once("POST", where, body, if_match(proposal))
        except HubError as error:
            if error.code != "draft_moved":
                raise
            if as_json:
                print_line(json_line(dict(error.problem)))
            else:
                _show_conflicts(error.problem)
            raise
        if as_json:
            print_line(json_line(accepted))
        else:
            _show(accepted, dry_run=dry_run)
        return exit_codes.FAILED if member(accepted, "conflict_count") else 0

    run_with_hub(_accept, url=url, token=token)


def _show(accepted: Mapping[str, Any], *, dry_run: bool) -> None:
    for change in accepted["changes"]:
        merged = "  (merged)" if change["merged"] else ""
        print_line(f"{_CHANGE_MARKS.get(change['kind'], '?')} {change['path']}{merged}")
    left_out = accepted["change_count"] - len(accepted["changes"])
    if left_out:
        print_line(f"and {left_out} more")
    _show_conflicts(accepted)
    version = accepted["draft"]["version"]
    if dry_run:
        print_line(f"the draft stays at version {version}: this was a dry run")
    else:
        print_line(f"version {version} of the draft")


def _show_conflicts(found: Mapping[str, Any]) -> None:
    """Show the conflicts of an answer or a problem, with the three texts of each place."""
    for conflict in found["conflicts"]:
        print_line(f"conflict in {conflict['path']}: {words(conflict['kind'])}")
        for place in conflict["places"]:
            for mark, side in zip(("|||||||", "<<<<<<<", ">>>>>>>"), _SIDES, strict=True):
                text = place[side]
                print_line(f"{mark} {side}, line {text['first_line']}")
                shown = printable(str(text["text"]), lines=True)
                sys.stdout.write(shown if not shown or shown.endswith("\n") else f"{shown}\n")
        if conflict["truncated"]:
            print_line("(places left out)")
    left_out = found["conflict_count"] - len(found["conflicts"])
    if left_out:
        print_line(f"and {left_out} more conflicts")
