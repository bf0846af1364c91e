"""The contents of a proposal's files, by their hash, on both interfaces."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import grpc.aio
import httpx
import pytest
import pytest_asyncio

from server.db.file_json import files_to_jsonb
from server.domain.proposals.contents import PIECE_BYTES
from server.domain.proposals.files import File
from server.wire import messages as m
from tests.contract.interfaces.callers import both_interfaces
from tests.support.grpc_interface import Caller, refusal_of
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.postgres import Postgres
from tests.support.recordings import write_recording

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Several pieces, the last one short; no two of them alike.
LARGE = b"".join(f"line {number}\n".encode() for number in range(300_000))
FILES = {"/large.txt": LARGE.decode(), "/empty": "", "/bytes": {"content": "AP+A", "encoding": "base64"}}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Reader:
    """A finished proposal, and the ways to read its contents."""

    hub: RunningHub
    proposal: str
    client: httpx.AsyncClient
    caller: Caller

    async def get(self, content_hash: str, **headers: str) -> httpx.Response:
        path = f"/api/proposals/{self.proposal}/files/{content_hash}"
        return await self.client.get(path, headers=headers)

    async def pieces(self, content_hash: str, offset: int = 0) -> list[m.ReadFileResponse]:
        request = m.ReadFileRequest(proposal_id=self.proposal, sha256=content_hash, offset=offset)
        call = self.caller.proposals.ReadFile(request, metadata=self.caller.metadata)
        return [piece async for piece in call]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reader]:
    """The same for all tests, which only read; the last one changes the proposal."""
    recordings = tmp_path_factory.mktemp("recordings")
    write_recording(recordings, "contents", FILES)
    async with postgres.fresh(migrated=True) as database, running_hub(database, recordings=recordings) as hub:
        async with hub.client() as client:
            started = await start(client, "[[replay:contents]]")
            await finished(client, started)
        async with both_interfaces(hub) as (http, caller):
            yield Reader(hub, started["proposal_id"], http, caller)


@pytest.mark.parametrize("content", [LARGE, b"", b"\x00\xff\x80"])
async def test_a_content_is_the_same_on_both_interfaces(reader: Reader, content: bytes) -> None:
    answer = await reader.get(sha256(content).upper())
    assert (answer.status_code, answer.content) == (200, content)
    assert {name: answer.headers[name] for name in ("content-type", "content-disposition", "etag")} == {
        "content-type": "application/octet-stream",
        "content-disposition": "attachment",
        "etag": f'"{sha256(content)}"',
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(content))
    pieces = await reader.pieces(sha256(content))
    assert b"".join(piece.data for piece in pieces) == content
    assert {piece.size_bytes for piece in pieces} == {len(content)}
    assert [piece.offset for piece in pieces] == list(range(0, max(len(content), 1), PIECE_BYTES))


async def test_head_brings_the_headers_of_the_whole_content_alone(reader: Reader) -> None:
    path = f"/api/proposals/{reader.proposal}/files/{sha256(LARGE)}"
    answer = await reader.client.head(path, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer.headers["content-length"], answer.headers["etag"]) == (
        str(len(LARGE)),
        f'"{sha256(LARGE)}"',
    )


async def test_reading_goes_on_at_any_offset_and_stops_at_the_end(reader: Reader) -> None:
    for offset in (1, PIECE_BYTES, len(LARGE) - 1, len(LARGE)):
        pieces = await reader.pieces(sha256(LARGE), offset)
        assert pieces[0].offset == offset
        assert b"".join(piece.data for piece in pieces) == LARGE[offset:]
    for offset in (len(LARGE) + 1, 2**31, 2**64 - 1):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reader.pieces(sha256(LARGE), offset)
        assert (refused.value.code(), refusal_of(refused.value).fields) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            ("offset",),
        )


SIZE = len(LARGE)


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={PIECE_BYTES - 1}-{PIECE_BYTES}", PIECE_BYTES - 1, PIECE_BYTES + 1),
        ("bytes=100-", 100, SIZE),
        (f"bytes=10-{SIZE + 99}", 10, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE + 1}", 0, SIZE),
    ],
)
async def test_a_range_brings_its_bytes_alone(reader: Reader, asked: str, first: int, end: int) -> None:
    answer = await reader.get(sha256(LARGE), Range=asked)
    assert (answer.status_code, answer.content) == (206, LARGE[first:end])
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{SIZE}"


@pytest.mark.parametrize("asked", ["bytes=9-5", "bytes=0-1,3-4", "bytes=-", "lines=1-2", "bytes=a-b", ""])
async def test_a_range_that_is_none_brings_everything(reader: Reader, asked: str) -> None:
    answer = await reader.get(sha256(b"\x00\xff\x80"), Range=asked)
    assert (answer.status_code, answer.content) == (200, b"\x00\xff\x80")


async def test_a_range_of_another_content_brings_everything(reader: Reader) -> None:
    content = b"\x00\xff\x80"
    for etag, status in ((f'"{sha256(content)}"', 206), ('"other"', 200)):
        answer = await reader.get(sha256(content), **{"Range": "bytes=1-1", "If-Range": etag})
        assert answer.status_code == status


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=999999999999999999-", "bytes=-0"])
async def test_a_range_outside_the_content_is_refused_with_its_size(reader: Reader, asked: str) -> None:
    answer = await reader.get(sha256(LARGE), Range=asked)
    assert (answer.status_code, problem(answer)["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


async def test_a_content_that_the_proposal_does_not_have_is_not_found(reader: Reader) -> None:
    for unknown in (sha256(b"other"), "x", "0" * 63, "0" * 65, "é" * 64):
        answer = await reader.get(unknown)
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reader.pieces(unknown)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_proposal_that_an_earlier_release_finished_has_its_contents_too(reader: Reader) -> None:
    pool = reader.hub.core.pool
    files = {"/a": File(b"text\n"), "/b": File(b"\xff", is_text=False), "/c": File(b"\0\xed\xa0\x80")}
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM proposal_hashes")
        await connection.execute(
            "UPDATE proposals SET generated_files = $2::jsonb WHERE id = $1",
            UUID(reader.proposal),
            files_to_jsonb(files),
        )
    for _ in range(2):
        for file in files.values():
            assert (await reader.get(file.sha256)).content == file.content
        assert (await reader.get(sha256(LARGE))).status_code == 404
