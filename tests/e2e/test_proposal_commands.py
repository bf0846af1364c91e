"""`ideo proposal` and `ideo user` against a running hub: lists, files, downloads."""

from __future__ import annotations

import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from server.cli.proposal_commands import STATUSES
from server.domain.model import ProposalStatus
from tests.support.commands import Ideo
from tests.support.hub import RunningHub, a_workflow, finished, running_hub, start
from tests.support.recordings import write_recording
from tests.support.terminals import in_shell, in_terminal

UNKNOWN = "00000000-0000-4000-8000-000000000000"
FILES = {
    "/plan.md": "# Plan\n\x1b[2Jgone\n",
    "/A.md": "upper",
    "/a.md": "lower",
    "/../evil\x1b.md": "outside",
}


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    write_recording(recordings, "names", FILES)
    async with running_hub(database, recordings=recordings, directory_domains=("example.com",)) as running:
        yield running


async def a_proposal(hub: RunningHub, prompt: str = "go on", workflow: str | None = None) -> str:
    async with hub.client() as client:
        proposal = await finished(client, await start(client, f"{prompt} [[replay:names]]", workflow))
    return str(proposal["id"])


def test_the_statuses_are_those_of_the_hub() -> None:
    assert [status.value for status in ProposalStatus] == [*STATUSES]


async def test_proposals_are_listed_by_what_is_asked_for(hub: RunningHub, ideo: Ideo) -> None:
    async with hub.client() as client:
        workflow = await a_workflow(client)
    first = await a_proposal(hub, "Add a\x1b[2J search\n" + "x" * 100, workflow)
    second = await a_proposal(hub, "Remove it")
    code, output, _ = await ideo("proposal", "ls")
    lines = output.splitlines()
    assert (code, [line.split()[0] for line in lines]) == (0, [second, first])
    assert "completed" in lines[1]
    assert "   3 files  Add a\\x1b[2J search xxx" in lines[1]
    assert lines[1].endswith("…")
    for arguments, expected in (
        (("--limit", "1"), [second]),
        (("--workflow", workflow), [first]),
        (("--text", "A SEARCH"), []),
        (("--text", "remove IT"), [second]),
        (("--status", "failed"), []),
        (("--resolution", "none", "--text", "remove"), [second]),
        (("--resolution", "accepted"), []),
    ):
        code, output, _ = await ideo("proposal", "ls", "--json", *arguments)
        assert code == 0
        assert [json.loads(line)["id"] for line in output.splitlines()] == expected, arguments
    completion = {"_IDEO_COMPLETE": "zsh_complete", "COMP_WORDS": "ideo proposal show ", "COMP_CWORD": "3"}
    code, output, _ = await ideo(**completion)
    assert (first in output, "\x1b" in output, "Add a\\x1b[2J search" in output) == (True, False, True)


async def test_a_proposal_is_shown_and_no_terminal_obeys_it(hub: RunningHub, ideo: Ideo) -> None:
    proposal = await a_proposal(hub)
    code, output, messages = await ideo("proposal", "show", proposal)
    assert (code, messages, "\x1b" in output) == (0, "", False)
    for text in ("status", "completed", "/plan.md (16 bytes)", "/A.md (5 bytes, collision)"):
        assert text in output, output
    assert "/../evil\\x1b.md (not among the files: control character)" in output
    code, output, _ = await ideo("proposal", "show", proposal, "--json")
    assert sorted(json.loads(output)["generated_files"]) == ["/A.md", "/a.md", "/plan.md"]
    assert "\x1b" not in output
    # Into a pipe as it is, and in a terminal with escapes.
    assert (await ideo("proposal", "show", proposal, "/plan.md"))[1] == FILES["/plan.md"]
    assert (await ideo("proposal", "show", proposal, "/../evil\x1b.md"))[1] == "outside"
    async with in_terminal(
        "ideo", "proposal", "show", proposal, "/plan.md", environment=hub.ideo_settings
    ) as shown:
        await shown.shows("\\x1b[2Jgone")
        assert await shown.ended() == 0
    for arguments in ((proposal, "/none"), (UNKNOWN,), (UNKNOWN, "/plan.md")):
        code, output, messages = await ideo("proposal", "show", *arguments)
        assert (code, output, len(messages.splitlines())) == (1, "", 1), arguments


async def test_an_archive_is_there_only_when_it_is_whole_and_replaces_nothing(
    hub: RunningHub, ideo: Ideo, tmp_path: Path
) -> None:
    proposal = await a_proposal(hub)
    code, output, messages = await ideo("proposal", "download", proposal, cwd=tmp_path)
    made = tmp_path / f"proposal-{proposal}.zip"
    size = made.stat().st_size
    assert (code, output) == (0, f"proposal-{proposal}.zip  {size} bytes\n")
    assert messages.splitlines() == [f"ideo: '/{name}.md': not for every system (collision)" for name in "Aa"]
    with zipfile.ZipFile(made) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            "A.md": "upper",
            "a.md": "lower",
            "plan.md": FILES["/plan.md"],
        }
    made.write_text("mine")
    code, _, messages = await ideo("proposal", "download", proposal, cwd=tmp_path)
    assert (code, made.read_text(), "--force" in messages) == (1, "mine", True)
    code, output, _ = await ideo("proposal", "download", proposal, "-f", "--json", cwd=tmp_path)
    assert (code, json.loads(output)) == (0, {"file": made.name, "size_bytes": size})
    assert made.stat().st_size == size
    line = f"ideo proposal download {proposal} -o - > piped.zip"
    assert (await in_shell(line, environment=hub.ideo_settings, cwd=tmp_path))[0] == 0
    assert (tmp_path / "piped.zip").read_bytes() == made.read_bytes()
    code, _, _ = await ideo("proposal", "download", UNKNOWN, cwd=tmp_path)
    assert code == 1
    code, _, _ = await ideo("proposal", "download", proposal, "-o", "no/folder.zip", cwd=tmp_path)
    assert code == 1
    assert {path.name for path in tmp_path.iterdir()} == {made.name, "piped.zip", "recordings"}


async def test_users_are_shown_and_found(hub: RunningHub, ideo: Ideo) -> None:
    code, output, _ = await ideo("user", "me", "--json")
    me = json.loads(output)
    assert (code, me["email"]) == (0, "ann@example.com")
    assert await ideo("user", "me") == (0, f"{me['user_id']}  ann@example.com\n", "")
    async with hub.client("bob@example.com") as client:
        bob = (await client.call("GET", "/api/me"))["user_id"]
    assert await ideo("user", "find", "BOB@example.com") == (0, f"{bob}  bob@example.com\n", "")
    code, output, messages = await ideo("user", "find", "nobody@example.com")
    assert (code, output, len(messages.splitlines())) == (1, "", 1)
    code, _, messages = await ideo("user", "find", "")
    assert (code, len(messages.splitlines())) == (1, 1)


async def test_a_start_on_a_busy_draft_does_what_the_option_says(hub: RunningHub, ideo: Ideo) -> None:
    async with hub.client() as client:
        workflow = await a_workflow(client)
        before = await start(client, "[[replay:names speed=0.001]]", workflow)
        waiting = {"user_prompt": "[[replay:names]]", "when_busy": "enqueue"}
        queued = await client.call("POST", f"/api/workflows/{workflow}/refinements", waiting)
    code, output, _ = await ideo("proposal", "ls", "--status", "queued")
    assert code == 0
    assert output.startswith(queued["proposal_id"])
    assert output.rstrip().endswith(f"(waits for {before['proposal_id']})")
    on_it = ("refine", "[[replay:names]]", "--workflow", workflow, "--when-busy")
    code, _, error = await ideo(*on_it, "refuse")
    assert (code, "has not ended" in error) == (1, True)
    code, output, _ = await ideo(*on_it, "supersede")
    assert (code, "completed" in output) == (0, True)
    code, output, _ = await ideo(*on_it, "enqueue")
    assert (code, "completed" in output) == (0, True)
