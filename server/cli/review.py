"""`ideo proposal decide`, `reject` and `revise`: decisions about a proposal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ide_orchestrator.client import Refused
from ide_orchestrator.client.http_calls import if_match, member
from server.cli import exit_codes
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.printable import counted, json_line, print_line, printable
from server.cli.proposal import address, described, read


def decide(
    proposal_id: str,
    decision: str,
    paths: Sequence[str],
    *,
    hunks: Sequence[str],
    new_path: str | None,
    path_id: str | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Decide about files, or about hunks of the only one; `none` withdraws a decision. hunks: starts of ids.

    Raises Refused for a start that no hunk, or more than one, has.
    """

    async def _decide(client: HubClient) -> int:
        etag = if_match(await read(client, proposal_id))
        found = await _hunk_ids(client, proposal_id, paths[0], hunks) if hunks else []
        decisions = [
            {
                "path": path,
                "decision": None if decision == "none" else decision,
                "hunk_ids": found,
                "new_path": new_path,
                "path_id": path_id,
            }
            for path in paths
        ]
        proposal = await client.call(
            "PATCH", f"{address(proposal_id)}/decisions", {"decisions": decisions}, headers=etag
        )
        what = counted(len(found), "hunk") if found else counted(len(paths), "file")
        verb = "not decided" if decision == "none" else decision
        print_line(json_line(proposal) if as_json else f"{what} {verb}")
        return 0

    run_with_hub(_decide, url=url, token=token)


def reject(proposal_id: str, comment: str, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Turn a proposal down."""

    async def _reject(client: HubClient) -> int:
        etag = if_match(await read(client, proposal_id))
        proposal = await client.call_once(
            "POST", f"{address(proposal_id)}/reject", {"comment": comment}, etag
        )
        print_line(json_line(proposal) if as_json else described(proposal))
        return 0

    run_with_hub(_reject, url=url, token=token)


def revise(
    proposal_id: str, request: dict[str, Any], *, url: str | None, token: str | None, as_json: bool
) -> NoReturn:
    """Start the next round, show it live, and list its files."""
    # Here, so that the other commands start without rich.
    from server.cli.refine import show_refinement
    from server.cli.terminal import open_console, show_files

    console = open_console()

    async def _revise(client: HubClient) -> int:
        etag = if_match(await read(client, proposal_id))
        started = await client.call_once("POST", f"{address(proposal_id)}/revise", request, etag)
        proposal = await show_refinement(
            client, started, console=console, as_json=as_json, resume_at=url or ""
        )
        if not as_json:
            show_files(proposal, console)
        return 0 if member(proposal, "status") == "completed" else exit_codes.FAILED

    run_with_hub(_revise, url=url, token=token)


async def _hunk_ids(client: HubClient, proposal_id: str, path: str, starts: Sequence[str]) -> list[str]:
    """The ids of hunks of a file, by what they begin with. Raises HubError."""
    ids: list[Any] = []
    async for file in client.items(f"{address(proposal_id)}/diff", path=path, context=0):
        ids += [str(hunk["id"]) for hunk in member(file, "hunks")]
    if starts and not ids:
        raise Refused(f"{printable(path)}: the proposal has no hunks of this file")
    found = []
    for start in starts:
        alike = [hunk_id for hunk_id in ids if hunk_id.startswith(start)]
        if len(alike) != 1:
            many = f"{len(alike)} hunks begin" if alike else "no hunk begins"
            raise Refused(f"{printable(path)}: {many} with {printable(start)}")
        found += alike
    return found
