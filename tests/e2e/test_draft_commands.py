"""`ideo draft` against a running hub."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.hub import RunningHub, running_hub
from tests.support.terminals import in_shell

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture
async def hub(database: str) -> AsyncIterator[RunningHub]:
    async with running_hub(database) as running:
        yield running


async def ideo(hub: RunningHub, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """A command's exit code, its output and its messages."""
    given = {"IDEO_URL": hub.http, "IDEO_TOKEN": hub.token(), **environment}
    return await in_shell(shlex.join(("ideo", *arguments)), environment=given)


async def test_drafts_are_listed_shown_and_restored(hub: RunningHub) -> None:
    async with hub.client() as client:
        body = {"name": "mine\x1b[2J", "files": {"/a.md": "# A\n", "/b.md": "b"}}
        made = await client.call("POST", "/api/workflows", body)
        draft = made["current_draft_id"]
        change = {"files": {"/a.md": "# B\n"}, "deleted_paths": ["/b.md"]}
        await client.call("PUT", f"/api/drafts/{draft}", change, headers={"If-Match": "*"})
    assert await ideo(hub, "draft", "ls") == (0, f"{draft}  mine\\x1b[2J\n", "")
    code, output, _ = await ideo(hub, "draft", "ls", "--json")
    listed = {"draft_id": draft, "workflow_id": made["id"], "name": body["name"]}
    assert (code, json.loads(output)) == (0, listed)
    code, output, _ = await ideo(hub, "draft", "show", draft)
    assert (code, output.splitlines()[0], output.split()[-1]) == (0, "version 2 of 2", "/a.md")
    assert await ideo(hub, "draft", "show", draft, "/a.md") == (0, "# B\n", "")
    assert await ideo(hub, "draft", "show", draft, "/b.md", "--version", "1") == (0, "b", "")
    code, output, _ = await ideo(hub, "draft", "show", draft, "/a.md", "--json")
    assert (code, json.loads(output)["text"]) == (0, "# B\n")
    code, output, _ = await ideo(hub, "draft", "restore", draft, "1")
    assert (code, output.startswith("version 3  "), "restores version 1" in output) == (0, True, True)
    code, output, _ = await ideo(hub, "draft", "restore", draft, "1")
    assert (code, output) == (0, "version 3 has the same files as version 1: nothing to restore\n")
    code, output, _ = await ideo(hub, "draft", "history", draft, "--json")
    versions = [json.loads(line) for line in output.splitlines()]
    assert [(each["version"], each["restored_version"]) for each in versions] == [(3, 1), (2, 0), (1, 0)]
    for arguments in (
        ("show", draft, "/b.md", "--version", "2"),
        ("show", UNKNOWN),
        ("show", draft, "--version", "9"),
        ("history", UNKNOWN),
        ("restore", draft, "9"),
    ):
        code, output, messages = await ideo(hub, "draft", *arguments)
        assert (code, output, len(messages.splitlines())) == (1, "", 1), arguments
    completion = {"_IDEO_COMPLETE": "bash_complete", "COMP_WORDS": "ideo draft show ", "COMP_CWORD": "3"}
    assert draft in (await ideo(hub, **completion))[1]
    assert (await ideo(hub, **completion, IDEO_TOKEN="")) == (0, "\n", "")
