"""`ideo draft` against a running hub."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tests.support.commands import Ideo
from tests.support.hub import RunningHub, finished, start
from tests.support.terminals import in_shell, in_terminal

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def test_drafts_of_archived_workflows_are_listed_last(hub: RunningHub, ideo: Ideo) -> None:
    async with hub.client() as client:
        made = [await client.call("POST", "/api/workflows", {"name": name}) for name in ("old", "new")]
        await client.call("PATCH", f"/api/workflows/{made[1]['id']}", {"archived": True})
    code, output, _ = await ideo("draft", "ls")
    assert (code, [line.split()[1:] for line in output.splitlines()]) == (0, [["old"], ["new", "(archived)"]])


async def test_drafts_are_listed_shown_and_restored(hub: RunningHub, ideo: Ideo) -> None:
    async with hub.client() as client:
        body = {"name": "mine\x1b[2J", "files": {"/a.md": "# A\n", "/b.md": "b"}}
        made = await client.call("POST", "/api/workflows", body)
        draft = made["current_draft_id"]
        change = {"files": {"/a.md": "# B\n"}, "deleted_paths": ["/b.md"]}
        await client.call("PUT", f"/api/drafts/{draft}", change, headers={"If-Match": "*"})
    assert await ideo("draft", "ls") == (0, f"{draft}  mine\\x1b[2J\n", "")
    code, output, _ = await ideo("draft", "ls", "--json")
    listed = {"draft_id": draft, "workflow_id": made["id"], "name": body["name"], "archived": False}
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
        ("put", draft, "/plan.md", "--version", "3"),
        ("rm", draft, "/a.md"),
        ("put", UNKNOWN, "/plan.md"),
    ):
        code, output, messages = await ideo("draft", *arguments)
        assert (code, output, len(messages.splitlines())) == (1, "", 1), arguments
    assert (await ideo("draft", "put", draft, "/plan.md", str(tmp_path / "none")))[0] == 2
    assert (await ideo("draft", "put", draft, "plan.md"))[0] == 2
    assert (await ideo("draft", "rm", draft))[0] == 2


async def test_versions_of_a_draft_are_compared_and_downloaded(
    hub: RunningHub, ideo: Ideo, tmp_path: Path
) -> None:
    async with hub.client() as client:
        files = {"/a.md": "1\n2\n3\n", "/b.md": "b\n"}
        made = await client.call("POST", "/api/workflows", {"name": "w", "files": files})
        draft = made["current_draft_id"]
        change = {"files": {"/a.md": "1\ntwo \x1b[2J\n3\n"}, "deleted_paths": ["/b.md"]}
        await client.call("PUT", f"/api/drafts/{draft}", change, headers={"If-Match": "*"})
    code, output, messages = await ideo("draft", "diff", draft, "--context", "0")
    lines = output.splitlines()
    assert (code, messages, lines[0]) == (0, "", "modified  /a.md  +1 -1")
    assert lines[1].startswith("@@ -2,1 +2,1 @@ ")
    assert lines[2:5] == ["-2", "+two \\x1b[2J", "deleted   /b.md  +0 -1"]
    stat = await ideo("draft", "diff", draft, "/b.md", "--stat", "--version", "1", "--base", "2")
    assert stat == (0, "added     /b.md  +1 -0\n", "")
    code, output, _ = await ideo("draft", "diff", draft, "--json")
    assert [json.loads(line)["path"] for line in output.splitlines()] == ["/a.md", "/b.md"]
    async with in_terminal("ideo", "draft", "diff", draft, environment=hub.ideo_settings) as shown:
        await shown.shows("+two")
        assert await shown.ended() == 0
        assert "\x1b[32m+two \\x1b[2J\x1b[0m" in shown.text
        assert "\x1b[2J" not in shown.text

    code, output, messages = await ideo("draft", "download", draft, cwd=tmp_path)
    assert (code, messages) == (0, "")
    assert output.startswith(f"draft-{draft}.zip  ")
    archive = zipfile.ZipFile(tmp_path / f"draft-{draft}.zip")
    assert {name: archive.read(name) for name in archive.namelist()} == {"a.md": b"1\ntwo \x1b[2J\n3\n"}
    code, output, _ = await ideo("draft", "download", draft, "--version", "1", "-o", "old.zip", cwd=tmp_path)
    assert (code, zipfile.ZipFile(tmp_path / "old.zip").namelist()) == (0, ["a.md", "b.md"])
    folder = tmp_path / "folder"
    folder.mkdir()
    download = f"ideo draft download {draft} --patch -o -"
    line = f"{download} --version 1 | git apply && {download} | git apply && cat a.md && ls"
    code, output, messages = await in_shell(line, environment=hub.ideo_settings, cwd=folder)
    assert (code, output, messages) == (0, "1\ntwo \x1b[2J\n3\na.md\n", "")
    for arguments, expected in (
        (("diff", UNKNOWN), 1),
        (("diff", draft, "--version", "3"), 1),
        (("diff", draft, "--base", "3"), 1),
        (("diff", draft, "--base", "0"), 2),
        (("download", draft, "--version", "3"), 1),
        (("download", draft, "--base", "1"), 2),
    ):
        code, output, messages = await ideo("draft", *arguments, cwd=tmp_path)
        assert (code, output, bool(messages)) == (expected, "", True), arguments
    for verb in ("diff", "download"):
        words = {"COMP_WORDS": f"ideo draft {verb} ", "COMP_CWORD": "3"}
        assert draft in (await ideo(_IDEO_COMPLETE="bash_complete", **words))[1]


async def test_an_id_of_another_kind_is_answered_with_where_one_of_the_right_kind_is_found(
    hub: RunningHub, ideo: Ideo
) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        proposal = await finished(client, started)
    thread, proposal_id, draft = started["thread_id"], started["proposal_id"], proposal["draft_id"]
    proposals, drafts = (
        "`ideo proposal ls` lists the ids of proposals",
        "`ideo draft ls` lists the ids of drafts",
    )
    threads = "THREAD is the id of a thread, which `ideo proposal show` has"
    for arguments, code, words in (
        (("proposal", "show", thread), 1, proposals),
        (("proposal", "accept", draft), 1, proposals),
        (("proposal", "download", draft, "-o", "-"), 1, proposals),
        (("draft", "show", proposal_id), 1, drafts),
        (("watch", proposal_id), 4, threads),
        (("record", proposal_id), 1, threads),
        (("cancel", proposal_id), 1, threads),
        (("reply", draft, "approve"), 1, threads),
        (("refine", "x", "--workflow", draft), 1, "`ideo draft ls --json` lists the ids of workflows"),
    ):
        ended, _, errors = await ideo(*arguments)
        assert (ended, errors.endswith(f": {words}\n")) == (code, True), (arguments, errors)


async def test_people_read_times_in_minutes_and_no_ids_of_users(hub: RunningHub, ideo: Ideo) -> None:
    async with hub.client() as client:
        started = await start(client, "[[replay:short_run]]")
        proposal = await finished(client, started)
        version = await client.call("GET", f"/api/drafts/{proposal['draft_id']}?view=basic")
    for arguments, time in (
        (("proposal", "show", started["proposal_id"]), proposal["created_at"]),
        (("draft", "history", proposal["draft_id"]), version["created_at"]),
    ):
        _, output, _ = await ideo(*arguments)
        assert time[:16].replace("T", " ") in output
        assert time[:16] not in output
        assert version["created_by_user_id"] not in output


async def test_an_empty_list_says_so_to_people_alone(hub: RunningHub, ideo: Ideo, database: str) -> None:
    for arguments, words in (
        (("draft", "ls"), "you have no workflow"),
        (("proposal", "ls", "--status", "failed"), "there are no such proposals"),
        (("quarantine", "ls"), "no frames wait in quarantine"),
        (("quarantine", "ls", "--all"), "the quarantine is empty"),
    ):
        settings = {"DATABASE_URL": database} if arguments[0] == "quarantine" else {}
        code, output, errors = await ideo(*arguments, **settings)
        assert (code, output, words in errors) == (0, "", True), arguments
        assert await ideo(*arguments, "--json", **settings) == (0, "", "")
