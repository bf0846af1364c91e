"""`ideo draft`: a workflow's drafts in the terminal: list, show, change and restore them. The commands `diff`
and `download` have modules of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn
from urllib.parse import quote

from ide_orchestrator.client import Refused
from ide_orchestrator.client.http_calls import PAGE, if_match, member
from server.cli import exit_codes
from server.cli.exit_codes import CommandError, notice
from server.cli.hub_client import HubClient
from server.cli.hub_session import ids_beginning_with, run_with_hub
from server.cli.local_files import read_text
from server.cli.printable import json_line, minute, print_content, print_line


def ls(*, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """List the drafts of the caller's workflows, newest workflow first; those of archived ones last."""

    async def _ls(client: HubClient) -> int:
        empty = True
        archived: list[str] = []
        async for workflow in client.items("/api/workflows", limit=PAGE):
            empty = False
            draft = {
                "draft_id": member(workflow, "current_draft_id"),
                "workflow_id": member(workflow, "id"),
                "name": member(workflow, "name"),
                "archived": member(workflow, "archived"),
            }
            line = json_line(draft) if as_json else f"{draft['draft_id']}  {draft['name']}"
            if member(workflow, "archived"):
                archived.append(line if as_json else f"{line}  (archived)")
            else:
                print_line(line)
        for line in archived:
            print_line(line)
        if empty and not as_json:
            notice("you have no workflow, and so no draft: create one with POST /api/workflows")
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
        draft = await client.call("GET", f"{address(draft_id)}?version={version or 0}&view={view}")
        files: dict[str, dict[str, Any]] = member(draft, "files")
        if path is None:
            if as_json:
                print_line(json_line(draft))
            else:
                print_line(f"version {draft['version']} of {draft['latest_version']}")
                for name, file in files.items():
                    print_line(f"{file['size_bytes']:>10}  {file['sha256'][:12]}  {name}")
            return 0
        if path not in files:
            raise Refused(f"version {draft['version']} has no file {path}")
        if as_json:
            print_line(json_line({"path": path, **files[path]}))
        else:
            sha256 = files[path]["sha256"]
            print_content(await client.read(f"{address(draft_id)}/files/{sha256}"))
        return 0

    run_with_hub(_show, url=url, token=token)


def history(draft_id: str, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """List the versions of a draft, newest first."""

    async def _history(client: HubClient) -> int:
        async for draft in client.items(f"{address(draft_id)}/versions", limit=PAGE):
            print_line(json_line(draft) if as_json else _described(draft))
        return 0

    run_with_hub(_history, url=url, token=token)


def put(
    draft_id: str,
    path: str,
    file: str,
    *,
    version: int | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Write a file of this machine, or standard input for `-`, into a draft, as a new version.

    version: the newest version that is changed; None for any. Raises CommandError when the file is not text.
    """
    body = {"files": {path: read_text(file)}}
    _write(draft_id, body, version=version, url=url, token=token, as_json=as_json)


def rm(
    draft_id: str,
    paths: Sequence[str],
    *,
    version: int | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    """Delete files of a draft, as one new version. version: as in `put`."""
    body = {"deleted_paths": list(paths)}
    _write(draft_id, body, version=version, url=url, token=token, as_json=as_json)


def _write(
    draft_id: str,
    body: dict[str, Any],
    *,
    version: int | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> NoReturn:
    for path in (*body.get("files", ()), *body.get("deleted_paths", ())):
        if not path.startswith("/"):
            raise CommandError(f"{path}: a path in a draft starts with `/`", exit_code=exit_codes.USAGE)

    async def _update(client: HubClient) -> int:
        now = await read(client, draft_id)
        if version not in (None, member(now, "version")):
            raise Refused(f"the draft is at version {now['version']}: apply your change to that one")
        made = await client.call_once("PUT", address(draft_id), body, if_match(now))
        _show_made(made, now, "has these files already: nothing to write", as_json=as_json)
        return 0

    run_with_hub(_update, url=url, token=token)


def restore(draft_id: str, version: int, *, url: str | None, token: str | None, as_json: bool) -> NoReturn:
    """Give a draft the files of an earlier version again, as a new version."""

    async def _restore(client: HubClient) -> int:
        now = await read(client, draft_id)
        where = f"{address(draft_id)}/restore"
        made = await client.call_once("POST", where, {"version": version}, if_match(now))
        unchanged = f"has the same files as version {version}: nothing to restore"
        _show_made(made, now, unchanged, as_json=as_json)
        return 0

    run_with_hub(_restore, url=url, token=token)


def complete_ids(incomplete: str) -> list[tuple[str, str]]:
    """The caller's drafts whose ids begin with the text, each with its workflow's name: see
    `ids_beginning_with`."""
    return ids_beginning_with(
        incomplete,
        "/api/workflows",
        lambda workflow: (str(member(workflow, "current_draft_id")), str(member(workflow, "name"))),
    )


async def read(client: HubClient, draft_id: str) -> dict[str, Any]:
    """The newest version of a draft, without contents. Raises HubError."""
    found: dict[str, Any] = await client.call("GET", f"{address(draft_id)}?view=basic")
    return found


async def newest_version(client: HubClient, draft_id: str) -> int:
    """The number of a draft's newest version. Raises HubError."""
    page = await client.call("GET", f"{address(draft_id)}/versions?limit=1")
    return int(member(page, "items")[0]["version"])


def address(draft_id: str) -> str:
    """Where the hub has a draft."""
    return f"/api/drafts/{quote(draft_id, safe='')}"


def _show_made(made: dict[str, Any], before: dict[str, Any], unchanged: str, *, as_json: bool) -> None:
    """Show the version that a change made. unchanged: what follows its number if it is not a new one."""
    if as_json:
        print_line(json_line(made))
    elif member(made, "version") == before["version"]:
        print_line(f"version {made['version']} {unchanged}")
    else:
        print_line(_described(made))


def _described(draft: dict[str, Any]) -> str:
    origin = ""
    if draft["restored_version"]:
        origin = f"  restores version {draft['restored_version']}"
    elif draft["proposal_id"]:
        origin = f"  from proposal {draft['proposal_id']}"
    return f"version {draft['version']}  {minute(draft['created_at'])}{origin}"
