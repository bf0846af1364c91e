"""Runs that the tests of reviews look at: their recordings, and the draft that they start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.cli.hub_client import HubClient
from tests.support.hub import a_workflow, finished, start
from tests.support.recordings import link_shipped, write_recording

#: Files of the run `many`.
MANY = 500

NOTES = "".join(f"line {number} of the notes\n" for number in range(1, 61))
#: Three hunks: a line changed, a line removed, a line added.
CHANGED = (
    NOTES.replace("line 3 of", "line three of")
    .replace("line 30 of the notes\n", "")
    .replace("line 50 of the notes\n", "line 50 of the notes\none more line\n")
)
#: Written to the draft while `edits` runs: the first line collides with it, the other one does not.
MOVED = NOTES.replace("line 3 of", "line THREE of").replace("line 20 of", "line TWENTY of")

#: Two hunks with one empty line in between, and the lines that they change.
NEAR = "# Notes\n\nfirst\n\nsecond\n\nlast\n"
NEAR_CHANGED = NEAR.replace("first", "first, as it is now").replace("second", "second, as it is now")


def _text(content: str) -> dict[str, str]:
    return {"content": content, "encoding": "utf-8"}


def _long_file(number: int, seventh: str = "seven") -> str:
    lines = [f"line {line} of {number}\n" for line in range(1, 101)]
    lines[6] = f"line {seventh} of {number}\n"
    return f"# File {number}\n\n" + "".join(lines)


def many_files(seventh: str = "seven") -> dict[str, str]:
    """The files of the run `many`, with this word in each of them."""
    return {f"/part{n % 25:02}/file{n:03}.md": _long_file(n, seventh) for n in range(MANY)}


def write_recordings(folder: Path) -> Path:
    """The recording `short_run`, and `edits`, `near`, `unsafe`, `alike` and `many`; the folder."""
    link_shipped(folder, "short_run")
    write_recording(
        folder,
        "edits",
        {"/notes.md": _text(NOTES.replace("line 3 of", "line 3a of"))},
        {"/notes.md": _text(CHANGED), "/src/agent.py": _text("print('hello')\n")},
    )
    write_recording(folder, "near", {"/notes.md": _text(NEAR_CHANGED)})
    write_recording(
        folder,
        "unsafe",
        {"/good.md": _text("good\n"), "/../evil.md": _text("evil\n"), "con.md": _text("device\n")},
    )
    write_recording(folder, "alike", {path: _text("alike\n") for path in ("/s\ud800.md", "/s\ud801.md")})
    write_recording(folder, "many", {path: _text(text) for path, text in many_files("SEVEN").items()})
    return folder


async def a_proposal(
    client: HubClient, recording: str, files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The finished proposal of a recorded run, whose draft has these files."""
    workflow = await a_workflow(client, files={"/notes.md": NOTES} if files is None else files)
    return await finished(client, await start(client, f"[[replay:{recording}]]", workflow))


async def draft_texts(client: HubClient, proposal: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the draft as it is now."""
    draft = await client.call("GET", f"/api/drafts/{proposal['draft_id']}")
    return {path: file["text"] for path, file in draft["files"].items()}


async def write_draft(client: HubClient, proposal: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """A new version of the draft with these files."""
    address = f"/api/drafts/{proposal['draft_id']}"
    draft = await client.call("GET", address)
    await client.call("PUT", address, {"files": dict(files)}, headers={"If-Match": f'"{draft["etag"]}"'})
