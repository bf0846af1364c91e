"""Floods of the gRPC port: calls that never send, messages that never end, frames without meaning."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import grpc.aio
from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

from server.wire import messages as m
from tests.hostile.attacks import http2
from tests.hostile.attacks.attack import Aim, Family, told
from tests.hostile.attacks.http2 import Connection, connection, frame, message
from tests.hostile.attacks.sockets import silent

FAMILY = Family("floods of the gRPC port")
CONNECTIONS, STREAMS, AT_ONCE = 6, 2000, 25
#: Frames that are sent at a time, and all together at most.
BLOCK, MAX_FRAMES = 1000, 2_000_000
#: Rapid resets at most.
MAX_RESETS = 60_000
MIB = 1 << 20


async def _hold(
    aim: Aim, path: str, token: str = "", data: bytes | None = None, *, ends: bool = False
) -> str:
    """Keep as many calls as possible open: 6 connections with 2,000 each, filled up again."""
    until = time.monotonic() + aim.seconds
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(aim.grpc)) for _ in range(CONNECTIONS)]
        while time.monotonic() < until:
            for each in held:
                for _ in range(min(AT_ONCE, STREAMS - each.active)):
                    each.call(path, token, data, ends=ends)
                await each.drain()
            await asyncio.sleep(0.02)
        closed = sum(each.closed_s is not None for each in held)
        calls, active = sum(each.calls for each in held), sum(each.active for each in held)
    return f"{calls} calls, {active} open at the end, {closed} of {CONNECTIONS} connections closed"


@FAMILY.attack()
async def grpc_calls_without_a_request(aim: Aim) -> str:
    """A stranger's calls whose request never comes."""
    return await _hold(aim, http2.LIST_PROPOSALS)


@FAMILY.attack()
async def grpc_calls_of_an_account(aim: Aim) -> str:
    """An account's calls whose request never comes."""
    return await _hold(aim, http2.LIST_PROPOSALS, aim.token)


@FAMILY.attack()
async def grpc_calls_of_a_link(aim: Aim) -> str:
    """A share link's calls whose request never comes."""
    return await _hold(aim, http2.GET_PROPOSAL, aim.link)


@FAMILY.attack()
async def grpc_forged_tokens(aim: Aim) -> str:
    """A stranger's calls with forged tokens."""
    return await _hold(aim, http2.LIST_PROPOSALS, "x.y.z", message(b""), ends=True)


@FAMILY.attack()
async def grpc_unknown_methods(aim: Aim) -> str:
    """A stranger's calls of methods that do not exist."""
    return await _hold(aim, "/nope/Nope")


@FAMILY.attack()
async def grpc_health_watches(aim: Aim) -> str:
    """A stranger's health watches."""
    return await _hold(aim, http2.HEALTH_WATCH, data=message(b""), ends=True)


@FAMILY.attack()
async def grpc_half_health_checks(aim: Aim) -> str:
    """A stranger's health checks whose message never ends."""
    return await _hold(aim, http2.HEALTH_CHECK, data=message(b"", size=5))


async def _half(aim: Aim, path: str, token: str = "") -> str:
    """Send messages of 4 MiB without their last byte, on 60 streams."""
    data = message(bytes(4 * MIB - 1), size=4 * MIB)
    async with connection(aim.grpc) as made:
        await asyncio.sleep(0.2)
        sending = [asyncio.ensure_future(made.send(made.call(path, token), data)) for _ in range(60)]
        _, pending = await asyncio.wait(sending, timeout=aim.seconds)
        for each in pending:
            each.cancel()
        return f"{60 - len(pending)} of 60 sent, {len(made.ended)} refused, closed: {made.closed_s}"


@FAMILY.attack()
async def grpc_half_messages(aim: Aim) -> str:
    """A stranger's messages of 4 MiB, of which the last byte never comes."""
    return await _half(aim, http2.LIST_PROPOSALS)


@FAMILY.attack()
async def grpc_half_messages_of_an_account(aim: Aim) -> str:
    """An account's messages of 4 MiB, of which the last byte never comes."""
    return await _half(aim, http2.LIST_PROPOSALS, aim.token)


async def flood(aim: Aim, unit: bytes, *, call: bool = False, begun: bytes = b"") -> str:
    """Send a unit without end; `call`: within a call."""
    until, sent = time.monotonic() + aim.seconds, 0
    closed = 0
    while time.monotonic() < until and sent < MAX_FRAMES:
        async with connection(aim.grpc) as made:
            if call:
                made.call(http2.LIST_PROPOSALS, aim.token)
            made.write(begun)
            while time.monotonic() < until and made.closed_s is None and sent < MAX_FRAMES:
                made.write(unit * BLOCK)
                sent += BLOCK
                with suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        await made.drain()
            closed += made.closed_s is not None
        await asyncio.sleep(0.05)
    return f"{sent:,} frames, {closed} connections closed by the hub"


@FAMILY.attack()
async def grpc_pings(aim: Aim) -> str:
    """A stranger sends pings without end."""
    return await flood(aim, frame(http2.PING, data=b"12345678"))


@FAMILY.attack()
async def grpc_settings(aim: Aim) -> str:
    """A stranger sends settings without end."""
    return await flood(aim, frame(http2.SETTINGS))


@FAMILY.attack()
async def grpc_empty_data(aim: Aim) -> str:
    """An account sends empty data frames of a call without end."""
    return await flood(aim, frame(http2.DATA, 0, 1), call=True)


@FAMILY.attack()
async def grpc_windows(aim: Aim) -> str:
    """A stranger sends updates of the connection's window without end."""
    return await flood(aim, frame(http2.WINDOW, 0, 0, b"\0\0\0\1"))


@FAMILY.attack()
async def grpc_continuations(aim: Aim) -> str:
    """A stranger sends a call's header fields in empty pieces without end."""
    return await flood(aim, frame(http2.CONTINUATION, 0, 1), begun=frame(http2.HEADERS, 0, 1))


@FAMILY.attack()
async def grpc_resets(aim: Aim) -> str:
    """An account's calls that are reset as soon as they begin, 60,000 at most."""
    until, sent = time.monotonic() + aim.seconds, 0
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connection(aim.grpc)) for _ in range(4)]
        while time.monotonic() < until and sent < MAX_RESETS and any(not each.closed_s for each in held):
            for each in held:
                _reset_calls(each, aim.token)
                sent += 100
                with suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        await each.drain()
        return f"{sent:,} calls, {sum(each.closed_s is not None for each in held)} of 4 connections closed"


def _reset_calls(made: Connection, token: str) -> None:
    for _ in range(100):
        stream = made.call(http2.LIST_PROPOSALS, token)
        made.write(frame(http2.RESET, 0, stream, b"\0\0\0\x08"))


@FAMILY.attack()
async def grpc_churn(aim: Aim) -> str:
    """A stranger opens connections, asks for the health on each, and leaves, 20 at a time."""
    return await churn(aim, 20, 0.02, lambda _: (http2.HEALTH_CHECK, ""))


async def churn(aim: Aim, count: int, stay_s: float, call: Callable[[int], tuple[str, str]]) -> str:
    """So many connections at a time, each left for another after one call. call: the method and the token of
    the call on the connection of a number."""
    until, opened = time.monotonic() + aim.seconds, 0

    async def one() -> None:
        nonlocal opened
        while time.monotonic() < until:
            with suppress(OSError):
                async with connection(aim.grpc) as made:
                    path, token = call(opened)
                    opened += 1
                    made.call(path, token, message(b""), ends=True)
                    await made.drain()
                    await asyncio.sleep(stay_s)

    await asyncio.gather(*(one() for _ in range(count)))
    return f"{opened} connections"


@FAMILY.attack()
async def grpc_silent(aim: Aim) -> str:
    """1,000 connections that say nothing, and 1,000 that say hello and make no call."""
    hello = http2.PREFACE + frame(http2.SETTINGS)
    found = await asyncio.gather(
        *(silent(aim.grpc, first, count=1000, seconds=aim.seconds) for first in (b"", hello))
    )
    return "; ".join(found)


def _definition(unit: Value) -> bytes:
    """A request for a workflow whose definition is a list of units, of nearly 4 MiB."""
    definition = Struct()
    definition.fields["x"].list_value.values.extend([unit] * 980_000)
    return m.CreateWorkflowRequest(name="w", agent_definition=definition).SerializeToString()


async def _send(aim: Aim, path: str, token: str, bodies: Sequence[bytes]) -> str:
    """Three calls at a time with these requests."""
    metadata = (("authorization", f"Bearer {token}"),)
    until, codes = time.monotonic() + aim.seconds, Counter[str]()

    async def one(call: Any, body: bytes) -> None:
        while time.monotonic() < until:
            try:
                await call(body, metadata=metadata, timeout=30)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

    async with grpc.aio.insecure_channel(aim.grpc) as channel:
        call: Any = channel.unary_unary(f"{http2.SERVICE}{path}")
        await asyncio.gather(*(one(call, bodies[number % len(bodies)]) for number in range(3)))
    return told(codes)


@FAMILY.attack()
async def grpc_definitions(aim: Aim) -> str:
    """Three calls at a time with workflows of 4 MiB of nulls and of empty lists."""
    bodies = [_definition(Value(null_value=NullValue.NULL_VALUE)), _definition(Value(list_value=ListValue()))]
    return await _send(aim, "WorkflowService/CreateWorkflow", aim.token, bodies)


@FAMILY.attack()
async def grpc_empty_fields(aim: Aim) -> str:
    """A share link's requests of 4 MiB of fields without content."""
    return await _send(aim, "ProposalService/GetProposal", aim.link, [b"\x1a\x00" * (2 * MIB - 1)])


@FAMILY.attack()
async def grpc_empty_decisions(aim: Aim) -> str:
    """An account's requests with 600,000 decisions without content."""
    head = m.SetDecisionsRequest(proposal_id=aim.proposal_id).SerializeToString()
    return await _send(aim, "ReviewService/SetDecisions", aim.token, [head + b"\x1a\x00" * 600_000])


@FAMILY.attack()
async def grpc_long_numbers(aim: Aim) -> str:
    """A share link's requests of a number of 4 MiB."""
    return await _send(aim, "ProposalService/GetProposal", aim.link, [b"\xff" * (4 * MIB - 1)])
