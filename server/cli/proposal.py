"""`ideo proposal ls` and `show`: proposals in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote

from ide_orchestrator.client import Refused
from ide_orchestrator.client.http_calls import PAGE, member
from server.cli.exit_codes import notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import ids_beginning_with, run_with_hub
from server.cli.printable import json_line, minute, print_content, print_line, printable, words

#: Characters of a request that a list shows.
_PROMPT_CHARS = 60


def ls(only: Mapping[str, Any], *, limit: int, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """List at most `limit` proposals, newest first. only: members of the list's query, None for all."""

    async def _ls(client: HubClient) -> int:
        left = limit
        async for proposal in client.items("/api/proposals", **only, limit=min(limit, PAGE)):
            print_line(json_line(proposal) if as_json else _listed(proposal))
            left -= 1
            if not left:
                break
        if left == limit and not as_json:
            notice("there are no such proposals")
        return 0

    run_with_hub(_ls, url=url, token=token)


def show(
    proposal_id: str, path: str | None, *, url: str | None, token: str | None, as_json: bool
) -> NoReturn:
    """Show a proposal and list its files, or print one of them as it is."""

    async def _show(client: HubClient) -> int:
        proposal = await read(client, proposal_id)
        if path is not None:
            entry = _entry(proposal, path)
            if as_json:
                print_line(json_line(entry))
            else:
                print_content(await client.read(f"{address(proposal_id)}/files/{entry['sha256']}"))
        elif as_json:
            print_line(json_line(proposal))
        else:
            _show_proposal(proposal)
        return 0

    run_with_hub(_show, url=url, token=token)


def complete_ids(incomplete: str) -> list[tuple[str, str]]:
    """The newest proposals whose ids begin with the text, each with its request: see `ids_beginning_with`."""
    return ids_beginning_with(
        incomplete, "/api/proposals", lambda proposal: (str(member(proposal, "id")), _prompt(proposal))
    )


def complete_threads(incomplete: str) -> list[tuple[str, str]]:
    """The threads of the same proposals, likewise."""
    return ids_beginning_with(
        incomplete, "/api/proposals", lambda proposal: (str(member(proposal, "thread_id")), _prompt(proposal))
    )


def address(proposal_id: str) -> str:
    """Where the hub has a proposal."""
    return f"/api/proposals/{quote(proposal_id, safe='')}"


async def read(client: HubClient, proposal_id: str) -> dict[str, Any]:
    """A proposal without contents. Raises HubError."""
    found: dict[str, Any] = await client.call("GET", f"{address(proposal_id)}?view=basic")
    return found


def described(proposal: Mapping[str, Any]) -> str:
    """What became of a proposal, in a word or a few."""
    found = [words(proposal.get("resolution") or member(proposal, "status"))]
    found += [mark for mark in ("superseded", "stale") if proposal.get(mark)]
    return ", ".join(found)


def _prompt(proposal: Mapping[str, Any]) -> str:
    text = " ".join(str(member(proposal, "user_prompt")).split())
    shown = text if len(text) <= _PROMPT_CHARS else text[: _PROMPT_CHARS - 1] + "…"
    return printable(shown)


def _listed(proposal: Mapping[str, Any]) -> str:
    at = minute(member(proposal, "created_at"))
    files = f"{member(proposal, 'file_count'):>4} files"
    line = f"{member(proposal, 'id')}  {at}  {described(proposal):<16}  {files}  {_prompt(proposal)}"
    before = proposal.get("waits_for_proposal_id")
    return f"{line}  (waits for {before})" if before else line


def _entry(proposal: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The entry of a file, or of one that the proposal rejects. Raises HubError."""
    file = (member(proposal, "generated_files") or {}).get(path)
    if file is not None:
        return {"path": path, **file}
    for rejected in member(proposal, "rejected_files") or ():
        if rejected["path"] == path and rejected["sha256"]:
            return dict(rejected)
    raise Refused(f"the proposal has no file {printable(path)}")


def _show_proposal(proposal: dict[str, Any]) -> None:
    # Here, so that printing a file or JSON starts without rich.
    from server.cli.terminal import markup_lines, open_console, show_files

    console = open_console()

    def line(name: str, value: object) -> None:
        if value not in (None, ""):
            console.print(f"[dim]{name:<10}[/] {markup_lines(value, ' ' * 11)}")

    line("request", member(proposal, "user_prompt"))
    line("status", described(proposal))
    line("comment", proposal.get("resolution_comment"))
    line(
        "created",
        f"{minute(member(proposal, 'created_at'))} from version {proposal['base_version']} of the draft",
    )
    line("resolved", minute(proposal.get("resolved_at") or ""))
    line("result", proposal.get("result_version") and f"version {proposal['result_version']} of the draft")
    line("draft", member(proposal, "draft_id"))
    line("thread", member(proposal, "thread_id"))
    line("waits for", proposal.get("waits_for_proposal_id"))
    line("revises", proposal.get("revises_proposal_id"))
    line("revised by", proposal.get("revised_by_proposal_id"))
    failure = proposal.get("failure")
    line("failure", failure and f"{failure['reason']}: {failure['message']}")
    show_files(proposal, console)
