"""`ideo draft`: a workflow's drafts in the terminal: list them, show files, list versions, restore one."""

from __future__ import annotations

import sys
from typing import Any, NoReturn
from urllib.parse import quote
from uuid import uuid4

from server.cli.hub_client import ClientError, HubClient, member
from server.cli.hub_session import ask_hub, run_with_hub
from server.cli.printable import json_line, printable

#: Seconds that the shell waits for ids to complete.
COMPLETION_S = 2.0


def ls(*, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """List the drafts of the caller's workflows, the newest workflow first."""

    async def _ls(client: HubClient) -> int:
        for workflow in await _items(client, "/api/workflows"):
            draft = {
                "draft_id": member(workflow, "current_draft_id"),
                "workflow_id": member(workflow, "id"),
                "name": member(workflow, "name"),
            }
            _print(json_line(draft) if as_json else f"{draft['draft_id']}  {draft['name']}")
        return 0

    run_with_hub(_ls, url=url, token=token)


def show(
    draft_id: str,
    path: str | None,
    *,
    version: int | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """List the files of a draft, or print one of them as it is."""

    async def _show(client: HubClient) -> int:
        view = "full" if as_json and path is not None else "basic"
        draft = await client.call("GET", f"{_address(draft_id)}?version={version or 0}&view={view}")
        files: dict[str, dict[str, Any]] = member(draft, "files")
        if path is None:
            if as_json:
                _print(json_line(draft))
            else:
                _print(f"version {draft['version']} of {draft['latest_version']}")
                for name, file in files.items():
                    _print(f"{file['size_bytes']:>10}  {file['sha256'][:12]}  {name}")
            return 0
        if path not in files:
            raise ClientError(f"version {draft['version']} has no file {path}")
        if as_json:
            _print(json_line({"path": path, **files[path]}))
        else:
            sha256 = files[path]["sha256"]
            _print_content(await client.read(f"{_address(draft_id)}/files/{sha256}"))
        return 0

    run_with_hub(_show, url=url, token=token)


def history(draft_id: str, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """List the versions of a draft, newest first."""

    async def _history(client: HubClient) -> int:
        for draft in await _items(client, f"{_address(draft_id)}/versions"):
            _print(json_line(draft) if as_json else _described(draft))
        return 0

    run_with_hub(_history, url=url, token=token)


def restore(draft_id: str, version: int, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Give a draft the files of an earlier version again, as a new version."""

    async def _restore(client: HubClient) -> int:
        now = await client.call("GET", f"{_address(draft_id)}?view=basic")
        made = await client.call(
            "POST",
            f"{_address(draft_id)}/restore",
            {"version": version},
            key=str(uuid4()),
            headers={"If-Match": f'"{member(now, "etag")}"'},
        )
        if as_json:
            _print(json_line(made))
        elif member(made, "version") == now["version"]:
            _print(f"version {made['version']} has the same files as version {version}: nothing to restore")
        else:
            _print(_described(made))
        return 0

    run_with_hub(_restore, url=url, token=token)


def complete_ids(incomplete: str) -> list[tuple[str, str]]:
    """The caller's drafts whose ids begin with the text, each with its workflow's name, as they may be
    shown; none without a token, or when the hub does not answer in time."""

    async def _first_page(client: HubClient) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = member(await client.call("GET", "/api/workflows?limit=200"), "items")
        return items

    workflows = ask_hub(_first_page, within_s=COMPLETION_S) or []
    found = [
        (printable(str(workflow["current_draft_id"])), printable(str(workflow["name"])))
        for workflow in workflows
    ]
    return [(draft_id, name) for draft_id, name in found if draft_id.startswith(incomplete)]


def _address(draft_id: str) -> str:
    return f"/api/drafts/{quote(draft_id, safe='')}"


async def _items(client: HubClient, path: str) -> list[dict[str, Any]]:
    """The items of all pages of a list."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await client.call("GET", f"{path}?limit=200{cursor}")
        found += member(page, "items")
        if page.get("next_cursor") is None:
            return found
        cursor = f"&cursor={quote(str(page['next_cursor']), safe='')}"


def _described(draft: dict[str, Any]) -> str:
    origin = ""
    if draft["restored_version"]:
        origin = f"  restores version {draft['restored_version']}"
    elif draft["proposal_id"]:
        origin = f"  from proposal {draft['proposal_id']}"
    return f"version {draft['version']}  {draft['created_at']}  by {draft['created_by_user_id']}{origin}"


def _print_content(content: bytes) -> None:
    """Print a file: as it is into a file or a pipe, and in a terminal without what that would obey."""
    if sys.stdout.isatty():
        sys.stdout.write(printable(content.decode(errors="replace"), lines=True))
    else:
        sys.stdout.buffer.write(content)
    sys.stdout.flush()


def _print(line: str) -> None:
    """Print a line of texts that come from the hub."""
    sys.stdout.write(printable(line) + "\n")
