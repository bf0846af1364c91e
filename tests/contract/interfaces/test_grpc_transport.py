"""TLS of the gRPC port, who may connect, and what one connection may take."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from server.grpc.app import DEFAULT_LIMITS, server_options
from server.grpc.transport import Files, Tls
from server.settings.loading import SettingsError, load
from server.wire import messages as m
from tests.support.certificates import Authority, Pair, write
from tests.support.grpc_interface import Caller, open_grpc_hub, refusal_of
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.hub import RunningHub, running_hub

UNAVAILABLE, UNAUTHENTICATED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED
OURS, OTHERS = Authority(), Authority("others")


@asynccontextmanager
async def caller(
    hub: RunningHub, roots: bytes, pair: Pair | None = None, **token: str
) -> AsyncIterator[Caller]:
    """Somebody on a connection of their own."""
    credentials = grpc.ssl_channel_credentials(roots, pair and pair.key, pair and pair.certificate)
    # Else grpc shares connections between channels of equal settings.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(hub.grpc, credentials, options) as channel:
        yield Caller(channel, token.get("token", hub.token()))


async def listed(hub: RunningHub, roots: bytes, pair: Pair | None = None, **token: str) -> Any:
    """What listing proposals comes to: the status code."""
    async with caller(hub, roots, pair, **token) as somebody:
        try:
            await somebody.proposals.ListProposals(m.ListProposalsRequest(), metadata=somebody.metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def files(folder: Path, **more: Any) -> dict[str, Any]:
    """Settings for TLS."""
    certificate, key = write(folder, OURS.pair("localhost", "127.0.0.1"))
    return {"grpc_certificate": certificate, "grpc_key": key} | more


async def test_with_a_certificate_the_port_speaks_tls_alone(database: str, tmp_path: Path) -> None:
    async with running_hub(database, **files(tmp_path)) as hub:
        assert await listed(hub, OURS.pem) is grpc.StatusCode.OK
        assert await listed(hub, OTHERS.pem) is UNAVAILABLE
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            plain = Caller(channel, hub.token())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await plain.proposals.ListProposals(m.ListProposalsRequest(), metadata=plain.metadata)
            assert caught.value.code() is UNAVAILABLE


async def test_with_an_authority_clients_need_a_certificate_of_it_and_a_token(
    database: str, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(OURS.pem)
    async with running_hub(database, **files(tmp_path, grpc_client_ca=authority)) as hub:
        good = OURS.pair("billing.internal")
        assert await listed(hub, OURS.pem, good) is grpc.StatusCode.OK
        assert await listed(hub, OURS.pem, good, token="x") is UNAUTHENTICATED
        for bad in (None, OTHERS.pair("billing.internal"), OURS.pair("billing.internal", expired=True)):
            assert await listed(hub, OURS.pem, bad) is UNAVAILABLE


async def test_of_certified_peers_those_on_the_list_may_call(database: str, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(OURS.pem)
    settings = files(tmp_path, grpc_client_ca=authority, grpc_allowed_sans=("billing.internal", "10.0.0.7"))
    async with running_hub(database, **settings) as hub:
        for names, code in (
            (("billing.internal",), grpc.StatusCode.OK),
            (("other.internal", "billing.internal"), grpc.StatusCode.OK),
            (("10.0.0.7",), grpc.StatusCode.OK),
            (("billing.internal.evil.example",), grpc.StatusCode.PERMISSION_DENIED),
            (("illing.internal",), grpc.StatusCode.PERMISSION_DENIED),
            ((), grpc.StatusCode.PERMISSION_DENIED),
        ):
            assert await listed(hub, OURS.pem, OURS.pair(*names)) is code, names
        async with caller(hub, OURS.pem, OURS.pair("x.internal")) as stranger:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stranger.watch("00000000-0000-4000-8000-000000000000").read()
            assert refusal_of(caught.value).reason == "permission_denied"


async def test_a_rotated_certificate_is_used_without_a_restart(database: str, tmp_path: Path) -> None:
    async with running_hub(database, **files(tmp_path)) as hub:
        assert await listed(hub, OURS.pem) is grpc.StatusCode.OK
        write(tmp_path, OTHERS.pair("localhost", "127.0.0.1"))
        assert await listed(hub, OTHERS.pem) is grpc.StatusCode.OK
        assert await listed(hub, OURS.pem) is UNAVAILABLE
        (tmp_path / "tls.key").unlink()
        assert await listed(hub, OTHERS.pem) is grpc.StatusCode.OK


def test_the_files_of_a_certificate_are_read_only_when_they_have_changed(tmp_path: Path) -> None:
    certificate, key = write(tmp_path, OURS.pair("localhost"))
    for path in (certificate, key):
        os.utime(path, (1_000, 1_000))
    found = Files(Tls(certificate, key), now=lambda: 5_000.0)
    # Of the same size and time: reading it would find the difference.
    key.write_bytes(b"x" * key.stat().st_size)
    os.utime(key, (1_000, 1_000))
    assert found.changed() is None
    os.utime(key, (1_001, 1_001))
    assert found.changed() is not None
    assert found.changed() is None


def test_the_files_of_a_certificate_that_were_just_written_are_read_again(tmp_path: Path) -> None:
    certificate, key = write(tmp_path, OURS.pair("localhost"))
    found = Files(Tls(certificate, key), now=lambda: key.stat().st_mtime)
    written = key.stat()
    key.write_bytes(b"x" * written.st_size)
    os.utime(key, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert found.changed() is not None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"grpc_key": "key"}, "IDEO_GRPC_CERTIFICATE"),
        ({"grpc_certificate": "key"}, "IDEO_GRPC_KEY"),
        ({"grpc_allowed_sans": "a, b"}, "IDEO_GRPC_CLIENT_CA"),
        ({"grpc_certificate": "absent", "grpc_key": "key"}, "IDEO_GRPC_CERTIFICATE"),
    ],
)
def test_tls_settings_that_are_not_whole_are_named(tmp_path: Path, given: dict[str, Any], named: str) -> None:
    (tmp_path / "key").write_text("x")
    paths = {
        name: tmp_path / value if name != "grpc_allowed_sans" else value for name, value in given.items()
    }
    with pytest.raises(SettingsError) as wrong:
        load(env="dev", **paths)
    assert [problem.split(":")[0] for problem in wrong.value.problems] == [named]


# --- What one connection may take ---------------------------------------------------------------


async def test_calls_above_the_limit_are_refused_and_those_under_way_go_on(database: str) -> None:
    async with open_grpc_hub(database, max_calls=1) as hub:
        ann = hub.caller()
        refinement = await ann.start("[[replay:short_run silent=20]]")
        watch = ann.watch(refinement.thread_id)
        await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ann.workflow()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await watch.read()
        watch.cancel()


async def test_an_old_connection_is_asked_to_go_and_a_watch_goes_on_from_its_cursor(database: str) -> None:
    async with open_grpc_hub(database, connection_age_s=0.3, connection_grace_s=0.3) as hub:
        ann = hub.caller()
        refinement = await ann.start("[[replay:short_run silent=20]]")
        last = 0

        async def _to_its_end() -> None:
            nonlocal last
            async for response in ann.watch(refinement.thread_id, last):
                for event in response.batch.events:
                    assert event.seq == last + 1
                    last = event.seq

        ends = 0
        # A connection may be old before anything came.
        async with asyncio.timeout(PATIENCE_S):
            while ends < 2 or last <= 10:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await _to_its_end()
                assert caught.value.code() is UNAVAILABLE
                ends += 1


#: Watches from its arguments: address, token, thread. Says when it has the first message.
READER = """
import sys, grpc
from ide_orchestrator.v1 import refinement_pb2, refinement_pb2_grpc
address, token, thread = sys.argv[1:]
stub = refinement_pb2_grpc.RefinementServiceStub(grpc.insecure_channel(address))
request = refinement_pb2.WatchRefinementRequest(thread_id=thread)
for _ in stub.WatchRefinement(request, metadata=(("authorization", "Bearer " + token),)):
    print(flush=True)
"""


async def test_a_process_that_is_stopped_loses_its_place_and_a_quiet_one_that_runs_does_not(
    database: str,
) -> None:
    async with open_grpc_hub(database, keepalive_s=0.5, ping_timeout_s=3) as hub:
        ann = hub.caller()
        thread = (await ann.start("[[replay:short_run silent=20]]")).thread_id
        quiet = ann.watch(thread)
        await quiet.read()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READER, hub.address, ann.token, thread, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
            assert hub.core.broadcaster.readers == 2
            process.send_signal(signal.SIGSTOP)
            await until(lambda: hub.core.broadcaster.readers == 1)
            # Its kernel still acknowledges what the hub sends: only a ping's answer shows that it is gone.
            assert process.returncode is None
        finally:
            process.kill()
            await process.wait()
        assert hub.core.broadcaster.readers == 1
        quiet.cancel()


def test_a_client_that_does_not_answer_is_gone_within_45_seconds() -> None:
    options = dict(server_options(DEFAULT_LIMITS, reuse_port=False))
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] == 45_000


async def test_metadata_that_is_too_large_is_refused(database: str) -> None:
    async with open_grpc_hub(database) as hub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hub.caller().proposals.ListProposals(
                m.ListProposalsRequest(), metadata=(("authorization", "Bearer " + "x" * 20_000),)
            )
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
