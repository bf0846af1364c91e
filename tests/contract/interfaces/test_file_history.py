"""The files of a refinement as they were: large, binary and odd ones, over HTTP and gRPC."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from server.wire import messages as m
from tests.contract.interfaces.callers import both_interfaces
from tests.support.grpc_interface import Caller, refusal_of
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_recording

#: Nearly as large as the largest frame; no two pieces alike.
LARGE = b"".join(b"line %d\n" % number for number in range(1_200_000))
#: Each version of the large file differs in one line.
LARGER = LARGE.replace(b"line 600000\n", b"changed\n")
BINARY = b"\x00\xff\x80"
STATES: list[dict[str, Any]] = [
    {"/large.txt": LARGE.decode()},
    {"/large.txt": LARGER.decode()},
    {"/bytes": {"content": "AP+A", "encoding": "base64"}, "/nul\x00.txt": "a\x00b\n", "/\ud800": "odd\n"},
    {"/bytes": "text now\n", "": "no name\n"},
]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Reader:
    """The owner of a finished refinement, and the ways to call."""

    hub: RunningHub
    thread: str
    client: httpx.AsyncClient
    caller: Caller

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(f"/api/refinements/{self.thread}/{path}", headers=headers)

    async def call(self, method: str, **fields: Any) -> Any:
        request = getattr(m, f"{method}Request")(thread_id=self.thread, **fields)
        return await getattr(self.caller.refinements, method)(request, metadata=self.caller.metadata)

    async def refused(self, method: str, **fields: Any) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(method, **fields)
        return refusal_of(error.value).reason

    async def pieces(self, content_hash: str, offset: int = 0) -> list[m.ReadRefinementFileResponse]:
        request = m.ReadRefinementFileRequest(thread_id=self.thread, sha256=content_hash, offset=offset)
        call = self.caller.refinements.ReadRefinementFile(request, metadata=self.caller.metadata)
        return [piece async for piece in call]


@pytest.fixture
async def reader(database: str, tmp_path: Path) -> AsyncIterator[Reader]:
    write_recording(tmp_path, "states", *STATES)
    async with running_hub(database, recordings=tmp_path) as hub:
        async with hub.client() as client:
            started = await start(client, "[[replay:states]]")
            await finished(client, started)
        async with both_interfaces(hub) as (http, caller):
            yield Reader(hub, started["thread_id"], http, caller)


async def test_the_files_after_each_event_are_the_same_on_both_interfaces(reader: Reader) -> None:
    for seq, files in enumerate(STATES, 2):
        listed = (await reader.get(f"files?seq={seq}")).json()
        answer = await reader.call("ListFilesAt", seq=seq)
        assert listed["seq"] == answer.seq == seq
        rows = [
            (
                file["path"].replace("\ud800", "\ufffd"),
                file["sha256"],
                file["size_bytes"],
                file["binary"],
                file["seq"],
            )
            for file in listed["items"]
        ]
        assert rows == [
            (file.path, file.sha256, file.size_bytes, file.binary, file.seq) for file in answer.files
        ]
        assert [row[0] for row in rows] == sorted(path.replace("\ud800", "\ufffd") for path in files)
    assert rows[1] == ("/bytes", sha256(b"text now\n"), 9, False, 5)


async def test_a_content_of_any_time_is_read_whole_and_from_an_offset(reader: Reader) -> None:
    for content in (LARGE, LARGER, BINARY, b"a\x00b\n", b"no name\n"):
        answer = await reader.get(f"files/{sha256(content).upper()}")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["etag"] == f'"{sha256(content)}"'
        for offset in (0, len(content) // 3, len(content)):
            pieces = await reader.pieces(sha256(content), offset)
            assert b"".join(piece.data for piece in pieces) == content[offset:]
            assert {piece.size_bytes for piece in pieces} == {len(content)}


async def test_a_range_of_a_large_content_is_sent_alone_and_a_wrong_one_refused(reader: Reader) -> None:
    path = f"files/{sha256(LARGER)}"
    for asked, expected in (
        ("bytes=5-9", LARGER[5:10]),
        ("bytes=9000000-9000999", LARGER[9_000_000:9_001_000]),
        ("bytes=-7", LARGER[-7:]),
        (f"bytes={len(LARGER) - 3}-99999999", LARGER[-3:]),
    ):
        answer = await reader.get(path, Range=asked)
        assert (answer.status_code, answer.content) == (206, expected)
    for asked in (f"bytes={len(LARGER)}-", "bytes=-0", "bytes=999999999999-"):
        answer = await reader.get(path, Range=asked)
        assert (answer.status_code, problem(answer)["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{len(LARGER)}"
    # Several ranges, and another unit, count as none.
    for asked in ("bytes=0-1,4-5", "lines=1-2", "bytes=9-5"):
        answer = await reader.get(path, Range=asked)
        assert (answer.status_code, len(answer.content)) == (200, len(LARGER))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await reader.pieces(sha256(BINARY), 4)
    assert refusal_of(error.value).fields == ("offset",)


async def test_a_content_that_no_file_had_is_not_there(reader: Reader) -> None:
    for name in (sha256(b"other"), "x", "0" * 63, "g" * 64):
        answer = await reader.get(f"files/{name}")
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await reader.pieces(name)
        assert refusal_of(error.value).reason == "not_found"


async def test_a_text_of_a_million_lines_is_blamed_and_binary_files_are_refused(reader: Reader) -> None:
    blame = (await reader.get("blame?path=/large.txt&seq=3")).json()
    ranges = [(part["first_line"], part["line_count"], part["seq"]) for part in blame["ranges"]]
    assert ranges == [(1, 600_000, 2), (600_001, 1, 3), (600_002, 599_999, 2)]
    answer = await reader.call("BlameFile", path="/large.txt", seq=3)
    assert [(part.first_line, part.line_count, part.seq) for part in answer.ranges] == ranges
    assert (answer.line_count, answer.next_line, answer.truncated) == (1_200_000, 0, False)
    refused = await reader.get("blame?path=/bytes&seq=4")
    assert (refused.status_code, problem(refused)["code"]) == (422, "unprocessable")
    assert await reader.refused("BlameFile", path="/bytes", seq=4) == "unprocessable"
    assert (await reader.get("blame?path=/bytes")).json()["ranges"][0]["seq"] == 5
    # As they are shown: callers cannot name every path that a runtime can.
    for path in ("/nul%00.txt", "/%EF%BF%BD"):
        assert (await reader.get(f"blame?path={path}&seq=4")).json()["line_count"] == 1


async def test_a_query_that_is_wrong_is_refused_by_its_field(reader: Reader) -> None:
    wrong = ("seq=-1", "seq=x", "seq=4294967296", "seq=99999999999", "seq=1.0", "limit=-1", "cursor=0-1")
    for query in wrong:
        answer = await reader.get(f"files?{query}")
        assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_argument")
        assert list(problem(answer)["fields"]) == [query.partition("=")[0]]


async def test_pages_lead_to_all_files_of_one_event(reader: Reader) -> None:
    found: list[str] = []
    path = "files?seq=4&limit=1"
    while path:
        answer = await reader.get(path)
        found += [file["sha256"] for file in answer.json()["items"]]
        assert answer.json()["seq"] == 4
        link = answer.headers.get("link", "")
        path = link.partition(f"/{reader.thread}/")[2].partition(">")[0]
    listed = (await reader.get("files?seq=4")).json()["items"]
    assert found == [file["sha256"] for file in listed]
    assert len(found) == 3
