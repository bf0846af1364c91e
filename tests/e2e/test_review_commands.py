"""`ideo proposal diff`, `decide`, `accept`, `reject` and `revise` against a running hub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.support.commands import Commands, Ideo
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_recording
from tests.support.terminals import in_shell, in_terminal

LINES = [f"line {number}\n" for number in range(1, 31)]
#: What the agent makes of the plan: two hunks, one with what a terminal would obey.
PROPOSED = [*LINES]
PROPOSED[1] = "second \x1b[2J\r\n"
PROPOSED[24] = "twenty-fifth\n"
FILES = {"/plan.md": "".join(PROPOSED), "/new.md": "new", "/../evil.md": "outside"}
#: An edit in the draft of the same line as the second hunk.
EDITED = [*LINES]
EDITED[24] = "mine\n"


@dataclass
class Reviewer:
    """A user with a workflow, and what its commands need."""

    hub: RunningHub
    workflow: str
    draft: str
    ideo: Ideo

    async def read(self, *arguments: str) -> Any:
        """The JSON of a command that succeeds."""
        code, output, messages = await self.ideo(*arguments, "--json")
        assert code == 0, messages
        return json.loads(output)

    async def propose(self) -> str:
        async with self.hub.client() as client:
            started = await start(client, "go on [[replay:plan]]", self.workflow)
            return str((await finished(client, started))["id"])

    async def write(self, lines: list[str]) -> None:
        async with self.hub.client() as client:
            body = {"files": {"/plan.md": "".join(lines)}}
            await client.call("PUT", f"/api/drafts/{self.draft}", body, headers={"If-Match": "*"})

    async def files(self) -> dict[str, str]:
        async with self.hub.client() as client:
            draft = await client.call("GET", f"/api/drafts/{self.draft}")
        return {path: file["text"] for path, file in draft["files"].items()}


@pytest_asyncio.fixture
async def reviewer(database: str, tmp_path: Path) -> AsyncIterator[Reviewer]:
    write_recording(tmp_path, "plan", FILES)
    async with running_hub(database, recordings=tmp_path) as hub:
        async with hub.client() as client:
            body = {"name": "w", "files": {"/plan.md": "".join(LINES)}}
            made = await client.call("POST", "/api/workflows", body)
        ideo = Commands(hub.ideo_settings).ideo
        yield Reviewer(hub, made["id"], made["current_draft_id"], ideo)


async def test_a_diff_is_shown_in_colours_where_there_are_any_and_obeyed_nowhere(reviewer: Reviewer) -> None:
    proposal = await reviewer.propose()
    code, output, messages = await reviewer.ideo("proposal", "diff", proposal)
    assert (code, messages, "\x1b" in output) == (0, "", False)
    for line in (
        "modified  /plan.md  +2 -2",
        "added     /new.md  +1 -0",
        "@@ -1,5 +1,5 @@ ",
        "-line 2",
        "+second \\x1b[2J\\r",
        "@@ -22,7 +22,7 @@ ",
        "+twenty-fifth",
        "rejected  /../evil.md  +0 -0  (not among the files: dot segment, needs a new path)",
    ):
        assert any(each.startswith(line) for each in output.splitlines()), line
    code, output, _ = await reviewer.ideo("proposal", "diff", proposal, "/new.md", "--stat")
    assert (code, output) == (0, "added     /new.md  +1 -0\n")
    code, output, _ = await reviewer.ideo("proposal", "diff", proposal, "--json")
    files = {each["path"]: each for each in map(json.loads, output.splitlines())}
    assert (len(files["/plan.md"]["hunks"]), files.keys()) == (2, set(FILES))
    command = ("ideo", "proposal", "diff", proposal)
    async with in_terminal(*command, environment=reviewer.hub.ideo_settings) as shown:
        await shown.shows("+twenty-fifth")
        assert await shown.ended() == 0
        assert "\x1b[32m+twenty-fifth\x1b[0m" in shown.text
        assert "\x1b[2J" not in shown.text
    async with in_terminal(*command, environment={**reviewer.hub.ideo_settings, "NO_COLOR": "1"}) as shown:
        await shown.shows("+twenty-fifth")
        assert await shown.ended() == 0
        assert "\x1b[3" not in shown.text


async def test_what_is_rejected_stays_out_and_the_rest_comes_in(reviewer: Reviewer) -> None:
    proposal = await reviewer.propose()
    code, output, _ = await reviewer.ideo("proposal", "diff", proposal, "/plan.md", "--json")
    first = json.loads(output)["hunks"][0]["id"]
    for arguments in (("--hunk", first[:12]), ("--hunk", first)):
        decided = await reviewer.ideo("proposal", "decide", proposal, "rejected", "/plan.md", *arguments)
        assert decided == (0, "1 hunk rejected\n", "")
    for arguments in (
        ("rejected", "/plan.md", "--hunk", "no-hunk"),
        ("rejected", "/nothing.md"),
        ("accepted", "/../evil.md", "--as", "../still.md"),
    ):
        code, output, messages = await reviewer.ideo("proposal", "decide", proposal, *arguments)
        assert (code, output, len(messages.splitlines())) == (1, "", 1), arguments
    decided = await reviewer.ideo("proposal", "decide", proposal, "rejected", "/nothing.md", "--hunk", "3f2a")
    assert decided == (1, "", "ideo: /nothing.md: the proposal has no hunks of this file\n")
    assert (await reviewer.ideo("proposal", "decide", proposal, "accepted", "/../evil.md", "--as", "/ok.md"))[
        0
    ] == 0
    code, output, _ = await reviewer.ideo("proposal", "accept", proposal, "--dry-run")
    assert (code, output.splitlines()) == (
        0,
        ["+ /new.md", "+ /ok.md", "~ /plan.md", "the draft stays at version 1: this was a dry run"],
    )
    code, output, _ = await reviewer.ideo("proposal", "accept", proposal, "-m", "fine\x1b[2J")
    assert (code, output.splitlines()[-1]) == (0, "version 2 of the draft")
    expected = [*LINES]
    expected[24] = PROPOSED[24]
    assert await reviewer.files() == {"/new.md": "new", "/ok.md": "outside", "/plan.md": "".join(expected)}
    code, output, _ = await reviewer.ideo("proposal", "show", proposal)
    assert "accepted" in output
    assert "fine\\x1b[2J" in output
    code, output, messages = await reviewer.ideo("proposal", "accept", proposal)
    assert (code, output, messages.startswith("ideo: 409: ")) == (1, "", True)
    code, output, _ = await reviewer.ideo("proposal", "ls", "--resolution", "accepted")
    assert output.split()[0] == proposal


async def test_a_draft_that_moved_is_merged_or_its_conflicts_are_shown(
    reviewer: Reviewer, tmp_path: Path
) -> None:
    proposal = await reviewer.propose()
    await reviewer.write(EDITED)
    code, output, messages = await reviewer.ideo("proposal", "accept", proposal)
    assert (code, output) == (1, "conflict in /plan.md: both modified\n")
    assert messages.startswith("ideo: 409: ")
    code, output, _ = await reviewer.ideo("proposal", "accept", proposal, "--merge", "--dry-run")
    assert code == 1
    for line in ("<<<<<<< draft, line 25", "mine", "||||||| base, line 25", "line 25", "twenty-fifth"):
        assert line in output.splitlines(), output
    code, output, _ = await reviewer.ideo("proposal", "accept", proposal, "--merge", "--json")
    assert (code, json.loads(output)["code"]) == (1, "draft_moved")
    merged = ("proposal", "accept", proposal, "--merge")
    code, output, _ = await reviewer.ideo(*merged, "--use", "draft", "/plan.md", "--dry-run")
    assert (code, output.splitlines()[0]) == (0, "+ /new.md")
    assert (await reviewer.files())["/plan.md"] == "".join(EDITED)
    mine = tmp_path / "mine.md"
    mine.write_bytes("".join(EDITED).replace("mine", "both").encode())
    code, output, messages = await reviewer.ideo(*merged, "--resolve", "/plan.md", str(mine))
    assert (code, messages, "~ /plan.md  (merged)" in output) == (0, "", True)
    assert (await reviewer.files())["/plan.md"] == mine.read_text()

    other = await reviewer.propose()
    await reviewer.write([*EDITED[:13], "elsewhere\n", *EDITED[14:24], "both\n", *EDITED[25:]])
    code, output, messages = await reviewer.ideo("proposal", "accept", other, "--merge")
    assert (code, messages, "~ /plan.md  (merged)" in output) == (0, "", True)
    expected = [*PROPOSED[:13], "elsewhere\n", *PROPOSED[14:]]
    assert (await reviewer.files())["/plan.md"] == "".join(expected)


async def test_a_proposal_is_turned_down_or_revised(reviewer: Reviewer) -> None:
    proposal = await reviewer.propose()
    code, output, messages = await reviewer.ideo("proposal", "revise", proposal, "shorter [[replay:plan]]")
    assert code == 0, messages
    assert "completed" in output
    newest = await reviewer.read("proposal", "ls", "--limit", "1")
    assert newest["revises_proposal_id"] == proposal
    assert (await reviewer.ideo("proposal", "reject", proposal, "-m", "no")) == (0, "rejected\n", "")
    code, _, messages = await reviewer.ideo("proposal", "reject", proposal)
    assert (code, messages.startswith("ideo: 409: ")) == (1, True)
    assert await reviewer.files() == {"/plan.md": "".join(LINES)}


async def test_a_patch_makes_what_a_proposal_changes(reviewer: Reviewer, tmp_path: Path) -> None:
    proposal = await reviewer.propose()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "plan.md").write_text("".join(LINES))
    download = f"ideo proposal download {proposal} --patch -o ../made.patch"
    line = f"{download} && git apply --whitespace=nowarn ../made.patch"
    code, _, messages = await in_shell(line, environment=reviewer.hub.ideo_settings, cwd=folder)
    assert (code, messages) == (0, "")
    assert {path.name: path.read_bytes().decode() for path in folder.iterdir()} == {
        "plan.md": FILES["/plan.md"],
        "new.md": "new",
    }
