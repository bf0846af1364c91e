"""Drafts over HTTP and gRPC: etags, conditional reads, and answers that fit, however large the draft is."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx
import pytest

from server.wire import messages as m
from tests.contract.interfaces.callers import both_interfaces
from tests.support.grpc_interface import Caller
from tests.support.http_interface import problem
from tests.support.hub import RunningHub, running_hub
from tests.support.tokens import bearer

FILES = {"/a.md": "# A\r\n", "/empty": "", "/é.md": 'quote " and \\ and \u2028'}
#: A client's default.
MAX_MESSAGE_BYTES = 4 << 20


@dataclass
class Author:
    """The owner of a workflow with a draft, and the ways to call."""

    hub: RunningHub
    workflow: str
    draft: str
    client: httpx.AsyncClient
    caller: Caller

    @property
    def path(self) -> str:
        return f"/api/drafts/{self.draft}"

    async def put(self, body: dict[str, Any], etag: str = "*", **headers: str) -> httpx.Response:
        return await self.client.put(self.path, json=body, headers={"If-Match": etag, **headers})

    async def hashes(self, version: int = 0) -> dict[str, str]:
        answer = await self.client.get(f"{self.path}?version={version}&view=basic")
        return {path: file["sha256"] for path, file in answer.json()["files"].items()}

    async def grpc_draft(self, **fields: Any) -> m.GetDraftResponse:
        request = m.GetDraftRequest(draft_id=self.draft, **fields)
        answer: m.GetDraftResponse = await self.caller.drafts.GetDraft(request, metadata=self.caller.metadata)
        return answer


@pytest.fixture
async def author(database: str) -> AsyncIterator[Author]:
    async with (
        running_hub(database, max_creates_per_minute=0) as hub,
        both_interfaces(hub) as (http, caller),
    ):
        made = (await http.post("/api/workflows", json={"name": "w", "files": FILES})).json()
        yield Author(hub, made["id"], made["current_draft_id"], http, caller)


async def test_a_draft_is_the_same_on_both_interfaces(author: Author) -> None:
    answer = await author.client.get(author.path)
    found = answer.json()
    assert {path: file["text"] for path, file in found["files"].items()} == FILES
    assert answer.headers["etag"] == f'"{found["etag"]}"'
    draft = (await author.grpc_draft()).draft
    assert {file.path: file.text for file in draft.files} == FILES
    assert (draft.etag, draft.version, draft.latest_version) == (found["etag"], 1, 1)
    for file in draft.files:
        assert found["files"][file.path]["sha256"] == file.sha256
        assert file.sha256 == hashlib.sha256(FILES[file.path].encode()).hexdigest()
        read = await author.client.get(f"{author.path}/files/{file.sha256}")
        assert read.content == FILES[file.path].encode()


async def test_a_reader_with_the_etag_gets_304_until_the_draft_changes(author: Author) -> None:
    etag = (await author.client.get(author.path)).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        for method in ("GET", "HEAD"):
            answer = await author.client.request(method, author.path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b""), (method, known)
            assert answer.headers["etag"] == etag
    assert (await author.client.get(author.path, headers={"If-None-Match": '"x"'})).status_code == 200
    changed = await author.put({"files": {"/a.md": "B"}}, etag)
    assert (changed.status_code, changed.json()["files"]) == (200, None)
    answer = await author.client.get(author.path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.headers["etag"]) == (200, changed.headers["etag"])
    # The answer about an earlier version says which is the newest, so it changes with that.
    answer = await author.client.get(f"{author.path}?version=1", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.json()["latest_version"]) == (200, 2)
    other = bearer(author.hub.token("eve@example.com")) | {"If-None-Match": "*"}
    assert (await author.client.get(author.path, headers=other)).status_code == 404


async def test_a_write_without_if_match_is_428_and_with_another_412(author: Author) -> None:
    body = {"files": {"/a.md": "B"}}
    missing = await author.client.put(author.path, json=body)
    assert (missing.status_code, problem(missing)["code"]) == (428, "etag_required")
    restored = await author.client.post(f"{author.path}/restore", json={"version": 1})
    assert (restored.status_code, problem(restored)["code"]) == (428, "etag_required")
    etag = (await author.client.get(author.path)).headers["etag"]
    assert (await author.put(body, etag)).status_code == 200
    for old in (etag, f"W/{etag}", '"x"', "x"):
        stale = await author.put({"files": {"/a.md": "C"}}, old)
        assert (stale.status_code, problem(stale)["code"]) == (412, "etag_mismatch")
    headers = [("If-Match", '"x"'), ("If-Match", (await author.client.get(author.path)).headers["etag"])]
    split = await author.client.put(author.path, json={"files": {"/a.md": "C"}}, headers=headers)
    assert split.status_code == 200


async def test_undo_of_undo_gives_every_version_byte_for_byte(author: Author) -> None:
    await author.put({"files": {"/a.md": "B", "/new": "n"}, "deleted_paths": ["/empty"]})
    for version in (1, 2):
        answer = await author.client.post(
            f"{author.path}/restore", json={"version": version}, headers={"If-Match": "*"}
        )
        assert answer.json()["restored_version"] == version
        assert await author.hashes() == await author.hashes(version)
    listed = (await author.client.get(f"{author.path}/versions?limit=3")).json()
    assert [each["version"] for each in listed["items"]] == [4, 3, 2]
    rest = await author.client.get(f"{author.path}/versions?limit=3&cursor={listed['next_cursor']}")
    assert ([each["version"] for each in rest.json()["items"]], rest.json()["next_cursor"]) == ([1], None)


async def test_a_write_that_is_sent_again_says_so(author: Author) -> None:
    for replayed in (None, "true"):
        answer = await author.put({"files": {"/a.md": "B"}}, **{"Idempotency-Key": "k"})
        assert answer.headers.get("idempotency-replayed") == replayed
        assert answer.json()["version"] == 2


async def test_a_large_draft_fits_a_clients_default_limit_and_is_read_whole(author: Author) -> None:
    large = {f"/large/{number}": f"{number}" * 1_000_000 for number in range(6)}
    for start in (0, 2, 4):
        part = dict(list(large.items())[start : start + 2])
        assert (await author.put({"files": part})).status_code == 200
    answer = await author.grpc_draft()
    assert answer.ByteSize() < MAX_MESSAGE_BYTES
    assert answer.next_file_offset == 0
    omitted = [file for file in answer.draft.files if file.content_omitted]
    assert 3 <= len(omitted) < 6
    for file in omitted:
        request = m.ReadDraftFileRequest(draft_id=author.draft, sha256=file.sha256)
        call = author.caller.drafts.ReadDraftFile(request, metadata=author.caller.metadata)
        content = b"".join([piece.data async for piece in call])
        assert content.decode() == large[file.path]
    basic = (await author.grpc_draft(view=m.DraftView.DRAFT_VIEW_BASIC)).draft
    assert [(file.path, file.WhichOneof("content"), file.content_omitted) for file in basic.files] == [
        (path, None, False) for path in sorted(FILES | large)
    ]
    read = await author.caller.workflows.GetWorkflow(
        m.GetWorkflowRequest(workflow_id=author.workflow), metadata=author.caller.metadata
    )
    assert read.ByteSize() < MAX_MESSAGE_BYTES
    assert sum(file.content_omitted for file in read.workflow.files) >= 3
    over_http = (await author.client.get(author.path)).json()["files"]
    assert {path: file["text"] for path, file in over_http.items()} == FILES | large


async def test_a_draft_of_many_long_paths_is_read_in_parts(author: Author) -> None:
    names = [f"/{'d' * 200}/{'e' * 200}/{'f' * 200}/{'g' * 200}/{number:05}" for number in range(4_000)]
    for start in range(0, len(names), 500):
        answer = await author.put({"files": dict.fromkeys(names[start : start + 500], "x")})
        assert answer.status_code == 200, answer.text
    found: list[str] = []
    offset, parts = 0, 0
    while parts == 0 or offset:
        part = await author.grpc_draft(version=9, file_offset=offset)
        assert part.ByteSize() < MAX_MESSAGE_BYTES
        found += [file.path for file in part.draft.files]
        offset, parts = part.next_file_offset, parts + 1
    assert parts > 1
    assert found == sorted([*FILES, *names])
    with pytest.raises(grpc.aio.AioRpcError) as wrong:
        await author.grpc_draft(file_offset=len(found) + 1)
    assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_files_that_are_not_text_are_read_too(author: Author) -> None:
    content = b"\x00\xff\x80"
    await author.put({"files": {"/bin": "to be replaced"}})
    pool = author.hub.core.pool
    digest = hashlib.sha256(content).digest()
    await pool.execute("INSERT INTO contents VALUES ($1, $2)", digest, content)
    await pool.execute("UPDATE draft_version_files SET sha256 = $1 WHERE path = '/bin'", digest)
    file = (await author.client.get(author.path)).json()["files"]["/bin"]
    assert (file.get("text"), file["base64"]) == (None, "AP+A")
    [message] = [file for file in (await author.grpc_draft()).draft.files if file.path == "/bin"]
    assert (message.WhichOneof("content"), message.binary) == ("binary", content)
    workflow = (await author.client.get(f"/api/workflows/{author.workflow}")).json()
    assert workflow["files"] == FILES
