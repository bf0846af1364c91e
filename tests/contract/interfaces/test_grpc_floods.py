"""What a gRPC client may send, or not send, with and without a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.grpc.admission import OF_STRANGER
from server.grpc.app import DEFAULT_LIMITS, server_options
from server.grpc.public_streams import MAX_STREAMS_OF_ONE
from server.wire import messages as m
from tests.hostile.attacks import http2
from tests.support.certificates import Authority, write
from tests.support.grpc_interface import GrpcHub, open_grpc_hub, refusal_of
from tests.support.hand_clock import PATIENCE_S, retried, until
from tests.support.hub import running_hub

CONNECTION_OF_ITS_OWN = [("grpc.use_local_subchannel_pool", 1)]
PROPOSALS = "/ide_orchestrator.v1.ProposalService/ListProposals"
ABORTED, UNAUTHENTICATED = grpc.StatusCode.ABORTED, grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def hub(database: str) -> AsyncIterator[GrpcHub]:
    async with open_grpc_hub(database) as opened:
        yield opened


def silent_call(hub: GrpcHub, method: str, metadata: Any = ()) -> Any:
    """A call that sends no request, and no end."""
    call = hub.channel.stream_unary(method)

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    return call(nothing(), metadata=metadata)


async def code_of(call: Any) -> grpc.StatusCode:
    """How the call ends."""
    async with asyncio.timeout(PATIENCE_S):
        code: grpc.StatusCode = await call.code()
    return code


async def test_a_refusal_does_not_wait_for_the_request(hub: GrpcHub) -> None:
    calls = [silent_call(hub, PROPOSALS, metadata) for metadata in ((), (("authorization", "Bearer x"),))]
    assert [await code_of(call) for call in calls] == [UNAUTHENTICATED] * 2


async def test_a_request_that_does_not_arrive_is_given_up(database: str) -> None:
    async with open_grpc_hub(database, request_s=0.5) as hub:
        ann = hub.caller()
        for method, metadata in ((PROPOSALS, ann.metadata), ("/grpc.health.v1.Health/Check", ())):
            call = silent_call(hub, method, metadata)
            assert await code_of(call) is ABORTED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert refusal_of(caught.value).reason == "reader_too_slow"


async def test_a_call_that_ends_without_a_request_is_an_invalid_argument(hub: GrpcHub) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for each in ():
            yield each

    call = hub.channel.stream_unary(PROPOSALS)(nothing(), metadata=hub.caller().metadata)
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_comes_after_the_request_is_ignored(hub: GrpcHub) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b""

    answer = await hub.channel.stream_unary(PROPOSALS)(endless(), metadata=hub.caller().metadata)
    assert m.ListProposalsResponse.FromString(answer) == m.ListProposalsResponse()


async def test_calls_that_are_refused_wait_when_they_are_many_and_others_do_not(hub: GrpcHub) -> None:
    ann, method = hub.caller(), hub.channel.unary_unary(PROPOSALS)
    # More than are refused in twenty seconds.
    many = int(OF_STRANGER.burst + 20 * OF_STRANGER.per_s)
    flood = [method(b"") for _ in range(many)]
    assert await code_of(flood[0]) is UNAUTHENTICATED
    assert await ann.proposals.ListProposals(m.ListProposalsRequest(), metadata=ann.metadata) is not None
    assert not all(call.done() for call in flood)
    for call in flood:
        call.cancel()


async def test_calls_that_wait_too_long_are_refused_whatever_the_method(database: str) -> None:
    async with open_grpc_hub(database, turn_s=0.05) as hub:
        health = "/grpc.health.v1.Health/Check"
        for name, code in ((PROPOSALS, UNAUTHENTICATED), (health, grpc.StatusCode.OK)):
            async with grpc.aio.insecure_channel(hub.address, CONNECTION_OF_ITS_OWN) as channel:
                calls = [channel.unary_unary(name)(b"") for _ in range(300)]
                codes = [await code_of(call) for call in calls]
                assert set(codes) == {code, EXHAUSTED}
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await calls[codes.index(EXHAUSTED)]
                assert refusal_of(caught.value).reason == "limit_reached"
        ann = hub.caller()
        assert await ann.workflow()


async def test_watches_of_the_health_leave_calls_to_others(database: str) -> None:
    async with open_grpc_hub(database, max_calls=MAX_STREAMS_OF_ONE + 2) as hub:
        health: Any = health_pb2_grpc.HealthStub(hub.channel)
        request = health_pb2.HealthCheckRequest()
        watches = [health.Watch(request) for _ in range(MAX_STREAMS_OF_ONE)]
        for watch in watches:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert await code_of(health.Watch(request)) is EXHAUSTED
        assert (await health.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        assert await hub.caller().workflow()
        watches[0].cancel()
        hub.interface.health.not_serving()
        assert (await watches[1].read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for watch in watches[1:]:
            watch.cancel()


async def test_watchers_of_the_health_that_read_nothing_delay_no_report(database: str) -> None:
    async with open_grpc_hub(database, write_s=0.3) as hub:
        writer = await call_without_a_window(hub.address, http2.HEALTH_WATCH)
        health: Any = health_pb2_grpc.HealthStub(hub.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        for status, report in (("SERVING", None), ("NOT_SERVING", hub.interface.health.not_serving)):
            if report is not None:
                report()
            async with asyncio.timeout(PATIENCE_S):
                response = await watch.read()
            assert response.status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        watch.cancel()
        writer.close()


async def test_an_answer_that_its_client_does_not_take_counts_as_a_slow_readers_until_its_connection_ends(
    database: str, logged: list[Any]
) -> None:
    def slow() -> list[Any]:
        return [entry for entry in logged if entry["event"] == "slow_reader"]

    async with open_grpc_hub(database, write_s=1) as hub:
        outgoing = hub.core.outgoing
        path = f"{http2.SERVICE}UserService/GetMe"
        writer = await call_without_a_window(hub.address, path, hub.caller().token)
        await until(lambda: outgoing.used_bytes > 0)
        in_use = outgoing.used_bytes
        await until(lambda: len(slow()) == 1)
        # It is in memory twice, and nobody else waits for it.
        assert outgoing.used_bytes == 2 * in_use
        assert await hub.caller("bob@example.com").workflow()
        assert len(slow()) == 1
        writer.close()
        await until(lambda: outgoing.used_bytes == 0)


async def call_without_a_window(address: str, path: str, token: str = "") -> asyncio.StreamWriter:
    """Call a method with an empty request, and take nothing of its answer: a window of 0 bytes, and the call
    on the first stream."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        http2.PREFACE
        + http2.frame(http2.SETTINGS, data=b"\x00\x04\0\0\0\0")
        + http2.frame(http2.SETTINGS, http2.ACK)
        + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.fields(path, token))
        + http2.frame(http2.DATA, http2.END_STREAM, 1, http2.message(b""))
    )
    await reader.read(1)
    return writer


async def test_compressed_requests_are_refused(hub: GrpcHub) -> None:
    request = m.ListProposalsRequest(page_token="x" * 5000).SerializeToString()
    method = hub.channel.unary_unary(PROPOSALS)
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        call = method(request, metadata=hub.caller().metadata, compression=compression)
        assert await code_of(call) is grpc.StatusCode.UNIMPLEMENTED


# --- Connections --------------------------------------------------------------------------------


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection; without limits it would keep it for minutes."""
    with suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while await reader.read(65536):
                pass
    return True


async def test_connections_have_a_number_and_must_speak_and_call(database: str) -> None:
    limits: dict[str, Any] = {"max_connections": 3, "handshake_s": 1.0, "connection_idle_s": 1.0}
    async with open_grpc_hub(database, **limits) as hub:
        host, _, port = hub.address.rpartition(":")
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        try:
            for (_, writer), sent in zip(
                opened, (b"", preface[:10], preface + http2.frame(http2.SETTINGS)), strict=True
            ):
                writer.write(sent)
            too_many, writer = await asyncio.open_connection(host, int(port))
            opened.append((too_many, writer))
            assert await ended(too_many)
            for reader, _ in opened[:3]:
                assert await ended(reader)
            # grpc counts a connection for a moment longer than its client sees it.
            assert await retried(hub.caller().workflow, grpc.aio.AioRpcError)
        finally:
            for _, writer in opened:
                writer.close()


def test_the_limits_of_connections_are_those_that_grpc_knows() -> None:
    """grpc ignores an argument that it does not know: the tests above show that these work."""
    options = dict(server_options(DEFAULT_LIMITS, reuse_port=False))
    assert options["grpc.server_handshake_timeout_ms"] == 10_000
    assert options["grpc.max_connection_idle_ms"] == 20_000
    assert options["grpc.max_allowed_incoming_connections"] == 10_000


async def test_a_peer_that_is_not_listed_does_not_even_get_the_health(database: str, tmp_path: Any) -> None:
    ours = Authority()
    certificate, key = write(tmp_path, ours.pair("localhost", "127.0.0.1"))
    authority = tmp_path / "ca.crt"
    authority.write_bytes(ours.pem)
    tls: dict[str, Any] = {
        "grpc_certificate": certificate,
        "grpc_key": key,
        "grpc_client_ca": authority,
        "grpc_allowed_sans": ("billing.internal",),
    }
    async with running_hub(database, **tls) as hub:
        for name, code in (
            ("billing.internal", grpc.StatusCode.OK),
            ("other.internal", grpc.StatusCode.PERMISSION_DENIED),
        ):
            pair = ours.pair(name)
            credentials = grpc.ssl_channel_credentials(ours.pem, pair.key, pair.certificate)
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with grpc.aio.secure_channel(hub.grpc, credentials, options) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                assert await code_of(health.Check(health_pb2.HealthCheckRequest())) is code
