"""Callers of the corpus in other languages: programs that make calls with a client and stubs of their own.

A program reads a call from each line of its input, makes it, and prints its outcome as a line. It knows
neither the cases nor what they give, so all languages have the same cases and the same judge.
"""

from __future__ import annotations

import json
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from google.protobuf.json_format import MessageToDict, ParseDict

from ide_orchestrator.client.responses import problem_of
from ide_orchestrator.client.retrying import authorization
from ide_orchestrator.conformance.callers import Call
from ide_orchestrator.conformance.connect_channel import error_of_connect
from ide_orchestrator.conformance.grpc_calls import over_grpc
from ide_orchestrator.conformance.http_calls import over_http, with_client
from ide_orchestrator.conformance.target import Target

#: The headers that cases set; a program's library sets the others.
_HEADERS = ("content-type", "idempotency-key", "if-match")


class CallerProgram:
    """A running program."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, **call: Any) -> dict[str, Any]:
        """The outcome of a call; `over` says how it is made."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call).encode() + b"\n")
        line = await self._process.stdout.readline()
        assert line, f"the program ended at {call}"
        outcome: dict[str, Any] = json.loads(line)
        assert outcome.keys() != {"failure"}, f"{outcome['failure']}, at {call}"
        return outcome

    @asynccontextmanager
    async def caller(self, name: str, target: Target) -> AsyncIterator[Call]:
        """What makes a case's calls: `rest`, `client` (the client over HTTP), or a protocol of the stubs."""
        if name == "rest":
            headers = authorization(target.token)
            transport = _Transport(self, target)
            async with httpx.AsyncClient(
                base_url=target.http, headers=headers, transport=transport, trust_env=False
            ) as http:
                yield lambda call, given: over_http(http, call, given)
        elif name == "client":
            client: Any = _Client(self, target)
            yield lambda call, given: with_client(client, call, given)
        else:
            channel: Any = _Channel(self, name, target)
            yield lambda call, given: over_grpc(channel, (), call, given)


class _Transport(httpx.AsyncBaseTransport):
    """Requests of httpx, made by a program."""

    def __init__(self, program: CallerProgram, target: Target) -> None:
        self._program, self._target = program, target

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._program.ask(
            over="rest",
            token=self._target.token,
            method=request.method,
            path=request.url.raw_path.decode(),
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
            body=(await request.aread()).decode(),
        )
        return httpx.Response(answer["status"], headers=answer["headers"], content=answer["body"].encode())


class _Client:
    """What `with_client` needs of a client, made by a program's client."""

    def __init__(self, program: CallerProgram, target: Target) -> None:
        self._program, self._target = program, target

    async def call(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str]) -> Any:
        answer = await self._program.ask(
            over="client", token=self._target.token, method=method, path=path, headers=headers, body=body
        )
        if "problem" in answer:
            problem = json.dumps(answer["problem"]).encode()
            raise problem_of(answer["status"], {}, problem, self._target.http)
        return answer["value"]


class _Channel:
    """What stubs need of a channel; the calls are made by a program's stubs."""

    def __init__(self, program: CallerProgram, name: str, target: Target) -> None:
        self._program, self._name, self._target = program, name, target

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any) -> Any:
        async def call(request: Any, *, metadata: Any = ()) -> Any:
            answer = await self._program.ask(
                over=self._name, token=self._target.token, method=path, message=MessageToDict(request)
            )
            if "error" in answer:
                raise error_of_connect(answer["error"])
            return ParseDict(answer["message"], response_deserializer.__self__())

        return call


@asynccontextmanager
async def caller_program(*command: str, folder: Path) -> AsyncIterator[CallerProgram]:
    """A running program. What it writes about errors is in this process's output."""
    process = await create_subprocess_exec(*command, cwd=folder, stdin=PIPE, stdout=PIPE, limit=64 << 20)
    try:
        yield CallerProgram(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
