"""Each face as a caller and as a watcher, with one way of telling outcomes.

Two pieces per face: `caller` makes the calls that cases name, `watcher` gives a thread's events behind
a cursor as proto-JSON objects (the seed's socket: its frames, as objects).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import httpx
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from websockets.asyncio.client import connect

from ide_orchestrator.v1 import (
    proposal_pb2,
    proposal_pb2_grpc,
    refinement_pb2,
    refinement_pb2_grpc,
    workflow_pb2,
    workflow_pb2_grpc,
)
from tests.support.hub import RunningHub

Call = Callable[[str, Mapping[str, Any]], Awaitable["Outcome"]]


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a value, or an error's code with the fields that it names."""

    value: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    fields: frozenset[str] | None = None

    @classmethod
    def of_case(cls, gives: Mapping[str, Any]) -> Outcome:
        """What a case of the corpus says."""
        fields = frozenset(gives["fields"]) if "fields" in gives else None
        return cls(gives.get("value", {}), gives.get("code"), fields)

    def difference(self, other: Outcome) -> str:
        """What another outcome has that this one, the expected, has not; empty when it fits."""
        if self.code != other.code:
            return f"code {other.code} with {dict(other.value)}, not {self.code}"
        if self.fields is not None and self.fields != other.fields:
            return f"fields {sorted(other.fields or ())}, not {sorted(self.fields)}"
        wrong = {
            key: other.value.get(key) for key, value in self.value.items() if other.value.get(key) != value
        }
        return f"{wrong}, not {dict(self.value)}" if wrong else ""


# --- Calls over HTTP ---------------------------------------------------------------------------


#: What HTTP calls otherwise than gRPC, in the words of gRPC.
_FIELDS = {"Idempotency-Key": "request_id"}


class _Rest:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, name: str, given: Mapping[str, Any]) -> Outcome:
        rest = dict(given)
        method, path = {
            "create_workflow": ("POST", "/api/workflows"),
            "get_workflow": ("GET", f"/api/workflows/{rest.pop('workflow_id', '')}"),
            "list_workflows": ("GET", "/api/workflows"),
            "start": ("POST", f"/api/workflows/{given.get('workflow_id', '')}/refinements"),
            "get": ("GET", f"/api/refinements/{given.get('thread_id', '')}"),
            "cancel": ("POST", f"/api/refinements/{given.get('thread_id', '')}/cancel"),
            "list_events": ("GET", f"/api/refinements/{given.get('thread_id', '')}/events"),
            "get_proposal": ("GET", f"/api/proposals/{given.get('proposal_id', '')}"),
            "list_proposals": ("GET", "/api/proposals"),
        }[name]
        for used in ("thread_id", "proposal_id"):
            rest.pop(used, None)
        if "page_token" in rest:
            rest["cursor"] = rest.pop("page_token")
        headers = {"Idempotency-Key": rest.pop("request_id")} if "request_id" in rest else {}
        if method == "POST":
            sent = rest if name in ("start", "create_workflow") else None
            answer = await self._http.post(path, json=sent, headers=headers)
        else:
            answer = await self._http.get(path, params=rest)
        body = answer.json()
        if answer.is_error:
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert body["status"] == answer.status_code
            fields = None
            if "fields" in body:
                fields = frozenset(_FIELDS.get(named, named) for named in body["fields"])
            return Outcome(code=body["code"], fields=fields)
        if name == "start":
            body["replayed"] = "idempotency-replayed" in answer.headers
        if name in ("list_workflows", "list_proposals"):
            return Outcome({"count": len(body["items"])})
        if name == "list_events":
            return Outcome({**body, "seqs": [event["seq"] for event in body["items"]]})
        if name == "get_proposal":
            body["files"] = sorted(body["generated_files"])
        return Outcome(body)


# --- Calls over gRPC ---------------------------------------------------------------------------


class _Grpc:
    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata
        self._refinements = refinement_pb2_grpc.RefinementServiceStub(channel)
        self._proposals = proposal_pb2_grpc.ProposalServiceStub(channel)
        self._workflows = workflow_pb2_grpc.WorkflowServiceStub(channel)

    async def __call__(self, name: str, given: Mapping[str, Any]) -> Outcome:
        try:
            return Outcome(await self._value(name, dict(given)))
        except grpc.aio.AioRpcError as error:
            return _grpc_error(error)

    async def _value(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if name == "create_workflow":
            files = [{"path": path, "text": text} for path, text in given.pop("files", {}).items()]
            request = ParseDict({**given, "files": files}, workflow_pb2.CreateWorkflowRequest())
            return _workflow(await self._workflows.CreateWorkflow(request, metadata=self._metadata))
        if name == "get_workflow":
            read = workflow_pb2.GetWorkflowRequest(**given)
            return _workflow(await self._workflows.GetWorkflow(read, metadata=self._metadata))
        if name == "list_workflows":
            listing = workflow_pb2.ListWorkflowsRequest(**given)
            found = await self._workflows.ListWorkflows(listing, metadata=self._metadata)
            return {"count": len(found.workflows)}
        if name == "start":
            start = refinement_pb2.StartRefinementRequest(**given)
            started = await self._refinements.StartRefinement(start, metadata=self._metadata)
            return {**_refinement(started), "replayed": started.replayed}
        if name == "get":
            get = refinement_pb2.GetRefinementRequest(**given)
            return _refinement(await self._refinements.GetRefinement(get, metadata=self._metadata))
        if name == "cancel":
            cancel = refinement_pb2.CancelRefinementRequest(**given)
            return _refinement(await self._refinements.CancelRefinement(cancel, metadata=self._metadata))
        if name == "list_events":
            names = {"after": "after_seq", "wait": "wait_seconds"}
            page = refinement_pb2.ListEventsRequest(**{names.get(key, key): v for key, v in given.items()})
            events = await self._refinements.ListEvents(page, metadata=self._metadata)
            position = MessageToDict(events.position, preserving_proto_field_name=True)
            return {**position, "complete": events.complete, "seqs": [event.seq for event in events.events]}
        if name == "get_proposal":
            one = proposal_pb2.GetProposalRequest(**given)
            proposal = (await self._proposals.GetProposal(one, metadata=self._metadata)).proposal
            paths = sorted(file.path for file in proposal.generated_files)
            return {"status": _word(proposal.status), "thread_id": proposal.thread_id, "files": paths}
        if "status" in given:
            given["status"] = f"PROPOSAL_STATUS_{given['status'].upper()}"
        several = ParseDict(given, proposal_pb2.ListProposalsRequest())
        return {
            "count": len((await self._proposals.ListProposals(several, metadata=self._metadata)).proposals)
        }


def _word(status: int) -> str:
    return refinement_pb2.ProposalStatus.Name(status).removeprefix("PROPOSAL_STATUS_").lower()  # type: ignore[arg-type]


def _workflow(answer: Any) -> dict[str, Any]:
    files = {file.path: file.text for file in answer.workflow.files}
    return {"name": answer.workflow.name, "files": files}


def _refinement(answer: Any) -> dict[str, Any]:
    value = MessageToDict(answer.refinement, preserving_proto_field_name=True)
    return {**value, "status": _word(answer.refinement.status)}


def _grpc_error(error: grpc.aio.AioRpcError) -> Outcome:
    status = rpc_status.from_call(error)
    assert status is not None, f"an error without details: {error.code()}"
    code, fields = "", None
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            code = info.reason
        elif detail.Unpack(bad):
            fields = frozenset(violation.field for violation in bad.field_violations)
    return Outcome(code=code, fields=fields)


CALLERS = ("rest", "grpc")


@asynccontextmanager
async def caller(name: str, hub: RunningHub, token: str) -> AsyncIterator[Call]:
    """What makes a case's calls over the face, with the token (none: empty)."""
    if name == "rest":
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=30) as http:
            yield _Rest(http)
    else:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            yield _Grpc(channel, metadata)


# --- Watching ----------------------------------------------------------------------------------


def watchers(*, with_seed: bool) -> list[str]:
    """The names of all ways of watching."""
    return ["rest", "sse", "ws-json", "ws-proto", "grpc", "grpc-pages"] + ["ws-seed"] * with_seed


def watcher(
    name: str, hub: RunningHub, token: str, thread_id: str, after: int
) -> AsyncGenerator[dict[str, Any], None]:
    """The thread's events behind the cursor, until the terminal one, over one connection."""
    ways = {"rest": _pages, "sse": _sse, "grpc": _grpc, "grpc-pages": _grpc_pages}
    if name in ways:
        return ways[name](hub, token, thread_id, after)
    protocol = {"ws-json": "ideo.v1", "ws-proto": "ideo.v1.proto", "ws-seed": None}[name]
    return _socket(hub, token, thread_id, after, protocol)


async def _pages(
    hub: RunningHub, token: str, thread_id: str, after: int
) -> AsyncGenerator[dict[str, Any], None]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=40) as http:
        while True:
            params = {"after": after, "limit": 40, "wait": 20}
            answer = await http.get(f"/api/refinements/{thread_id}/events", params=params)
            page = answer.raise_for_status().json()
            for event in page["items"]:
                yield event
            if page["complete"]:
                return
            after = page["next_cursor"]


async def _sse(
    hub: RunningHub, token: str, thread_id: str, after: int
) -> AsyncGenerator[dict[str, Any], None]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    async with (
        httpx.AsyncClient(base_url=hub.http, headers=headers, timeout=40) as http,
        http.stream("GET", f"/api/refinements/{thread_id}/events", params={"after": after}) as answer,
    ):
        answer.raise_for_status()
        event: dict[str, str] = {}
        rest = b""
        async for chunk in answer.aiter_raw():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                name, _, value = line.decode().partition(": ")
                if name:
                    event[name] = value
                    continue
                if event.get("event") not in ("hello", "heartbeat", None):
                    told = json.loads(event["data"])
                    assert int(event["id"]) == told["seq"]
                    yield told
                event = {}


async def _socket(
    hub: RunningHub, token: str, thread_id: str, after: int, protocol: str | None
) -> AsyncGenerator[dict[str, Any], None]:
    address = "ws" + hub.http.removeprefix("http") + f"/api/ws/refinements/{thread_id}?after={after}"
    protocols: Any = [protocol] if protocol else None
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(
        address, additional_headers=headers, subprotocols=protocols, max_size=None, proxy=None
    ) as socket:
        assert socket.subprotocol == protocol
        first = True
        async for message in socket:
            if protocol is None:
                frame: dict[str, Any] = json.loads(message)
                if "seq" in frame:
                    yield frame
                continue
            if protocol == "ideo.v1":
                told = json.loads(message)
            else:
                assert isinstance(message, bytes)
                told = _json(refinement_pb2.WatchRefinementResponse.FromString(message))
            assert ("hello" in told) == first
            first = False
            for event in told.get("batch", {}).get("events", ()):
                yield event
        assert socket.close_code == 1000


def _json(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


async def _grpc(
    hub: RunningHub, token: str, thread_id: str, after: int
) -> AsyncGenerator[dict[str, Any], None]:
    async with grpc.aio.insecure_channel(hub.grpc) as channel:
        stub = refinement_pb2_grpc.RefinementServiceStub(channel)
        request = refinement_pb2.WatchRefinementRequest(thread_id=thread_id, after_seq=after)
        call = stub.WatchRefinement(request, metadata=(("authorization", f"Bearer {token}"),))
        try:
            first = True
            async for message in call:
                assert (message.WhichOneof("kind") == "hello") == first
                first = False
                for event in message.batch.events:
                    yield _json(event)
        finally:
            call.cancel()


async def _grpc_pages(
    hub: RunningHub, token: str, thread_id: str, after: int
) -> AsyncGenerator[dict[str, Any], None]:
    async with grpc.aio.insecure_channel(hub.grpc) as channel:
        stub = refinement_pb2_grpc.RefinementServiceStub(channel)
        while True:
            request = refinement_pb2.ListEventsRequest(
                thread_id=thread_id, after_seq=after, limit=40, wait_seconds=20
            )
            page = await stub.ListEvents(request, metadata=(("authorization", f"Bearer {token}"),))
            for event in page.events:
                after = event.seq
                yield _json(event)
            if page.complete:
                return
