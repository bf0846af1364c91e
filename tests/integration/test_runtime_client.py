"""The runtime's client against real local servers, well-behaved and not."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from server.domain.errors import RuntimeRefused, RuntimeUnavailable
from server.domain.proposals.files import File
from server.domain.runs.runtime import Invocation, OversizedFrame, RuntimeState, StreamClosed
from server.frames.structure import MAX_VALUES
from server.replay.app import create_replay_app
from server.runtime.client import DeepagentsRuntime
from tests.support.hand_clock import until
from tests.support.recordings import frames
from tests.support.runtime import frames_of
from tests.support.servers import answer, asgi_server, http_server, stream_server

THREAD = "00000000-0000-4000-8000-000000000001"
JOB = Invocation(UUID(int=2), UUID(THREAD), {"user_request": "secret prompt"}, {"messages": []})
ACCEPTED = json.dumps({"thread_id": THREAD, "status": "started"}).encode()


@pytest.fixture
async def replay() -> AsyncIterator[str]:
    async with asgi_server(create_replay_app(unknown_thread_s=0.05, progress_s=0.01)) as base:
        yield base


async def test_a_run_is_invoked_streamed_and_asked_about(replay: str) -> None:
    async with DeepagentsRuntime(replay) as runtime:
        assert await runtime.state(THREAD) is None
        await runtime.invoke(JOB)
        async with frames_of(runtime, THREAD) as stream:
            assert tuple([frame async for frame in stream]) == frames("short_run")
        state = await runtime.state(THREAD)
    assert state is not None
    assert state.status == "completed"
    assert state.files is not None
    assert state.files.keys() == {"/THE_SPEC/constitution.md", "/definition.json"}


@pytest.mark.parametrize("suffix", ["", "/", "/deepagents-runtime", "/deepagents-runtime/"])
async def test_the_address_may_have_the_suffix_or_not(replay: str, suffix: str) -> None:
    async with DeepagentsRuntime(replay + suffix) as runtime:
        await runtime.invoke(JOB)
        async with frames_of(runtime, THREAD) as stream:
            assert await anext(stream) == frames("short_run")[0]


async def test_an_address_with_a_path_keeps_it() -> None:
    seen = []

    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        seen.append(head.split(b" ")[1])
        return answer(404)

    async with http_server(answerer) as base, DeepagentsRuntime(f"{base}/inner/") as runtime:
        assert await runtime.state(THREAD) is None
    assert seen == [f"/inner/deepagents-runtime/state/{THREAD}".encode()]


@pytest.mark.parametrize("address", ["", "runtime:8080", "ftp://runtime", "http://", "ws://runtime"])
def test_an_address_that_is_not_an_http_url_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="http or https"):
        DeepagentsRuntime(address)


async def test_the_job_is_sent_as_a_job_request() -> None:
    bodies = []

    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        bodies.append((head.split(b"\r\n")[0], json.loads(body)))
        return answer(200, ACCEPTED)

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        await runtime.invoke(JOB)
    assert bodies == [
        (
            b"POST /deepagents-runtime/invoke HTTP/1.1",
            {
                "trace_id": str(JOB.trace_id),
                "job_id": THREAD,
                "agent_definition": {"user_request": "secret prompt"},
                "input_payload": {"messages": []},
            },
        )
    ]


@pytest.mark.parametrize("status", [400, 422, 500, 503])
async def test_a_refusal_has_its_status_and_echoes_nothing(status: int) -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(status, body)

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeRefused) as refused:
            await runtime.invoke(JOB)
        with pytest.raises(RuntimeRefused):
            await runtime.state(THREAD)
    assert refused.value.status == status
    assert "secret" not in str(refused.value)


async def test_a_redirect_is_not_followed() -> None:
    async def trap(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        pytest.fail("the job went to another address")

    async with http_server(trap) as elsewhere:

        async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
            return answer(307, b"", location=f"{elsewhere}/deepagents-runtime/invoke")

        async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
            with pytest.raises(RuntimeRefused) as refused:
                await runtime.invoke(JOB)
            assert refused.value.status == 307
            with pytest.raises(RuntimeRefused) as refused:
                async with runtime.stream(THREAD):
                    pytest.fail("the stream opened")
            assert refused.value.status == 307


@pytest.mark.parametrize("body", [b"", b"garbage", b"[]", b"{}", b'{"thread_id":null}', b"\xff" * 50])
async def test_an_answer_for_no_thread_is_a_refusal(body: bytes) -> None:
    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, body)

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeRefused):
            await runtime.invoke(JOB)
        with pytest.raises(RuntimeRefused):
            await runtime.state(THREAD)


async def test_a_refused_connection_means_certainly_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with DeepagentsRuntime(address) as runtime:
            with pytest.raises(RuntimeUnavailable) as unreachable:
                await runtime.invoke(JOB)
            assert not unreachable.value.sent
            with pytest.raises(RuntimeUnavailable):
                await runtime.state(THREAD)
            with pytest.raises(RuntimeUnavailable):
                async with runtime.stream(THREAD):
                    pytest.fail("the stream opened")


async def test_an_unknown_host_name_means_certainly_not_sent() -> None:
    async with DeepagentsRuntime("http://no-such-host.invalid") as runtime:
        with pytest.raises(RuntimeUnavailable) as unreachable:
            await runtime.invoke(JOB)
    assert not unreachable.value.sent


@pytest.mark.parametrize("limits", [{"read_s": 0.05}, {"total_s": 0.05}])
async def test_silence_after_sending_is_uncertain(limits: dict[str, float]) -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with http_server(answerer) as base, DeepagentsRuntime(base, **limits) as runtime:  # type: ignore[arg-type]
        with pytest.raises(RuntimeUnavailable) as silent:
            await runtime.invoke(JOB)
    assert silent.value.sent


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", b"\x00garbage\r\n\r\n"]
)
async def test_a_broken_answer_is_uncertain(reply: bytes) -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return reply

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeUnavailable) as broken:
            await runtime.invoke(JOB)
        assert broken.value.sent
        # Whatever is in it, a whole head with another status is a refusal of the stream.
        with pytest.raises(RuntimeRefused if reply.startswith(b"HTTP") else RuntimeUnavailable):
            async with runtime.stream(THREAD):
                pytest.fail("the stream opened")


async def test_an_answer_that_drips_is_cut_at_the_total() -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with http_server(answerer) as base, DeepagentsRuntime(base, total_s=0.2) as runtime:
        with pytest.raises(RuntimeUnavailable):
            await runtime.state(THREAD)


async def test_an_answer_without_end_is_bounded() -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with http_server(answerer) as base, DeepagentsRuntime(base, max_answer_bytes=1 << 20) as runtime:
        with pytest.raises(RuntimeRefused, match="too long"):
            await runtime.state(THREAD)


@pytest.mark.parametrize(
    ("began", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\na: ", b"b"),
    ],
    ids=["interim answers", "headers", "a header"],
)
async def test_an_answer_whose_head_does_not_end_is_given_up(began: bytes, piece: bytes) -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        writer.write(began)
        while True:
            writer.write(piece * 1000)
            await writer.drain()

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeUnavailable, match="broke"):
            await asyncio.wait_for(runtime.state(THREAD), 20)


async def test_an_answer_in_chunks_of_a_byte_holds_no_turn_of_the_event_loop() -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\n \r\n" * 1000)
            await writer.drain()

    async with http_server(answerer) as base, DeepagentsRuntime(base, total_s=1.0) as runtime:
        began, turns = time.thread_time(), 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        with pytest.raises(RuntimeUnavailable):
            await runtime.state(THREAD)
        counting.cancel()
        assert (time.thread_time() - began) / turns < 0.005


async def test_an_answer_of_many_lines_is_read_whole() -> None:
    files = {f"/{number}": "x" for number in range(20_000)}
    answer = json.dumps({"status": "completed", "generated_files": files}, indent=1).encode()

    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer)

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        state = await runtime.state(THREAD)
    assert state is not None
    assert len(state.files or {}) == len(files)


@pytest.mark.parametrize("value", [b"{},", b"NaN,", b"[],"])
async def test_an_answer_with_too_many_values_is_refused_and_not_read(value: bytes) -> None:
    body = b'{"thread_id":[' + value * MAX_VALUES + b"1]}"

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, body)

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeRefused, match="too many values"):
            await runtime.invoke(JOB)
        with pytest.raises(RuntimeRefused, match="too many values"):
            await runtime.state(THREAD)


async def test_a_large_state_is_read_once_there_is_room_for_it() -> None:
    body = b'{"status":"completed","generated_files":{"/a":"' + b"x" * (1 << 20) + b'"}}'
    asked: list[int] = []
    room = asyncio.Event()

    async def admit(size_bytes: int) -> None:
        asked.append(size_bytes)
        await room.wait()

    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, body)

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        asking = asyncio.create_task(runtime.state(THREAD, admit))
        await until(lambda: bool(asked))
        assert not asking.done()
        room.set()
        state = await asking
    assert asked[0] >= len(body)
    assert state is not None
    assert len((state.files or {})["/a"].content) == 1 << 20


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"status": "running"}, RuntimeState("running")),
        ({"status": "completed", "generated_files": None}, RuntimeState("completed")),
        ({"status": "completed", "generated_files": {}}, RuntimeState("completed", {})),
        (
            {
                "status": "completed",
                "generated_files": {"/a": "x", "/b": 7, "/c": None, "/d": {"content": ["y"]}},
            },
            RuntimeState(
                "completed", {"/a": File(b"x"), "/b": File(b"7", unreadable=True), "/d": File(b"y")}
            ),
        ),
        ({"status": "failed", "error": {"message": "broke"}}, RuntimeState("failed", error="broke")),
        ({"status": "failed", "error": "late"}, RuntimeState("failed", error="late")),
        ({"status": "failed", "error": [1]}, RuntimeState("failed", error="[1]")),
    ],
)
async def test_a_state_is_read_leniently(body: object, state: RuntimeState) -> None:
    async def answerer(head: bytes, request: bytes, writer: asyncio.StreamWriter) -> bytes:
        return answer(200, json.dumps(body, separators=(",", ":")).encode())

    async with http_server(answerer) as base, DeepagentsRuntime(base) as runtime:
        assert await runtime.state(THREAD) == state


# Streams.


async def test_a_frame_of_16_mib_and_frames_of_any_bytes_are_taken() -> None:
    sent: list[str | bytes] = ["x" * (16 << 20), "", "\u2028\u0085", b"\xff\x00", "no json"]

    async def script(connection: ServerConnection) -> None:
        for frame in sent:
            await connection.send(frame)

    async with (
        stream_server(script) as base,
        DeepagentsRuntime(base) as runtime,
        frames_of(runtime, THREAD) as stream,
    ):
        received = [frame async for frame in stream]
    assert received == [frame.encode() if isinstance(frame, str) else frame for frame in sent]


async def test_a_frame_that_is_too_large_is_skipped_and_named() -> None:
    async def script(connection: ServerConnection) -> None:
        for frame in ("x" * 1000, "x" * 1001, b"y" * 3_000_000, "z"):
            await connection.send(frame)

    async with (
        stream_server(script) as base,
        DeepagentsRuntime(base, max_frame_bytes=1000) as runtime,
        frames_of(runtime, THREAD) as stream,
    ):
        received = [frame async for frame in stream]
    assert received == [b"x" * 1000, OversizedFrame(1001), OversizedFrame(3_000_000), b"z"]


@pytest.mark.parametrize("code", [1001, 1008, 1011, 4000])
async def test_a_close_with_another_code_is_not_a_proper_end(code: int) -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send("one")
        await connection.close(code, "secret reason")

    async with (
        stream_server(script) as base,
        DeepagentsRuntime(base) as runtime,
        frames_of(runtime, THREAD) as stream,
    ):
        assert await anext(stream) == b"one"
        with pytest.raises(StreamClosed, match=str(code)) as closed:
            await anext(stream)
    assert "secret" not in str(closed.value)


async def test_a_connection_that_breaks_is_not_a_proper_end() -> None:
    aborted = asyncio.Event()

    async def script(connection: ServerConnection) -> None:
        await connection.send("one")
        # The client reads "one" first: an abort may throw away what was sent.
        await aborted.wait()
        connection.transport.abort()

    async with (
        stream_server(script) as base,
        DeepagentsRuntime(base) as runtime,
        frames_of(runtime, THREAD) as stream,
    ):
        assert await anext(stream) == b"one"
        aborted.set()
        with pytest.raises(StreamClosed, match="broke"):
            await anext(stream)


async def test_a_refused_handshake_has_its_status() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return Response(503, "Busy", Headers())

    async def script(connection: ServerConnection) -> None:
        pytest.fail("the stream opened")

    async with stream_server(script, refuse=refuse) as base, DeepagentsRuntime(base) as runtime:
        with pytest.raises(RuntimeRefused) as refused:
            async with runtime.stream(THREAD):
                pytest.fail("the stream opened")
    assert refused.value.status == 503


async def test_a_handshake_that_is_not_answered_is_given_up() -> None:
    async def answerer(head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with http_server(answerer) as base, DeepagentsRuntime(base, handshake_s=0.05) as runtime:
        with pytest.raises(RuntimeUnavailable, match="in time"):
            async with runtime.stream(THREAD):
                pytest.fail("the stream opened")
