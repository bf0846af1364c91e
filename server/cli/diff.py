"""`ideo proposal diff` and `ideo draft diff`: what a proposal, or a version of a draft, changes.

Lines come from files that models and people write: what a terminal would obey is shown as an escape. Not with
rich, which would turn tabs into spaces.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import click

from ide_orchestrator.client.http_calls import member
from server.cli import draft, proposal
from server.cli.hub_client import HubClient
from server.cli.hub_session import run_with_hub
from server.cli.printable import json_line, print_line, printable, words

#: Digits of a hunk's id that are shown: enough to tell the hunks of a file apart.
SHOWN_ID = 12
#: Files of a page: those with many lines come fewer at a time.
_PAGE = 50
_KINDS = {"added": "green", "modified": "yellow", "deleted": "red", "renamed": "magenta"}
_LINES = {"+": "green", "-": "red"}


def of_proposal(
    proposal_id: str,
    asked: Mapping[str, Any],
    *,
    stat: bool,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Show the files that differ. asked: members of the comparison's query, None for the default. stat: only
    how much of each differs."""

    async def _diff(client: HubClient) -> int:
        await _show(client, proposal.address(proposal_id), asked, stat=stat, as_json=as_json)
        return 0

    run_with_hub(_diff, url=url, token=token)


def of_draft(
    draft_id: str,
    asked: Mapping[str, Any],
    *,
    stat: bool,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Show the files that differ between two versions. asked, stat: as of `of_proposal`."""

    async def _diff(client: HubClient) -> int:
        # All pages are of the version that is the newest now.
        version = asked["version"] or await draft.newest_version(client, draft_id)
        named = {**asked, "version": version}
        await _show(client, draft.address(draft_id), named, stat=stat, as_json=as_json)
        return 0

    run_with_hub(_diff, url=url, token=token)


async def _show(
    client: HubClient, address: str, asked: Mapping[str, Any], *, stat: bool, as_json: bool
) -> None:
    coloured = has_colours()
    async for file in client.items(f"{address}/diff", **asked, limit=_PAGE):
        if as_json:
            print_line(json_line(file))
            continue
        for line, style in file_lines(file, hunks=not stat):
            sys.stdout.write((click.style(line, **style) if coloured and style else line) + "\n")


def has_colours() -> bool:
    """Whether the output is a terminal with colours, and the user wants them (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return sys.stdout.isatty() and not plain


def file_lines(file: Mapping[str, Any], *, hunks: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """How a file differs: lines that are safe in a terminal, each with the arguments of `click.style`."""
    kind = str(member(file, "kind"))
    path = printable(str(member(file, "path")))
    if file["old_path"]:
        path = f"{printable(str(file['old_path']))} -> {path}"
    marks = ", ".join(_marks(file))
    head = f"{'rejected' if file['rejection'] else kind:<8}  {path}"
    counts = f"  +{file['added_lines']} -{file['removed_lines']}"
    yield head + counts + (f"  ({marks})" if marks else ""), {"fg": _KINDS.get(kind), "bold": True}
    if not hunks:
        return
    for hunk in file["hunks"]:
        yield from _hunk_lines(hunk)
    if file["truncated"]:
        yield "(too large to be shown whole: `download --patch` has all of it)", {"dim": True}


def _marks(file: Mapping[str, Any]) -> Iterator[str]:
    """What else there is to know about a file, in words."""
    if file["rejection"]:
        yield f"not among the files: {words(file['rejection'])}"
    if file["decision"]:
        yield words(file["decision"])
    if file["new_path"]:
        yield f"as {printable(str(file['new_path']))}"
    elif file["needs_new_path"]:
        yield "needs a new path"
    if file["changed_in_draft"]:
        yield "changed in the draft, too"
    if file["binary"]:
        yield f"binary, {file['base_size_bytes']} to {file['size_bytes']} bytes"
    yield from map(words, file["portability"])


def _hunk_lines(hunk: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    lines: list[str] = member(hunk, "lines")
    before = next((index for index, line in enumerate(lines) if not line.startswith(" ")), 0)
    context = sum(line.startswith(" ") for line in lines)
    base = _range(hunk["base_first_line"] - before, hunk["base_line_count"] + context)
    target = _range(hunk["first_line"] - before, hunk["line_count"] + context)
    decision = f"  {words(hunk['decision'])}" if hunk["decision"] else ""
    yield f"@@ -{base} +{target} @@ {printable(str(hunk['id']))[:SHOWN_ID]}{decision}", {"fg": "cyan"}
    for line in lines:
        colour = _LINES.get(line[:1])
        yield printable(line, lines=True), {"fg": colour} if colour else {}
    if hunk["truncated"]:
        yield "(lines left out)", {"dim": True}


def _range(first: int, count: int) -> str:
    """Lines as the head of a hunk has them: of none, the line before."""
    return f"{first if count else first - 1},{count}"
