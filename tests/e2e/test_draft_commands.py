"""`ideo draft` against a running hub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.commands import Ideo, commands
from tests.support.hub import RunningHub, running_hub

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database) as running:
        yield running


@pytest_asyncio.fixture
async def ideo(hub: RunningHub, tmp_path: Path) -> AsyncIterator[Ideo]:
    async with commands(tmp_path, hub.ideo_settings) as ours:
        yield ours.ideo


async def test_drafts_are_listed_shown_and_restored(hub: RunningHub, ideo: Ideo) -> None:
    async with hub.client() as client:
        body = {"name": "mine\x1b[2J", "files": {"/a.md": "# A\n", "/b.md": "b"}}
        made = await client.call("POST", "/api/workflows", body)
        draft = made["current_draft_id"]
        change = {"files": {"/a.md": "# B\n"}, "deleted_paths": ["/b.md"]}
        await client.call("PUT", f"/api/drafts/{draft}", change, headers={"If-Match": "*"})
    assert await ideo("draft", "ls") == (0, f"{draft}  mine\\x1b[2J\n", "")
    code, output, _ = await ideo("draft", "ls", "--json")
    listed = {"draft_id": draft, "workflow_id": made["id"], "name": body["name"]}
    assert (code, json.loads(output)) == (0, listed)
    code, output, _ = await ideo("draft", "show", draft)
    assert (code, output.splitlines()[0], output.split()[-1]) == (0, "version 2 of 2", "/a.md")
    assert await ideo("draft", "show", draft, "/a.md") == (0, "# B\n", "")
    assert await ideo("draft", "show", draft, "/b.md", "--version", "1") == (0, "b", "")
    code, output, _ = await ideo("draft", "show", draft, "/a.md", "--json")
    assert (code, json.loads(output)["text"]) == (0, "# B\n")
    code, output, _ = await ideo("draft", "restore", draft, "1")
    assert (code, output.startswith("version 3  "), "restores version 1" in output) == (0, True, True)
    code, output, _ = await ideo("draft", "restore", draft, "1")
    assert (code, output) == (0, "version 3 has the same files as version 1: nothing to restore\n")
    code, output, _ = await ideo("draft", "history", draft, "--json")
    versions = [json.loads(line) for line in output.splitlines()]
    assert [(each["version"], each["restored_version"]) for each in versions] == [(3, 1), (2, 0), (1, 0)]
    for arguments in (
        ("show", draft, "/b.md", "--version", "2"),
        ("show", UNKNOWN),
        ("show", draft, "--version", "9"),
        ("history", UNKNOWN),
        ("restore", draft, "9"),
    ):
        code, output, messages = await ideo("draft", *arguments)
        assert (code, output, len(messages.splitlines())) == (1, "", 1), arguments
    completion = {"_IDEO_COMPLETE": "bash_complete", "COMP_WORDS": "ideo draft show ", "COMP_CWORD": "3"}
    assert draft in (await ideo(**completion))[1]
    assert (await ideo(**completion, IDEO_TOKEN="")) == (0, "\n", "")


async def test_files_of_a_draft_are_written_and_deleted(hub: RunningHub, ideo: Ideo, tmp_path: Path) -> None:
    async with hub.client() as client:
        made = await client.call("POST", "/api/workflows", {"name": "w", "files": {"/a.md": "# A\n"}})
    draft, file = made["current_draft_id"], tmp_path / "plan.md"
    file.write_bytes(b"# Plan\r\n")
    code, output, _ = await ideo("draft", "put", draft, "/plan.md", str(file))
    assert (code, output.startswith("version 2  ")) == (0, True)
    assert (await ideo("draft", "show", draft, "/plan.md"))[1] == "# Plan\r\n"
    code, output, _ = await ideo("draft", "put", draft, "/plan.md", str(file), "--version", "2")
    assert (code, output) == (0, "version 2 has these files already: nothing to write\n")
    # Standard input is empty here.
    code, output, _ = await ideo("draft", "put", draft, "/a.md", "--json")
    assert (code, json.loads(output)["version"]) == (0, 3)
    assert await ideo("draft", "show", draft, "/a.md") == (0, "", "")
    code, output, _ = await ideo("draft", "rm", draft, "/a.md", "/plan.md", "--version", "3")
    assert (code, output.startswith("version 4  ")) == (0, True)
    file.write_bytes(b"\xff")
    for arguments in (
        ("put", draft, "/plan.md", str(file)),
        ("put", draft, "plan.md"),
        ("put", draft, "/plan.md", "--version", "3"),
        ("rm", draft, "/a.md"),
        ("put", UNKNOWN, "/plan.md"),
    ):
        code, output, messages = await ideo("draft", *arguments)
        assert (code, output, len(messages.splitlines())) == (1, "", 1), arguments
    assert (await ideo("draft", "put", draft, "/plan.md", str(tmp_path / "none")))[0] == 2
    assert (await ideo("draft", "rm", draft))[0] == 2
