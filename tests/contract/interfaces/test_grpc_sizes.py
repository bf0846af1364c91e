"""What a gRPC client with default limits can read: everything, whatever the size of events and lists."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from ide_orchestrator.v1.access_pb2_grpc import AccessServiceStub
from server.wire import messages as m
from server.wire.large_events import MAX_EVENT_BYTES
from tests.support.grpc_interface import Caller, GrpcHub, open_grpc_hub, refusal_of
from tests.support.hand_clock import PATIENCE_S, retried
from tests.support.hub import running_hub
from tests.support.runtime import END, ScriptedRuntime, files, serve_runtime, state_frame, token_frame
from tests.support.tokens import bearer

#: A client that lets the server send next to nothing ahead.
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
MESSAGE_15_MIB = "[AIMessage(content='" + "x" * (15 << 20) + "', id='1')]"
COMPLETED = {"status": "completed"}
#: Frames that make events above 3 MiB, by what is large in them.
LARGE: dict[str, dict[str, Any]] = {
    "one file of 5 MiB": state_frame(files=files(a="x" * (5 << 20))),
    "60 files of 100 KB": state_frame(files=files(**{f"f{n}": f"{n}" * 50_000 for n in range(10, 70)})),
    "a binary file": state_frame(
        files={"/b": {"content": base64.b64encode(b"\xff" * (4 << 20)).decode(), "encoding": "base64"}}
    ),
    "a message of 15 MiB": state_frame(messages=MESSAGE_15_MIB),
    "5,000 files with long paths": state_frame(
        files={f"/{n}" + "/".join(["x" * 200] * 4): {"content": "a"} for n in range(5_000)}
    ),
    "a token": token_frame("€" * (2 << 20)),
    "an unknown frame": {"event_type": "on_custom_event", "data": {"value": "x" * (5 << 20)}},
    "an unknown key": state_frame(notes="x" * (5 << 20)),
    "todos": state_frame(todos=[{"content": "x" * 100, "status": "pending"}] * 50_000),
}


@asynccontextmanager
async def run_of(database: str, *frames: dict[str, Any]) -> AsyncIterator[tuple[GrpcHub, Caller, str]]:
    """The hub, a caller with a client's default limits, and the thread of a run of these frames."""
    script = ScriptedRuntime([[*frames, END]], [COMPLETED])
    async with (
        serve_runtime(script) as url,
        open_grpc_hub(database, runtime_url=url) as hub,
        # Its own connection: those of equal arguments are shared.
        grpc.aio.insecure_channel(hub.address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        ann = hub.caller(channel=channel)
        yield hub, ann, (await ann.start()).thread_id


async def paged(ann: Caller, thread_id: str, **fields: int) -> list[m.Event]:
    """All events, page by page."""
    events: list[m.Event] = []
    while True:
        after = events[-1].seq if events else 0
        request = m.ListEventsRequest(thread_id=thread_id, after_seq=after, limit=1000, **fields)  # type: ignore[arg-type]
        page = await ann.refinements.ListEvents(request, metadata=ann.metadata)
        events.extend(page.events)
        if page.complete:
            return events
        assert page.events


async def whole(ann: Caller, thread_id: str, seq: int, offset: int = 0) -> bytes:
    """An event in pieces, joined."""
    request = m.ReadEventRequest(thread_id=thread_id, seq=seq, offset=offset)
    data = b""
    async for piece in ann.refinements.ReadEvent(request, metadata=ann.metadata):
        assert piece.offset == offset + len(data)
        assert 0 < len(piece.data) <= 1 << 20
        data += piece.data
    assert offset + len(data) == piece.size_bytes
    return data


@pytest.mark.parametrize("large", LARGE)
async def test_a_run_with_a_large_event_is_read_to_its_end_and_the_event_in_pieces(
    database: str, large: str
) -> None:
    async with run_of(database, token_frame("a"), LARGE[large], token_frame("b")) as (hub, ann, thread):
        watched = await ann.events(thread)
        assert [event.seq for event in watched] == list(range(1, len(watched) + 1))
        assert watched[-1].HasField("terminal")
        assert await paged(ann, thread) == watched
        [cut] = [event for event in watched if event.omitted_bytes]
        assert cut.truncated == (not any(file.content_omitted for file in cut.state_update.files))
        for after in range(len(watched)):
            assert await ann.events(thread, after) == watched[after:]

        data = await whole(ann, thread, cut.seq)
        shown = m.Event.FromString(cut.SerializeToString())
        shown.ClearField("omitted_bytes")
        assert len(data) == shown.ByteSize() + cut.omitted_bytes > MAX_EVENT_BYTES
        event = m.Event.FromString(data)
        assert (event.seq, event.omitted_bytes, event.truncated) == (cut.seq, 0, False)
        assert await whole(ann, thread, cut.seq, len(data) - 3) == data[-3:]

        request = m.WatchRefinementRequest(thread_id=thread, max_event_bytes=64 << 20)
        options = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(hub.address, options=options) as wide:
            call = hub.caller(channel=wide).refinements.WatchRefinement(request, metadata=ann.metadata)
            events = [event async for response in call for event in response.batch.events]
        assert [each for each in events if each.seq == cut.seq] == [event]
        assert [each for each in events if each.seq != cut.seq] == [
            each for each in watched if each.seq != cut.seq
        ]


async def test_a_live_reader_gets_a_large_event_as_a_late_one_does(database: str) -> None:
    frames = [LARGE["one file of 5 MiB"], *map(token_frame, "abc")]
    async with run_of(database, *frames) as (_, ann, thread):
        live = await ann.events(thread)
        assert live == await ann.events(thread)
        assert sum(bool(event.omitted_bytes) for event in live) == 1


async def test_a_page_is_bounded_in_bytes_on_both_interfaces_and_the_next_one_goes_on(database: str) -> None:
    frames = [state_frame(files=files(a=f"{n}" * 400_000)) for n in range(10)]
    script = ScriptedRuntime([[*frames, END]], [COMPLETED])
    async with serve_runtime(script) as url, running_hub(database, runtime_url=url) as hub:
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            ann = Caller(channel, hub.token())
            thread = (await ann.start()).thread_id
            watched = await ann.events(thread)
            request = m.ListEventsRequest(thread_id=thread, limit=1000)
            first = await ann.refinements.ListEvents(request, metadata=ann.metadata)
            assert (1, 4) < (len(first.events), 4) < (len(watched), 4)
            assert not first.complete
            assert await paged(ann, thread) == watched
        seqs: list[int] = []
        path = f"/api/refinements/{thread}/events"
        async with httpx.AsyncClient(base_url=hub.http, headers=bearer(hub.token()), timeout=60) as http:
            while True:
                after = seqs[-1] if seqs else 0
                answer = await http.get(path, params={"limit": 1000, "after": after})
                page = answer.json()
                assert len(answer.content) < 4 << 20
                seqs += [event["seq"] for event in page["items"]]
                assert page["next_cursor"] == seqs[-1]
                if page["complete"]:
                    break
        assert seqs == [event.seq for event in watched]


async def test_a_proposal_with_large_files_is_read_and_each_file_by_its_hash(database: str) -> None:
    contents = {f"{n}": f"{n}" * (1_800 << 10) for n in range(3)} | {"small": "s"}
    script = ScriptedRuntime([[state_frame(files=files(**contents)), END]], [COMPLETED])
    async with serve_runtime(script) as url, open_grpc_hub(database, runtime_url=url) as hub:
        ann = hub.caller()
        refinement = await ann.start()
        await ann.events(refinement.thread_id)
        request = m.GetProposalRequest(proposal_id=refinement.proposal_id)
        answer = await ann.proposals.GetProposal(request, metadata=ann.metadata)
        assert (answer.proposal.file_count, answer.next_file_offset) == (4, 0)
        omitted = {file.path: file.content_omitted for file in answer.proposal.generated_files}
        assert sum(omitted.values()) == 2
        assert not omitted["/small"]
        for file in answer.proposal.generated_files:
            data = file.text.encode()
            if file.content_omitted:
                wanted = m.ReadFileRequest(proposal_id=refinement.proposal_id, sha256=file.sha256)
                pieces = ann.proposals.ReadFile(wanted, metadata=ann.metadata)
                data = b"".join([piece.data async for piece in pieces])
            assert len(data) == file.size_bytes
            assert data.decode() == contents[file.path.removeprefix("/")]


async def test_lists_of_large_items_are_read_to_their_end(database: str) -> None:
    async with (
        serve_runtime(ScriptedRuntime(invokes=[422])) as url,
        open_grpc_hub(database, runtime_url=url) as hub,
    ):
        ann = hub.caller()
        create = m.CreateWorkflowRequest(name="w")
        create.agent_definition.update({"a": "x" * 250_000})
        for _ in range(20):
            workflow = (await ann.workflows.CreateWorkflow(create, metadata=ann.metadata)).workflow
        listed = await ann.workflows.ListWorkflows(m.ListWorkflowsRequest(), metadata=ann.metadata)
        assert len(listed.workflows) == 20
        assert not any(each.HasField("agent_definition") for each in listed.workflows)

        start = m.StartRefinementRequest(workflow_id=workflow.id, user_prompt="€" * 65_000)
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await ann.refinements.StartRefinement(start, metadata=ann.metadata)
        found: list[str] = []
        request = m.ListProposalsRequest()
        while len(found) < 20:
            page = await ann.proposals.ListProposals(request, metadata=ann.metadata)
            found += [proposal.id for proposal in page.proposals]
            assert bool(page.next_page_token) == (len(found) < 20)
            request.page_token = page.next_page_token
        assert len(set(found)) == 20


async def test_what_cannot_be_read_in_pieces_is_refused(database: str) -> None:
    async with run_of(database, token_frame("a")) as (_, ann, thread):
        last = (await ann.events(thread))[-1].seq

        async def refused(**fields: Any) -> tuple[grpc.StatusCode, str]:
            request = m.ReadEventRequest(**{"thread_id": thread, "seq": 1} | fields)
            refusals = set()
            # More than a caller may read at a time: a refused one is not counted.
            for _ in range(5):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ann.refinements.ReadEvent(request, metadata=ann.metadata).read()
                refusal = refusal_of(caught.value)
                refusals.add((refusal.code, refusal.reason))
            (only,) = refusals
            return only

        assert await refused(seq=0) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument")
        assert await refused(offset=1 << 40) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_argument")
        for seq in (last + 1, last + 2, 0xFFFFFFFF):
            assert await refused(seq=seq) == (grpc.StatusCode.OUT_OF_RANGE, "cursor_out_of_range")
        for unknown in ("", "x", "00000000-0000-4000-8000-000000000000"):
            assert await refused(thread_id=unknown) == (grpc.StatusCode.NOT_FOUND, "not_found")


async def test_a_share_link_reads_in_pieces_only_the_events_that_it_shows(database: str) -> None:
    async with run_of(database, *map(token_frame, "abcd")) as (hub, ann, thread):
        events = await ann.events(thread)
        proposal_id = events[0].run_started.proposal_id
        request = m.CreateShareLinkRequest(proposal_id=proposal_id, after_seq=3)
        answer = await AccessServiceStub(hub.channel).CreateShareLink(request, metadata=ann.metadata)
        guest = Caller(hub.channel, answer.share_link.secret)
        for seq in (1, 3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await whole(guest, thread, seq)
            assert refusal_of(caught.value).reason == "not_found"
        assert m.Event.FromString(await whole(guest, thread, 4)) == events[3]


async def test_a_caller_reads_a_few_events_in_pieces_at_a_time(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_of(database, LARGE["a message of 15 MiB"]) as (hub, ann, thread):
        cut = next(event for event in await ann.events(thread) if event.omitted_bytes)
        request = m.ReadEventRequest(thread_id=thread, seq=cut.seq)
        async with grpc.aio.insecure_channel(hub.address, options=NARROW) as narrow:
            slow = hub.caller(channel=narrow)
            calls = [slow.refinements.ReadEvent(request, metadata=slow.metadata) for _ in range(5)]
            # One of them is read, and three wait for room in the memory of what is not yet read.
            reads = [asyncio.ensure_future(call.read()) for call in calls]
            done, waiting = await asyncio.wait(reads, return_when=asyncio.FIRST_EXCEPTION, timeout=PATIENCE_S)
            [error] = [read.exception() for read in done if read.exception() is not None]
            assert isinstance(error, grpc.aio.AioRpcError)
            assert len(waiting) >= 3
            refusal = refusal_of(error)
            assert (refusal.code, refusal.reason, refusal.retry_after_s) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "limit_reached",
                1,
            )
        await asyncio.gather(*reads, return_exceptions=True)
        await retried(lambda: whole(ann, thread, cut.seq), grpc.aio.AioRpcError)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
