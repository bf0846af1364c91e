"""The adapter of LangGraph's Agent Server, alone and behind the hub, with what the real server sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from server.agent_server.client import AgentServer
from server.agent_server.run_stream import LARGE_RECALLS
from server.cli.doctor.services import check_runtime
from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.journal.events import Discontinuity, InputRequested, Terminal, Token
from server.domain.model import Refinement
from server.domain.runs.replies import ActionDecision, Reply
from server.domain.runs.runtime import Invocation, OversizedFrame, StreamClosed
from server.frames.structure import MAX_VALUES
from server.settings.loading import SettingsError, load
from tests.support.agent_server import RecordedServer, recorded
from tests.support.driven import Driven, driven, verdict
from tests.support.hand_clock import until
from tests.support.runtime import frames_of

KIND: dict[str, Any] = {"runtime_kind": "langgraph-server"}
THREAD = "00000000-0000-4000-8000-000000000001"
JOB = Invocation(
    UUID(int=2),
    UUID(THREAD),
    {"user_request": "secret prompt"},
    {"messages": [{"role": "user", "content": "secret prompt"}], "context_file_path": "/a.md"},
)
REPLY = Reply(UUID(int=3), 1, "asked", UUID(int=4), ("approve",), {"decisions": [{"type": "approve"}]})
END = {"event_type": "end", "data": {}}
#: Of 64 KiB each: more than buffers hold, less than the largest event.
LARGE_EVENT_PIECES = 200


async def frames_from(server: RecordedServer) -> list[Any]:
    """The frames of a run that was started, each as its value or an OversizedFrame."""
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.invoke(JOB)
        async with frames_of(runtime, THREAD) as stream:
            return [
                frame if isinstance(frame, OversizedFrame) else json.loads(frame) async for frame in stream
            ]


# --- What is sent ----------------------------------------------------------------------------------


async def test_a_job_is_the_first_run_of_a_thread_with_its_id() -> None:
    server = RecordedServer("completed")
    async with server.serving() as url, AgentServer(f"{url}/", "planner", api_key="kingfisher") as runtime:
        assert await runtime.invoke(JOB) == THREAD
    [(method, path, form)] = server.requests
    assert (method, path) == ("POST", f"/threads/{THREAD}/runs")
    assert form == {
        "assistant_id": "planner",
        "input": {"messages": [{"role": "user", "content": "secret prompt"}]},
        "config": {"configurable": {"agent_definition": {"user_request": "secret prompt"}}},
        "metadata": {"job_id": THREAD, "trace_id": str(UUID(int=2))},
        "stream_mode": ["values", "messages-tuple"],
        "stream_resumable": True,
        "multitask_strategy": "reject",
        "if_not_exists": "create",
    }
    assert b"x-api-key: kingfisher\r\n" in server.heads[0].lower()


async def test_a_stream_is_asked_for_from_its_first_event() -> None:
    server = RecordedServer("completed")
    await frames_from(server)
    [head] = [head for head in server.heads if b"/stream " in head]
    assert b"last-event-id: -1\r\n" in head.lower()


async def test_a_reply_begins_a_run_once_however_often_it_is_given() -> None:
    server = RecordedServer("asks")
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.invoke(JOB)
        reply = Reply(UUID(int=3), 1, "", UUID(int=4), ("approve",), REPLY.value)
        await runtime.resume(THREAD, reply, JOB)
        await runtime.resume(THREAD, reply, JOB)
        first, continued = server.forms("/runs")
    assert continued["command"] == {"resume": REPLY.value}
    assert continued["metadata"]["resume_id"] == str(reply.id)
    assert "input" not in continued
    assert continued["config"] == first["config"]


async def test_a_reply_to_a_question_with_an_id_names_it() -> None:
    server = RecordedServer("asks")
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.invoke(JOB)
        await runtime.resume(THREAD, REPLY, JOB)
    assert server.forms("/runs")[-1]["command"] == {"resume": {"asked": REPLY.value}}


async def test_a_reply_waits_while_the_thread_is_busy_with_another_run() -> None:
    server = RecordedServer("asks")
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.invoke(JOB)
        server.refuse_starts = 409
        with pytest.raises(RuntimeUnavailable, match="busy"):
            await runtime.resume(THREAD, REPLY, JOB)


@pytest.mark.parametrize(("status", "cancels"), [("running", 1), ("pending", 1), ("success", 0)])
async def test_only_a_run_that_goes_on_is_cancelled(status: str, cancels: int) -> None:
    server = RecordedServer("completed", status=status)
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.cancel(THREAD)
        await runtime.invoke(JOB)
        await runtime.cancel(THREAD)
    assert len(server.forms("/cancel")) == cancels


# --- What comes ------------------------------------------------------------------------------------


async def test_events_become_frames_and_the_end_comes_from_the_status() -> None:
    frames = await frames_from(RecordedServer("completed"))
    assert frames[0]["event_type"] == "on_state_update"
    assert {frame["event_type"] for frame in frames} == {"on_state_update", "on_llm_stream", "end"}
    assert frames.count(END) == 1
    assert frames[-1] == END
    assert frames[-2]["data"]["files"]["/plan.md"]["content"] == "Plan\n"
    said = [frame["data"]["raw_event"][0] for frame in frames if frame["event_type"] == "on_llm_stream"]
    assert "".join(piece["content"] for piece in said if piece["type"] == "AIMessageChunk").startswith(
        "I write it."
    )


async def test_a_failure_is_the_same_frame_on_every_connection() -> None:
    """The server sends its error once, and without the reason."""
    assert b"event: error" in recorded("failed", "stream.sse")
    assert b"event: error" not in recorded("failed", "again.sse")
    first = await frames_from(RecordedServer("failed"))
    again = await frames_from(RecordedServer("failed", streams=("again.sse",)))
    assert first == again
    assert first[-1] == END
    assert first[-2]["event_type"] == "error"
    assert "the provider is away" in first[-2]["data"]["error"]["message"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("interrupted", "cancelled at the LangGraph server"),
        ("timeout", "took longer"),
        ("odd", "ended as odd"),
    ],
)
async def test_a_run_that_the_server_gave_up_is_failed_with_a_reason(status: str, reason: str) -> None:
    frames = await frames_from(RecordedServer("completed", status=status))
    assert reason in frames[-2]["data"]["error"]["message"]


async def test_a_stream_that_is_closed_before_the_run_is_over_is_broken() -> None:
    with pytest.raises(StreamClosed, match="before the run was over"):
        await frames_from(RecordedServer("completed", status="running"))


async def test_a_run_that_stands_at_a_breakpoint_asks() -> None:
    server = RecordedServer("completed", thread_status="interrupted")
    frames = await frames_from(server)
    assert frames[-2:] == [{"event_type": "on_updates", "data": {"__interrupt__": []}}, END]
    asked = await frames_from(RecordedServer("asks"))
    assert "on_updates" not in {frame["event_type"] for frame in asked}


async def test_an_event_that_is_too_large_is_skipped() -> None:
    server = RecordedServer("completed", piece_bytes=500)
    async with server.serving() as url, AgentServer(url, "agent", max_frame_bytes=1000) as runtime:
        await runtime.invoke(JOB)
        async with frames_of(runtime, THREAD) as stream:
            frames = [frame async for frame in stream]
    assert sum(isinstance(frame, OversizedFrame) for frame in frames) > 5
    assert all(len(frame) < 1100 for frame in frames if isinstance(frame, bytes))


class RepeatingServer(RecordedServer):
    """Sends an event twice, and says without end that it keeps it more often."""

    async def _stream(self, head: bytes, writer: asyncio.StreamWriter) -> bytes:
        event = b"event: values\r\ndata: {}\r\nid: 5-0\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + 2 * event)
        while b"last-event-id: -1" not in head.lower():
            writer.write(1000 * event)
            await writer.drain()
        await asyncio.Event().wait()
        raise AssertionError


async def test_what_a_server_keeps_under_an_id_is_not_read_without_end() -> None:
    with pytest.raises(StreamClosed, match="too much under one id"):
        await frames_from(RepeatingServer("completed"))


class HalfServer(RecordedServer):
    """Sends an event twice, and of those that it keeps under its id the first is large, and does not end."""

    #: Bytes of such events that were taken on each connection.
    taken: list[int]

    async def _stream(self, head: bytes, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        if b"last-event-id: -1" in head.lower():
            writer.write(2 * b"event: values\r\ndata: {}\r\nid: 5-0\r\n\r\n")
            await asyncio.Event().wait()
        number = len(self.taken)
        self.taken.append(0)
        for _ in range(LARGE_EVENT_PIECES):
            writer.write(bytes(1 << 16))
            await writer.drain()
            self.taken[number] += 1
        await asyncio.Event().wait()
        raise AssertionError


async def test_few_runs_recall_large_events_at_a_time() -> None:
    """What they read has no room of its own: each would hold 16 MiB."""
    server = HalfServer("completed")
    server.taken = []
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.invoke(JOB)

        async def read() -> None:
            async with frames_of(runtime, THREAD) as stream:
                [frame async for frame in stream]

        readers = [asyncio.create_task(read()) for _ in range(2 * LARGE_RECALLS)]
        # Some have all of it, and the others wait, with no more than buffers hold.
        await until(lambda: len(server.taken) == len(readers) and max(server.taken) == LARGE_EVENT_PIECES)
        await until(lambda: server.taken.count(LARGE_EVENT_PIECES) == LARGE_RECALLS)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert server.taken.count(LARGE_EVENT_PIECES) == LARGE_RECALLS


@pytest.mark.parametrize(
    "date",
    ["", "soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:00 +" + 20 * "9"],
)
async def test_a_stream_is_read_whatever_its_head_says_of_the_time(date: str) -> None:
    assert (await frames_from(RecordedServer("completed", date=date)))[-1] == END


async def test_a_server_that_is_silent_is_left() -> None:
    server = RecordedServer("completed", stalls=True)
    async with server.serving() as url, AgentServer(url, "agent", quiet_s=0.2) as runtime:
        await runtime.invoke(JOB)
        async with frames_of(runtime, THREAD) as stream:
            with pytest.raises(StreamClosed, match="silent"):
                [frame async for frame in stream]


# --- The state -------------------------------------------------------------------------------------


async def test_the_state_is_that_of_the_newest_run() -> None:
    server = RecordedServer("completed")
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        assert await runtime.state(THREAD) is None
        await runtime.invoke(JOB)
        state = await runtime.state(THREAD)
        assert state is not None
        assert state.status == "completed"
        assert state.files is not None
        assert {path: file.text for path, file in state.files.items()} == {"/plan.md": "Plan\n"}
        server.status = "running"
        state = await runtime.state(THREAD)
        assert state is not None
        assert (state.status, state.files) == ("running", None)


async def test_a_failed_state_has_the_files_and_the_reason() -> None:
    server = RecordedServer("failed")
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        await runtime.invoke(JOB)
        state = await runtime.state(THREAD)
    assert state is not None
    assert state.status == "failed"
    assert state.files is not None
    assert state.files.keys() == {"/half.md"}
    assert "the provider is away" in (state.error or "")


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[1]", b'[{"run_id": 1}]', b'"runs"', b"[[]]"])
async def test_a_list_of_runs_that_cannot_be_read_is_refused(body: bytes) -> None:
    server = RecordedServer("completed", bodies={"/runs": body})
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        with pytest.raises(RuntimeRefused, match="cannot be read"):
            await runtime.state(THREAD)


@pytest.mark.parametrize("path", ["/runs", "/state"])
async def test_an_answer_with_too_many_values_is_refused_and_not_read(path: str) -> None:
    server = RecordedServer("completed", bodies={path: b"[" + b"{}," * MAX_VALUES + b"NaN]"})
    async with server.serving() as url, AgentServer(url, "agent") as runtime:
        if path == "/runs":
            with pytest.raises(RuntimeRefused, match="too many values"):
                await runtime.invoke(JOB)
        else:
            await runtime.invoke(JOB)
        with pytest.raises(RuntimeRefused, match="too many values"):
            await runtime.state(THREAD)


async def test_a_key_that_the_server_repeats_is_not_shown() -> None:
    server = RecordedServer("completed", refusals={"/runs": 403}, detail="the key kingfisher is unknown")
    async with server.serving() as url, AgentServer(url, "agent", api_key="kingfisher") as runtime:
        with pytest.raises(RuntimeRefused) as refused:
            await runtime.invoke(JOB)
    assert "kingfisher" not in refused.value.message + str(refused.value)
    assert "is unknown" in refused.value.message


# --- Behind the hub --------------------------------------------------------------------------------


async def test_a_run_proposes_its_files(database: str, pool: Any) -> None:
    server = RecordedServer("completed", piece_bytes=777)
    async with server.serving() as url, driven(url, database, pool, **KIND) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("completed", None, {"/plan.md": "Plan\n"})
    text = "".join(each.kind.text for each in events if isinstance(each.kind, Token) and not each.kind.name)
    assert text == "I write it.Done."


async def test_a_stream_that_is_cut_is_read_again_without_a_gap(database: str, pool: Any) -> None:
    size = len(recorded("completed", "stream.sse"))
    server = RecordedServer("completed", cut_at=tuple(range(2000, size, 2000)), piece_bytes=777)
    whole = RecordedServer("completed")
    async with whole.serving() as url, driven(url, database, pool, **KIND) as on:
        _, expected = await on.outcome(await on.start())
    async with server.serving() as url, driven(url, database, pool, **KIND) as on:
        proposal, events = await on.outcome(await on.start())
    assert server.connections == len(server.cut_at) + 1
    assert [each.kind for each in events][1:] == [each.kind for each in expected][1:]
    assert verdict(proposal) == ("completed", None, {"/plan.md": "Plan\n"})


async def test_what_a_server_sends_twice_is_journalled_once(database: str, pool: Any) -> None:
    server = RecordedServer("joined", kept="again.sse")
    async with server.serving() as url, driven(url, database, pool, **KIND) as on:
        proposal, events = await on.outcome(await on.start())
    texts = [each.kind.text for each in events if isinstance(each.kind, Token) and each.kind.text]
    assert "".join(texts) == " ".join(["word"] * 12)
    assert not [each for each in events if isinstance(each.kind, Discontinuity)]
    assert proposal.status.value == "completed"


async def test_a_failed_run_keeps_its_files_and_says_why(database: str, pool: Any) -> None:
    server = RecordedServer("failed")
    async with server.serving() as url, driven(url, database, pool, **KIND) as on:
        proposal, events = await on.outcome(await on.start())
    assert verdict(proposal) == ("failed", "upstream_error", {"/half.md": "half\n"})
    terminal = events[-1].kind
    assert isinstance(terminal, Terminal)
    assert "the provider is away" in terminal.message


async def question(on: Driven, started: Refinement) -> int:
    """The seq of the run's question, once it waits for the answer."""
    await on.waiting(started)
    page = await on.core.refinements.page(on.user, started.thread_id, after=0, limit=100, wait_s=0)
    events = [on.core.runner.context.codec.decode(each) for part in page.segments for each in part.events()]
    return next(event.seq for event in events if isinstance(event.kind, InputRequested))


async def test_a_run_that_asks_goes_on_with_the_reply(database: str, pool: Any) -> None:
    server = RecordedServer("asks")
    async with server.serving() as url, driven(url, database, pool, **KIND) as on:
        started = await on.start()
        seq = await question(on, started)
        await on.core.input_replies.reply(on.user, started.thread_id, seq, [ActionDecision("approve")])
        proposal, events = await on.outcome(started)
    assert verdict(proposal) == ("completed", None, {"/plan.md": "Plan\n"})
    first, continued = server.forms("/runs")
    assert continued["config"] == first["config"]
    assert not [each for each in events if isinstance(each.kind, Discontinuity)]


async def test_a_cancelled_run_is_stopped_at_the_server(database: str, pool: Any) -> None:
    server = RecordedServer("completed", status="running", stalls=True)
    async with server.serving() as url, driven(url, database, pool, **KIND) as on:
        started = await on.start()
        await on.core.refinements.cancel(on.user, started.thread_id)
        proposal, _ = await on.outcome(started)
        assert verdict(proposal)[:2] == ("cancelled", "cancelled")
        await until(lambda: server.forms("/cancel"))
        assert len(server.forms("/cancel")) == 1


async def test_what_the_server_can_do_is_among_the_features(database: str, pool: Any) -> None:
    server = RecordedServer("completed")
    async with server.serving() as url:
        async with driven(url, database, pool, **KIND) as on:
            assert {"input_replies", "runtime_cancel", "runtime_replay"} <= set(on.core.server_info.features)
        async with driven(url, database, pool) as on:
            assert not {"input_replies", "runtime_cancel", "runtime_replay"} & set(
                on.core.server_info.features
            )


# --- Settings and the doctor -----------------------------------------------------------------------


def test_a_channel_is_refused_with_a_langgraph_server() -> None:
    with pytest.raises(SettingsError, match="IDEO_RUNTIME_EVENTS_URL works only with"):
        load(env="dev", runtime_url="http://a", runtime_events_url="redis://a", **KIND)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(env="dev", langgraph_api_key=key)
    assert "IDEO_LANGGRAPH_API_KEY" in str(error.value)
    assert key not in str(error.value)


@pytest.mark.parametrize(
    ("server", "advice"),
    [
        (RecordedServer("completed", bodies={"/search": b'[{"assistant_id": "x"}]'}), ""),
        (RecordedServer("completed", bodies={"/search": b"[]"}), "IDEO_LANGGRAPH_ASSISTANT"),
        (RecordedServer("completed", refusals={"/runs": 401}), "IDEO_LANGGRAPH_API_KEY"),
        (RecordedServer("completed", refusals={"/runs": 500}), "DEEPAGENTS_RUNTIME_URL"),
    ],
    ids=["nothing", "graph", "key", "address"],
)
async def test_the_doctor_says_what_is_wrong_with_the_server(server: RecordedServer, advice: str) -> None:
    async with server.serving() as url:
        finding = await check_runtime(load(env="dev", runtime_url=url, **KIND), "")
    assert finding.ok is (advice == "")
    assert advice in (finding.fix or "")


async def test_the_doctor_says_that_the_server_is_away() -> None:
    finding = await check_runtime(load(env="dev", runtime_url="http://127.0.0.1:9", **KIND), "")
    assert "DEEPAGENTS_RUNTIME_URL" in finding.fix
