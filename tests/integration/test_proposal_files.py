"""The files of a run in its proposal: none is lost for its name, its form, or by a takeover."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from server.domain.model import Proposal
from tests.support.driven import Driven, driven, verdict
from tests.support.runtime import CLOSE, END, SILENCE, ScriptedRuntime, serve_runtime, state_frame
from tests.support.stored import a_user

#: Paths that a message shows alike.
FIRST, SECOND, THIRD = (f"/t{chr(code)}.md" for code in (0xD800, 0xD801, 0xFFFD))
#: What a message, jsonb or a file system cannot hold as it is.
ODD_FILES: dict[str, Any] = {
    "/s.md": "a\ud800b\0",
    FIRST: "first",
    SECOND: "second",
    THIRD: "third",
    "/times.md": {"content": "x", "created_at": "", "modified_at": 17, "\udfff": ["\ud800"]},
    "/lines.png": {"content": base64.encodebytes(bytes(range(256))).decode(), "encoding": "base64"},
    "/text.md": {"content": "no base64\n", "encoding": "base64"},
    "/odd": {"content": {"a": 1}},
    "/\udfff": 17,
    "relative.md": ["a", "b"],
    "/../up.md": "up",
    "/a": "file",
    "/A": "other",
    "/a/b": "below",
}


async def _journalled(on: Driven, thread_id: Any, last_seq: int) -> None:
    async with asyncio.timeout(60):
        while (await on.core.refinements.get(on.user, thread_id)).last_seq < last_seq:
            await asyncio.sleep(0.01)


async def _whole(database: str, pool: Any) -> Proposal:
    """The proposal of a run that one replica drives to its end."""
    script = ScriptedRuntime([[state_frame(files=ODD_FILES), END]])
    async with serve_runtime(script) as url, driven(url, database, pool) as on:
        return (await on.outcome(await on.start()))[0]


@pytest.mark.parametrize("repeats", [False, True])
async def test_a_run_that_another_replica_continues_has_the_same_files(
    database: str, pool: Any, repeats: bool
) -> None:
    frame = state_frame(files=ODD_FILES)
    script = ScriptedRuntime([[frame, SILENCE], [frame, END] if repeats else [END]])
    async with serve_runtime(script) as url:
        async with driven(url, database, pool, replica="one") as one:
            started = await one.start()
            await _journalled(one, started.thread_id, 2)
        async with driven(url, database, pool, replica="two") as two:
            two.user = one.user
            proposal, _ = await two.outcome(started)
    assert script.connections == 2
    whole = await _whole(database, pool)
    assert (proposal.files, proposal.rejected_files, proposal.portability) == (
        whole.files,
        whole.rejected_files,
        whole.portability,
    )
    assert proposal.files["/s.md"].text == "a\ud800b\0"
    assert proposal.files["/times.md"].times == {"created_at": "", "modified_at": "17"}
    assert proposal.files["/lines.png"].content == bytes(range(256))
    assert {each.path: each.reason for each in proposal.rejected_files} == {
        "/../up.md": "dot_segment",
        "/odd": "unreadable",
        FIRST: "lone_surrogate",
        SECOND: "lone_surrogate",
        "/\udfff": "unreadable",
    }
    assert {*proposal.files, *(each.path for each in proposal.rejected_files)} == set(ODD_FILES)


async def test_the_content_of_every_rejected_file_can_be_read(database: str, pool: Any) -> None:
    script = ScriptedRuntime([[state_frame(files=ODD_FILES), END]])
    async with serve_runtime(script) as url, driven(url, database, pool) as on:
        proposal, _ = await on.outcome(await on.start())
        contents = {}
        for each in proposal.rejected_files:
            assert each.sha256 is not None
            piece = await on.core.contents.read_content(
                on.user, proposal.id, each.sha256, offset=0, max_bytes=1000
            )
            assert piece.size_bytes == each.size_bytes == len(piece.data)
            contents[each.path] = piece.data
        hashes = [each.sha256 for each in proposal.rejected_files if each.sha256 is not None]
        small = await on.core.contents.read_small(on.user, proposal.id, [*hashes, "0" * 64])
        assert sorted(small.values()) == sorted(contents.values())
        assert await on.core.contents.read_small(await a_user(pool, "eve"), proposal.id, hashes) == {}
    assert contents == {
        "/../up.md": b"up",
        "/odd": b'{"content":{"a":1}}',
        FIRST: b"first",
        SECOND: b"second",
        "/\udfff": b"17",
    }


async def test_files_that_only_the_state_has_are_in_the_proposal_with_those_that_cannot_be_read(
    database: str, pool: Any
) -> None:
    shown = {"status": "completed", "generated_files": {"/a.md": "x", "/odd": 17, "/../b": ["y"]}}
    script = ScriptedRuntime([[state_frame(messages="[]"), CLOSE]], states=[shown])
    async with serve_runtime(script) as url, driven(url, database, pool) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/a.md": "x"})
    assert {each.path: each.reason for each in proposal.rejected_files} == {
        "/../b": "dot_segment",
        "/odd": "unreadable",
    }
    assert events
