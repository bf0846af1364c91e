"""The files of a proposal, and of a draft, as an archive, on both interfaces."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from server.wire import messages as m
from tests.contract.interfaces.callers import both_interfaces
from tests.support.grpc_interface import refusal_of
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_recording

LARGE = "".join(f"line {number}\n" for number in range(300_000))
#: Each path with its name in the archive; None for those that are not in it.
FILES: dict[str, tuple[Any, str | None]] = {
    "/large.txt": (LARGE, "large.txt"),
    "/empty": ("", "empty"),
    "/bytes": ({"content": "AP+A", "encoding": "base64"}, "bytes"),
    "/crlf\u00e9 \U0001f600.md": ("a\r\nb", "crlf\u00e9 \U0001f600.md"),
    "relative/a.md": ("r", "relative/a.md"),
    "/A.md": ("upper", "A.md"),
    "/a.md": ("lower", "a.md"),
    "/CON.txt": ("device", "CON.txt"),
    "/d/x": ("below", None),
    "/d": ("above", "d"),
    "/x//y": ("an empty segment", "x/y"),
    "/x/y": ("the same without", None),
    "~/home": ("home", "~/home"),
    "c:/drive": ("drive", "c:/drive"),
    "/../../evil": ("outside", None),
    "/.git/hooks/post-checkout": ("#!/bin/sh", None),
    "/back\\slash": ("b", None),
}


async def archives(hub: RunningHub, proposal: str) -> list[bytes]:
    """The archive over HTTP, and over gRPC."""
    async with both_interfaces(hub) as (http, caller):
        answer = await http.get(f"/api/proposals/{proposal}/archive")
        assert answer.headers["content-disposition"] == f'attachment; filename="proposal-{proposal}.zip"'
        assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == (
            "application/zip",
            "nosniff",
        )
        head = await http.head(f"/api/proposals/{proposal}/archive")
        assert (head.status_code, head.content) == (200, b"")
        request = m.ReadArchiveRequest(proposal_id=proposal)
        call = caller.proposals.ReadArchive(request, metadata=caller.metadata)
        pieces = [piece.data async for piece in call]
    assert all(0 < len(piece) < 2 << 20 for piece in pieces)
    return [answer.content, b"".join(pieces)]


async def test_an_archive_has_exactly_the_files_and_leads_nowhere_else(database: str, tmp_path: Path) -> None:
    files = {path: content for path, (content, _) in FILES.items()}
    write_recording(tmp_path, "names", files)
    async with running_hub(database, recordings=tmp_path) as hub:
        async with hub.client() as client:
            proposal = (await finished(client, await start(client, "[[replay:names]]")))["id"]
        over_http, over_grpc = await archives(hub, proposal)
    assert over_http == over_grpc
    archive = zipfile.ZipFile(io.BytesIO(over_http))
    assert archive.testzip() is None
    expected = {
        name: b"\x00\xff\x80" if isinstance(content, dict) else content.encode()
        for content, name in FILES.values()
        if name is not None
    }
    assert {name: archive.read(name) for name in archive.namelist()} == expected
    folder = tmp_path / "unpacked"
    archive.extractall(folder)
    written = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in written.items()} == expected
    assert all(entry.external_attr >> 16 == 0o100644 for entry in archive.infolist())
    lines = archive.comment.decode("ascii").splitlines()
    assert {line for line in lines if "not in the archive" in line} == {
        "'/d/x': not in the archive, no folder holds it beside another file",
        "'/x/y': not in the archive, no folder holds it beside another file",
    }
    for line in (
        "'/A.md': not for every system (collision)",
        "'/a.md': not for every system (collision)",
        "'/CON.txt': not for every system (device_name)",
        "'c:/drive': not for every system (colon)",
        "'~/home': not for every system (home_folder)",
    ):
        assert line in lines


async def test_a_run_that_is_not_over_has_no_archive(database: str) -> None:
    async with running_hub(database) as hub, hub.client() as client:
        started = await start(client, "[[replay:short_run silent=10]]")
        async with both_interfaces(hub) as (http, caller):
            answer = await http.get(f"/api/proposals/{started['proposal_id']}/archive")
            assert (answer.status_code, problem(answer)["code"]) == (409, "conflict")
            request = m.ReadArchiveRequest(proposal_id=started["proposal_id"])
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async for _ in caller.proposals.ReadArchive(request, metadata=caller.metadata):
                    pass
            assert refusal_of(refused.value).reason == "conflict"


async def test_a_proposal_without_files_is_an_empty_archive(database: str) -> None:
    async with running_hub(database) as hub:
        async with hub.client() as client:
            proposal = await finished(client, await start(client, "[[replay:error_mid_stream]]"))
        assert proposal["status"] == "failed"
        for data in await archives(hub, proposal["id"]):
            archive = zipfile.ZipFile(io.BytesIO(data))
            assert archive.namelist() == sorted(
                path.removeprefix("/") for path in proposal["generated_files"]
            )


async def test_an_archive_of_a_draft_has_exactly_the_files_of_the_version(database: str) -> None:
    one = {"/large.txt": LARGE[:1_500_000], "/a/é.md": "a\r\nb", "/empty": ""}
    async with running_hub(database) as hub, both_interfaces(hub) as (http, caller):
        made = (await http.post("/api/workflows", json={"name": "w", "files": one})).json()
        draft, path = made["current_draft_id"], f"/api/drafts/{made['current_draft_id']}"
        change = {"files": {"/b.md": "b"}, "deleted_paths": ["/large.txt"]}
        assert (await http.put(path, json=change, headers={"If-Match": "*"})).is_success
        two = {"/a/é.md": "a\r\nb", "/b.md": "b", "/empty": ""}
        for version, files in ((1, one), (2, two), (0, two)):
            answer = await http.get(f"{path}/archive?version={version}")
            name = f"draft-{draft}-version-{version or 2}.zip"
            assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
            assert answer.headers["content-type"] == "application/zip"
            request = m.ReadDraftArchiveRequest(draft_id=draft, version=version)
            call = caller.drafts.ReadDraftArchive(request, metadata=caller.metadata)
            assert b"".join([piece.data async for piece in call]) == answer.content
            archive = zipfile.ZipFile(io.BytesIO(answer.content))
            found = {f"/{each}": archive.read(each).decode() for each in archive.namelist()}
            assert found == files
        missing = await http.get(f"{path}/archive?version=3")
        assert (missing.status_code, problem(missing)["code"]) == (404, "not_found")


async def test_an_archive_of_a_draft_says_which_names_some_systems_cannot_tell_apart(database: str) -> None:
    async with running_hub(database) as hub, both_interfaces(hub) as (http, _):
        made = (await http.post("/api/workflows", json={"name": "w", "files": {"/a": "1", "/b": "2"}})).json()
        # As a proposal of an earlier release could bring it in.
        await hub.core.pool.execute("UPDATE draft_version_files SET path = '/A' WHERE path = '/b'")
        answer = await http.get(f"/api/drafts/{made['current_draft_id']}/archive")
        comment = zipfile.ZipFile(io.BytesIO(answer.content)).comment.decode()
    assert comment.splitlines() == [
        "'/A': not for every system (collision)",
        "'/a': not for every system (collision)",
    ]
