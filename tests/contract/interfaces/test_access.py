"""Who may what: every kind of caller, every verb, every transport, one table."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from ide_orchestrator.conformance.connect_channel import connect_channel
from ide_orchestrator.v1 import (
    access_pb2_grpc,
    draft_pb2_grpc,
    info_pb2_grpc,
    proposal_pb2_grpc,
    quarantine_pb2_grpc,
    refinement_pb2_grpc,
    review_pb2_grpc,
    user_pb2_grpc,
    webhook_pb2_grpc,
    workflow_pb2_grpc,
)
from server.http.openapi import openapi_document
from server.http.routes import ROUTES
from server.wire import messages as m
from tests.contract.interfaces.test_grpc_access import CONTRACT
from tests.support.client import CONNECT_WAYS, events
from tests.support.grpc_interface import refusal_of
from tests.support.hand_clock import PATIENCE_S, until
from tests.support.http_interface import problem, socket, upgrade
from tests.support.hub import RunningHub, finished, running_hub, start
from tests.support.recordings import write_odd_recording

OK, DENIED, HIDDEN, UNKNOWN = "ok", "permission_denied", "not_found", "unauthenticated"
#: Columns of the table. `withdrawn`: a share link that was. `nobody`: no token. `forged`: signed by others.
CALLERS = (
    *("owner", "editor", "viewer", "stranger", "operator"),
    *("disabled", "link", "withdrawn", "nobody", "forged"),
)
#: What each caller is answered, by kind of verb.
TABLE: dict[str, tuple[str, ...]] = {
    "read": (OK, OK, OK, HIDDEN, HIDDEN, DENIED, OK, UNKNOWN, UNKNOWN, UNKNOWN),
    # A list shows what may be read, and is refused to nobody who has a token.
    "listed": (OK, OK, OK, HIDDEN, HIDDEN, DENIED, OK, UNKNOWN, UNKNOWN, UNKNOWN),
    "ticket": (OK, OK, OK, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    "act": (OK, OK, DENIED, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    "manage": (OK, DENIED, DENIED, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    # Who may see a proposal may see its draft, and who may act on it may change it. A link shows the
    # proposal.
    "draft": (OK, OK, OK, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    # A workflow belongs to its owner alone, also when others see a proposal of it.
    "workflow": (OK, HIDDEN, HIDDEN, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    # A webhook belongs to the user or service that made it. One about a workflow is made by the workflow's
    # owner: others have webhooks of their own for the proposals that they may see.
    "webhook": (OK, HIDDEN, HIDDEN, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    # The grant that the caller was given.
    "own": (OK, OK, OK, HIDDEN, HIDDEN, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    "anyone": (OK, OK, OK, OK, OK, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
    # The quarantine is for those whom the hub's settings name.
    "operate": (DENIED, DENIED, DENIED, DENIED, OK, DENIED, DENIED, DENIED, UNKNOWN, UNKNOWN),
}


@dataclass(frozen=True)
class Environment:
    """A finished refinement, who is who, and the ways to call."""

    hub: RunningHub
    tokens: dict[str, str | None]
    users: dict[str, str]
    thread: str
    proposal: str
    workflow: str
    sha256: str
    draft: str
    draft_sha256: str
    webhook: str
    delivery: str
    shape: str
    odd_thread: str
    channel: grpc.aio.Channel
    #: The refusals that callers received, without what differs for every call.
    refusals: list[object] = field(default_factory=list)

    def http(self, who: str) -> httpx.AsyncClient:
        """An HTTP client of a caller's."""
        token = self.tokens[who]
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        # There is no TLS over HTTP here, and to read the authorities takes longer than a call.
        return httpx.AsyncClient(
            base_url=self.hub.http, headers=headers, trust_env=False, timeout=60, verify=False
        )

    def metadata(self, who: str) -> tuple[tuple[str, str], ...]:
        """A caller's metadata."""
        token = self.tokens[who]
        return (("authorization", f"Bearer {token}"),) if token is not None else ()

    def refused(self, answer: httpx.Response) -> str:
        """Note a refusal over HTTP. Returns its code."""
        refusal = problem(answer)
        self.refusals.append({**refusal, "trace_id": "", "instance": ""})
        return str(refusal["code"])


@pytest.fixture
async def environment(database: str, tmp_path: Path) -> AsyncIterator[Environment]:
    settings: dict[str, Any] = {"heartbeat_s": 0.1, "operators": ("operator@example.com",)}
    async with running_hub(
        database,
        recordings=write_odd_recording(tmp_path),
        webhook_allowed_hosts=("127.0.0.1",),
        **settings,
    ) as hub:
        emails = {who: f"{who}@example.com" for who in CALLERS[:6]}
        tokens: dict[str, str | None] = {who: hub.token(email) for who, email in emails.items()}
        async with hub.client(emails["owner"]) as client:
            # Nobody listens there.
            hook = {"target_url": "http://127.0.0.1:9", "event_types": ["run.finished"]}
            webhook = (await client.call("POST", "/api/webhooks", hook))["id"]
            started = await start(client, "[[replay:short_run]]")
            proposal = await finished(client, started)
            file = next(iter(proposal["generated_files"].values()))
            sha256 = hashlib.sha256("\n".join(file["content"]).encode()).hexdigest()
            workflow = (await client.call("GET", "/api/workflows"))["items"][0]["id"]
            draft = f"/api/drafts/{proposal['draft_id']}"
            written = await client.call("PUT", draft, {"files": {"/a": "1"}}, headers={"If-Match": "*"})
            assert written["version"] == 2
            draft_sha256 = (await client.call("GET", draft))["files"]["/a"]["sha256"]
            deliveries = await client.call("GET", f"/api/webhooks/{webhook}/deliveries")
            delivery = deliveries["items"][0]["id"]
        async with hub.client("maker@example.com") as client:
            odd = await start(client, "[[replay:odd]]")
            await finished(client, odd)
        async with hub.client(emails["operator"]) as client:
            shapes = (await client.call("GET", "/api/quarantine/shapes"))["items"]
            [shape] = [each["id"] for each in shapes if each["event_type"] == "thought"]
        for email in emails.values():
            async with hub.client(email) as client:
                await client.call("GET", "/api/proposals")
        rows = await hub.core.pool.fetch("SELECT id::text, email FROM users")
        ids = {row["email"]: row["id"] for row in rows}
        users = {who: ids[email] for who, email in emails.items()}
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            made = Environment(
                hub,
                tokens,
                users,
                started["thread_id"],
                started["proposal_id"],
                workflow,
                sha256,
                proposal["draft_id"],
                draft_sha256,
                webhook,
                delivery,
                shape,
                odd["thread_id"],
                channel,
            )
            async with made.http("owner") as owner:
                for who, access_type in (("editor", "editor"), ("viewer", "viewer"), ("disabled", "owner")):
                    path = f"/api/proposals/{made.proposal}/access/{users[who]}"
                    granted = await owner.put(path, json={"access_type": access_type})
                    assert granted.json()["access_type"] == access_type
                links = f"/api/proposals/{made.proposal}/shares"
                for who in ("link", "withdrawn"):
                    link = (await owner.post(links, json={})).json()
                    tokens[who] = link["secret"]
                assert (await owner.delete(f"{links}/{link['id']}")).status_code == 204
            tokens["nobody"] = None
            tokens["forged"] = hub.token()[:-6] + "AAAAAA"
            await hub.core.pool.execute(
                "UPDATE users SET disabled_at = now() WHERE email = $1", emails["disabled"]
            )
            # What this replica remembers of a user is half a minute old at most; the test is not to wait.
            async with (
                running_hub(database, **settings) as fresh,
                grpc.aio.insecure_channel(fresh.grpc) as other,
            ):
                yield replace(made, hub=fresh, channel=other)


# --- One call on each transport ------------------------------------------------------------------

Call = Callable[[Environment, str], Awaitable[str]]


def rest(method: str, path: str, body: Any = None, *, listed: bool = False, if_match: str = "") -> Call:
    """A verb over HTTP."""

    async def _call(environment: Environment, who: str) -> str:
        address = path.format(
            proposal=environment.proposal,
            thread=environment.thread,
            workflow=environment.workflow,
            viewer=environment.users["viewer"],
            nobody=environment.users["stranger"],
            sha256=environment.sha256,
            draft=environment.draft,
            draft_sha256=environment.draft_sha256,
            webhook=environment.webhook,
            delivery=environment.delivery,
            shape=environment.shape,
            odd_thread=environment.odd_thread,
        )
        text = json.dumps(body).replace("{thread}", environment.thread)
        named = json.loads(text.replace("{workflow}", environment.workflow))
        async with environment.http(who) as client:
            headers = {"If-Match": if_match} if if_match else {}
            answer = await client.request(method, address, json=named, headers=headers)
        if answer.is_success:
            return HIDDEN if listed and not answer.json()["items"] else OK
        return environment.refused(answer)

    return _call


def rpc(
    stub: Any, method: str, *, listed: str = "", of: tuple[str, ...] | None = None, **fields: Any
) -> Call:
    """A verb over gRPC. of: the ids that it names; by default those that it can."""

    async def _call(environment: Environment, who: str) -> str:
        ids = {
            "proposal_id": environment.proposal,
            "thread_id": environment.odd_thread if "Quarantined" in method else environment.thread,
            "workflow_id": environment.workflow,
            "user_id": environment.users["stranger"],
            "sha256": environment.draft_sha256 if "Draft" in method else environment.sha256,
            "draft_id": environment.draft,
            "webhook_id": environment.webhook,
            "delivery_id": environment.delivery,
            "shape_id": environment.shape,
        }
        kind = getattr(m, f"{method}Request")
        wanted = kind.DESCRIPTOR.fields_by_name if of is None else of
        named = {name: ids[name] for name in wanted if name in ids and not listed}
        call = getattr(stub(environment.channel), method)(
            kind(**named | fields), metadata=environment.metadata(who)
        )
        try:
            if hasattr(call, "__aiter__"):
                async for _ in call:
                    pass
                return OK
            answer = await call
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            environment.refusals.append(replace(refusal, trace_id=""))
            return refusal.reason
        return HIDDEN if listed and not getattr(answer, listed) else OK

    return _call


def over_http(name: str, call: Call) -> Call:
    """A verb of gRPC over Connect or gRPC-Web. name: the channel's."""

    async def _call(environment: Environment, who: str) -> str:
        async with connect_channel(environment.hub.http, name) as channel:
            return await call(replace(environment, channel=channel), who)

    return _call


def undone(call: Call) -> Call:
    """A verb that decides about the proposal, which awaits review again after it, for the next caller."""

    async def _call(environment: Environment, who: str) -> str:
        answer = await call(environment, who)
        await environment.hub.core.pool.execute(
            "UPDATE proposals SET resolution = NULL, resolved_at = NULL, resolved_by_user_id = NULL"
        )
        return answer

    return _call


def reaching(code: str, call: Call) -> Call:
    """A verb that a caller who may use it is refused for another reason, which has this code."""

    async def _call(environment: Environment, who: str) -> str:
        answer = await call(environment, who)
        return OK if answer == code else answer

    return _call


def opened(*protocols: str, by: str) -> Call:
    """Following by WebSocket, with the token in each place that it may be in."""

    async def _call(environment: Environment, who: str) -> str:
        token = environment.tokens[who]
        path = f"/api/ws/refinements/{environment.thread}"
        offered = list(protocols)
        headers: dict[str, str] = {}
        if token is not None and by == "query":
            path += f"?token={token}"
        elif token is not None and by == "subprotocol":
            offered.append(f"bearer.{token}")
        elif token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if offered:
            headers["Sec-WebSocket-Protocol"] = ", ".join(offered)
        status, _, refusal = await upgrade(environment.hub.http, path, headers)
        if status == 101:
            return OK
        # The seed tells 403 for what is not the caller's, and for what is not there.
        return HIDDEN if "refinement" in refusal["detail"] and status == 403 else str(refusal["code"])

    return _call


async def _sse(environment: Environment, who: str, *, in_address: bool = False) -> str:
    token = environment.tokens[who]
    # `nobody` sends no header.
    async with environment.http("nobody" if in_address else who) as client:
        url = f"/api/refinements/{environment.thread}/events"
        query = {"token": token} if in_address and token is not None else {}
        answer = await client.get(url, params=query, headers={"Accept": "text/event-stream"})
    if answer.status_code == 200:
        assert '"terminal"' in answer.text
        return OK
    return environment.refused(answer)


_PROPOSALS, _REFINEMENTS = proposal_pb2_grpc.ProposalServiceStub, refinement_pb2_grpc.RefinementServiceStub
_WORKFLOWS, _ACCESS = workflow_pb2_grpc.WorkflowServiceStub, access_pb2_grpc.AccessServiceStub
_DRAFTS, _REVIEWS = draft_pb2_grpc.DraftServiceStub, review_pb2_grpc.ReviewServiceStub
_USERS = user_pb2_grpc.UserServiceStub
_INFO = info_pb2_grpc.InfoServiceStub
_WEBHOOKS = webhook_pb2_grpc.WebhookServiceStub
_QUARANTINE = quarantine_pb2_grpc.QuarantineServiceStub
_REPLY_PATH = "/api/refinements/{thread}/reply"
_REPLY: dict[str, Any] = {"seq": 1, "decisions": [{"decision": "approve"}]}
_RECEIVER = "https://receiver.example/hook"
_MESSAGES = [{"id": "m", "role": "user", "content": "[[replay:short_run]]"}]

#: Every verb on every transport that has it, with its kind.
VERBS: dict[str, tuple[str, Call]] = {
    "REST GetProposal": ("read", rest("GET", "/api/proposals/{proposal}")),
    "gRPC GetProposal": ("read", rpc(_PROPOSALS, "GetProposal")),
    "REST ListProposals": ("listed", rest("GET", "/api/proposals", listed=True)),
    "gRPC ListProposals": ("listed", rpc(_PROPOSALS, "ListProposals", listed="proposals")),
    "REST ReadArchive": ("read", rest("GET", "/api/proposals/{proposal}/archive")),
    "gRPC ReadArchive": ("read", rpc(_PROPOSALS, "ReadArchive")),
    "REST ReadFile": ("read", rest("GET", "/api/proposals/{proposal}/files/{sha256}")),
    "gRPC ReadFile": ("read", rpc(_PROPOSALS, "ReadFile")),
    "REST GetRefinement": ("read", rest("GET", "/api/refinements/{thread}")),
    "gRPC GetRefinement": ("read", rpc(_REFINEMENTS, "GetRefinement")),
    "REST ListEvents": ("read", rest("GET", "/api/refinements/{thread}/events")),
    "gRPC ListEvents": ("read", rpc(_REFINEMENTS, "ListEvents")),
    "REST ReadStream": ("read", rest("GET", "/api/refinements/{thread}/stream")),
    "long poll of a durable stream": (
        "read",
        rest("GET", "/api/refinements/{thread}/stream?offset=-1&live=long-poll"),
    ),
    "SSE of a durable stream": ("read", rest("GET", "/api/refinements/{thread}/stream?offset=-1&live=sse")),
    "end of a durable stream": ("read", rest("GET", "/api/refinements/{thread}/stream?offset=now")),
    "REST ListFilesAt": ("read", rest("GET", "/api/refinements/{thread}/files?seq=30")),
    "gRPC ListFilesAt": ("read", rpc(_REFINEMENTS, "ListFilesAt")),
    "REST ReadRefinementFile": ("read", rest("GET", "/api/refinements/{thread}/files/{sha256}")),
    "gRPC ReadRefinementFile": ("read", rpc(_REFINEMENTS, "ReadRefinementFile")),
    "REST BlameFile": ("read", rest("GET", "/api/refinements/{thread}/blame?path=/definition.json")),
    "gRPC BlameFile": ("read", rpc(_REFINEMENTS, "BlameFile", path="/definition.json")),
    "SSE follow": ("read", _sse),
    "SSE follow, token in the query": ("read", partial(_sse, in_address=True)),
    "gRPC WatchRefinement": ("read", rpc(_REFINEMENTS, "WatchRefinement")),
    "gRPC ReadEvent": ("read", rpc(_REFINEMENTS, "ReadEvent", seq=1)),
    "WebSocket, token in the query": ("read", opened(by="query")),
    "WebSocket, token as subprotocol": ("read", opened("ideo.v1", by="subprotocol")),
    "WebSocket, token in the header": ("read", opened("ideo.v1.proto", by="header")),
    "REST CreateTicket": ("ticket", rest("POST", "/api/ws/tickets", {"thread_id": "{thread}"})),
    "REST CancelRefinement": ("act", rest("POST", "/api/refinements/{thread}/cancel")),
    "gRPC CancelRefinement": ("act", rpc(_REFINEMENTS, "CancelRefinement")),
    "REST ReplyToInput": ("act", reaching("reply_unsupported", rest("POST", _REPLY_PATH, _REPLY))),
    "gRPC ReplyToInput": ("act", reaching("reply_unsupported", rpc(_REFINEMENTS, "ReplyToInput", **_REPLY))),
    "REST ListGrants": ("manage", rest("GET", "/api/proposals/{proposal}/access")),
    "gRPC ListGrants": ("manage", rpc(_ACCESS, "ListGrants")),
    "REST GrantAccess": (
        "manage",
        rest("PUT", "/api/proposals/{proposal}/access/{viewer}", {"access_type": "viewer"}),
    ),
    "gRPC GrantAccess to nobody": (
        "manage",
        rpc(_ACCESS, "GrantAccess", user_id="00000000-0000-4000-8000-000000000000", access_type=3),
    ),
    "REST AcceptGrant": ("own", rest("POST", "/api/proposals/{proposal}/access/accept")),
    "gRPC AcceptGrant": ("own", rpc(_ACCESS, "AcceptGrant")),
    "REST ListShareLinks": ("manage", rest("GET", "/api/proposals/{proposal}/shares")),
    "gRPC ListShareLinks": ("manage", rpc(_ACCESS, "ListShareLinks")),
    "REST CreateShareLink": ("manage", rest("POST", "/api/proposals/{proposal}/shares", {})),
    "gRPC CreateShareLink": ("manage", rpc(_ACCESS, "CreateShareLink")),
    "REST RevokeShareLink of none": (
        "manage",
        rest("DELETE", "/api/proposals/{proposal}/shares/00000000-0000-4000-8000-000000000000"),
    ),
    "gRPC RevokeShareLink of none": (
        "manage",
        rpc(_ACCESS, "RevokeShareLink", link_id="00000000-0000-4000-8000-000000000000"),
    ),
    "REST GetDraft": ("draft", rest("GET", "/api/drafts/{draft}")),
    "gRPC GetDraft": ("draft", rpc(_DRAFTS, "GetDraft")),
    "REST ListDraftVersions": ("draft", rest("GET", "/api/drafts/{draft}/versions")),
    "gRPC ListDraftVersions": ("draft", rpc(_DRAFTS, "ListDraftVersions")),
    "REST ReadDraftFile": ("draft", rest("GET", "/api/drafts/{draft}/files/{draft_sha256}")),
    "gRPC ReadDraftFile": ("draft", rpc(_DRAFTS, "ReadDraftFile")),
    "REST ReadDraftArchive": ("draft", rest("GET", "/api/drafts/{draft}/archive")),
    "gRPC ReadDraftArchive": ("draft", rpc(_DRAFTS, "ReadDraftArchive")),
    "REST DiffDraft": ("draft", rest("GET", "/api/drafts/{draft}/diff")),
    "gRPC DiffDraft": ("draft", rpc(_REVIEWS, "DiffDraft")),
    "gRPC ReadDraftPatch": ("draft", rpc(_REVIEWS, "ReadDraftPatch")),
    "REST UpdateDraft": (
        "act",
        rest("PUT", "/api/drafts/{draft}", {"files": {"/a": "2"}}, if_match="*"),
    ),
    "gRPC UpdateDraft": (
        "act",
        rpc(_DRAFTS, "UpdateDraft", files=[m.SpecFile(path="/a", text="3")], etag="*"),
    ),
    "REST RestoreDraftVersion": (
        "act",
        rest("POST", "/api/drafts/{draft}/restore", {"version": 2}, if_match="*"),
    ),
    "gRPC RestoreDraftVersion": ("act", rpc(_DRAFTS, "RestoreDraftVersion", version=1, etag="*")),
    # To compare is to see the draft, too.
    "REST DiffProposal": ("draft", rest("GET", "/api/proposals/{proposal}/diff")),
    "gRPC DiffProposal": ("draft", rpc(_REVIEWS, "DiffProposal")),
    "gRPC ReadPatch": ("draft", rpc(_REVIEWS, "ReadPatch")),
    "REST SetDecisions": (
        "act",
        rest(
            "PATCH",
            "/api/proposals/{proposal}/decisions",
            {"decisions": [{"path": "/definition.json", "decision": None}]},
            if_match="*",
        ),
    ),
    "gRPC SetDecisions": (
        "act",
        rpc(
            _REVIEWS,
            "SetDecisions",
            etag="*",
            decisions=[m.FileDecision(path="/definition.json", decision=m.DECISION_ACCEPTED)],
        ),
    ),
    "REST AcceptProposal": (
        "act",
        undone(rest("POST", "/api/proposals/{proposal}/accept", {}, if_match="*")),
    ),
    "REST ApproveProposal": (
        "act",
        undone(rest("POST", "/api/proposals/{proposal}/approve", {}, if_match="*")),
    ),
    "gRPC AcceptProposal": ("act", undone(rpc(_REVIEWS, "AcceptProposal", etag="*"))),
    "REST RejectProposal": (
        "act",
        undone(rest("POST", "/api/proposals/{proposal}/reject", {}, if_match="*")),
    ),
    "gRPC RejectProposal": ("act", undone(rpc(_REVIEWS, "RejectProposal", etag="*"))),
    "REST ReviseProposal": (
        "act",
        rest(
            "POST",
            "/api/proposals/{proposal}/revise",
            {"user_prompt": "[[replay:short_run]]"},
            if_match="*",
        ),
    ),
    "gRPC ReviseProposal": (
        "act",
        rpc(_REVIEWS, "ReviseProposal", etag="*", user_prompt="[[replay:short_run]]"),
    ),
    "REST GetWorkflow": ("workflow", rest("GET", "/api/workflows/{workflow}")),
    "gRPC GetWorkflow": ("workflow", rpc(_WORKFLOWS, "GetWorkflow")),
    "REST UpdateWorkflow": ("workflow", rest("PATCH", "/api/workflows/{workflow}", {"locked": False})),
    "gRPC UpdateWorkflow": ("workflow", rpc(_WORKFLOWS, "UpdateWorkflow", archived=False)),
    "REST StartRefinement": (
        "workflow",
        rest("POST", "/api/workflows/{workflow}/refinements", {"user_prompt": "[[replay:short_run]]"}),
    ),
    "REST RunAgent": (
        "workflow",
        rest(
            "POST", "/api/workflows/{workflow}/agui", {"threadId": "t", "runId": "r", "messages": _MESSAGES}
        ),
    ),
    "gRPC StartRefinement": (
        "workflow",
        rpc(_REFINEMENTS, "StartRefinement", user_prompt="[[replay:short_run]]"),
    ),
    "REST CreateWebhook of a workflow": (
        "webhook",
        rest("POST", "/api/webhooks", {"target_url": _RECEIVER, "workflow_id": "{workflow}"}),
    ),
    "gRPC CreateWebhook of a workflow": (
        "webhook",
        rpc(_WEBHOOKS, "CreateWebhook", of=("workflow_id",), target_url=_RECEIVER),
    ),
    "REST GetWebhook": ("webhook", rest("GET", "/api/webhooks/{webhook}")),
    "gRPC GetWebhook": ("webhook", rpc(_WEBHOOKS, "GetWebhook")),
    "REST UpdateWebhook": ("webhook", rest("PATCH", "/api/webhooks/{webhook}", {"enabled": True})),
    "gRPC UpdateWebhook": ("webhook", rpc(_WEBHOOKS, "UpdateWebhook", enabled=True)),
    "REST RotateWebhookSecret": ("webhook", rest("POST", "/api/webhooks/{webhook}/rotate", {})),
    "gRPC RotateWebhookSecret": ("webhook", rpc(_WEBHOOKS, "RotateWebhookSecret")),
    "REST ListWebhookDeliveries": ("webhook", rest("GET", "/api/webhooks/{webhook}/deliveries")),
    "gRPC ListWebhookDeliveries": ("webhook", rpc(_WEBHOOKS, "ListWebhookDeliveries")),
    "REST RedeliverWebhook": (
        "webhook",
        rest("POST", "/api/webhooks/{webhook}/deliveries/{delivery}/redeliver"),
    ),
    "gRPC RedeliverWebhook": ("webhook", rpc(_WEBHOOKS, "RedeliverWebhook")),
    "REST CreateWebhook": ("anyone", rest("POST", "/api/webhooks", {"target_url": _RECEIVER})),
    "gRPC CreateWebhook": ("anyone", rpc(_WEBHOOKS, "CreateWebhook", of=(), target_url=_RECEIVER)),
    "REST ListWebhooks": ("anyone", rest("GET", "/api/webhooks")),
    "gRPC ListWebhooks": ("anyone", rpc(_WEBHOOKS, "ListWebhooks")),
    "REST ListWorkflows": ("anyone", rest("GET", "/api/workflows")),
    "gRPC ListWorkflows": ("anyone", rpc(_WORKFLOWS, "ListWorkflows")),
    "REST GetMe": ("anyone", rest("GET", "/api/me")),
    "gRPC GetMe": ("anyone", rpc(_USERS, "GetMe")),
    "REST GetServerInfo": ("anyone", rest("GET", "/api/info")),
    "gRPC GetServerInfo": ("anyone", rpc(_INFO, "GetServerInfo")),
    "REST FindUsers": ("anyone", rest("GET", "/api/users?email=owner@example.com")),
    "gRPC FindUsers": ("anyone", rpc(_USERS, "FindUsers", email="owner@example.com")),
    "REST CreateWorkflow": ("anyone", rest("POST", "/api/workflows", {"name": "w"})),
    "gRPC CreateWorkflow": ("anyone", rpc(_WORKFLOWS, "CreateWorkflow", name="w")),
    "REST ListQuarantinedShapes": ("operate", rest("GET", "/api/quarantine/shapes")),
    "gRPC ListQuarantinedShapes": ("operate", rpc(_QUARANTINE, "ListQuarantinedShapes")),
    "REST GetQuarantinedShape": ("operate", rest("GET", "/api/quarantine/shapes/{shape}")),
    "gRPC GetQuarantinedShape": ("operate", rpc(_QUARANTINE, "GetQuarantinedShape")),
    "REST ListQuarantinedFrames": ("operate", rest("GET", "/api/quarantine/shapes/{shape}/frames")),
    "gRPC ListQuarantinedFrames": ("operate", rpc(_QUARANTINE, "ListQuarantinedFrames")),
    "REST ReadQuarantinedFrame": ("operate", rest("GET", "/api/quarantine/frames/{odd_thread}?seq=2")),
    "gRPC ReadQuarantinedFrame": ("operate", rpc(_QUARANTINE, "ReadQuarantinedFrame", seq=2)),
    "REST ReleaseQuarantinedShape": ("operate", rest("POST", "/api/quarantine/shapes/{shape}/release", {})),
    "gRPC ReleaseQuarantinedShape": ("operate", rpc(_QUARANTINE, "ReleaseQuarantinedShape")),
    "REST ScanQuarantine": ("operate", rest("POST", "/api/quarantine/scan", {})),
    "gRPC ScanQuarantine": ("operate", rpc(_QUARANTINE, "ScanQuarantine")),
    # Last, since they change who may what, and what is there.
    "REST DeleteWebhook": ("webhook", rest("DELETE", "/api/webhooks/{webhook}")),
    "gRPC DeleteWebhook of none": ("webhook", rpc(_WEBHOOKS, "DeleteWebhook")),
    # The stranger has no access that could be taken away.
    "REST RevokeAccess": ("manage", rest("DELETE", "/api/proposals/{proposal}/access/{nobody}")),
    "gRPC RevokeAccess": ("manage", rpc(_ACCESS, "RevokeAccess")),
}


def _on_the_http_port() -> dict[str, tuple[str, Call]]:
    """The verbs, with each of gRPC also over Connect or gRPC-Web, in turn."""
    channels = cycle((("Connect", "connect-json"), ("gRPC-Web", "grpc-web")))
    found: dict[str, tuple[str, Call]] = {}
    for name, (kind, call) in VERBS.items():
        found[name] = (kind, call)
        if name.startswith("gRPC "):
            protocol, channel = next(channels)
            found[name.replace("gRPC", protocol)] = (kind, over_http(channel, call))
    return found


ALL_VERBS = _on_the_http_port()
#: Where an owner finds nothing to withdraw.
_NOTHING_THERE = ("RevokeShareLink of none", "DeleteWebhook of none")


async def test_every_caller_is_answered_by_the_table_on_every_transport(environment: Environment) -> None:
    expected, found = {}, {}
    for name, (kind, call) in ALL_VERBS.items():
        for who, told in zip(CALLERS, TABLE[kind], strict=True):
            cell = f"{name} by {who}"
            expected[cell] = HIDDEN if told == OK and name.endswith(_NOTHING_THERE) else told
            # Users may give up their own access; a caller without any gets an error.
            found[cell] = await call(environment, who)
    assert len(expected) == len(ALL_VERBS) * len(CALLERS) > 1_000
    assert found == expected


async def test_a_token_that_is_not_sent_as_bearer_is_answered_with_how_to_send_it(database: str) -> None:
    async with running_hub(database) as hub:
        async with httpx.AsyncClient(base_url=hub.http, trust_env=False) as http:
            for sent in ({}, {"Authorization": hub.token()}, {"Authorization": f"Token {hub.token()}"}):
                answer = await http.get("/api/me", headers=sent)
                assert (answer.status_code, "`Bearer TOKEN`" in answer.json()["detail"]) == (401, True)
        async with grpc.aio.insecure_channel(hub.grpc) as channel:
            users = user_pb2_grpc.UserServiceStub(channel)
            for metadata in ((), (("authorization", hub.token()),)):
                with pytest.raises(grpc.aio.AioRpcError, match="`Bearer TOKEN`"):
                    await users.GetMe(m.GetMeRequest(), metadata=metadata)


async def test_a_stranger_gets_the_same_answer_for_what_is_foreign_and_what_is_absent(
    environment: Environment,
) -> None:
    nothing = "00000000-0000-4000-8000-000000000000"
    absent = replace(
        environment,
        refusals=[],
        users=dict.fromkeys(environment.users, nothing),
        **dict.fromkeys(("thread", "proposal", "workflow", "draft", "webhook", "delivery"), nothing),
    )
    hidden = {name: call for name, (kind, call) in ALL_VERBS.items() if TABLE[kind][3] == HIDDEN}
    for name, call in hidden.items():
        assert await call(environment, "stranger") == await call(absent, "stranger") == HIDDEN, name
    assert len(environment.refusals) > 60
    assert str(environment.refusals) == str(absent.refusals)


def test_every_method_of_the_contract_and_every_route_is_in_the_table() -> None:
    named = {name.split()[1] for name in VERBS if name.startswith("gRPC")}
    assert named == {method.name for service in CONTRACT for method in service.methods}
    named = {name.split()[1].lower() for name in VERBS if name.startswith("REST")}
    document = json.loads(openapi_document(ROUTES))
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert named == {each["operationId"].lower() for each in operations if each.get("security")}


async def test_everybody_may_give_up_their_own_access(environment: Environment) -> None:
    for who in ("viewer", "editor"):
        path = f"/api/proposals/{environment.proposal}/access/{environment.users[who]}"
        async with environment.http(who) as client:
            assert (await client.delete(path)).status_code == 204
            assert problem(await client.delete(path))["code"] == HIDDEN
            assert problem(await client.get(f"/api/proposals/{environment.proposal}"))["code"] == HIDDEN


async def test_the_last_owner_can_be_neither_removed_nor_lowered(environment: Environment) -> None:
    base = f"/api/proposals/{environment.proposal}/access"
    async with environment.http("owner") as client:
        assert (await client.delete(f"{base}/{environment.users['disabled']}")).status_code == 204
        refused = [
            await client.delete(f"{base}/{environment.users['owner']}"),
            await client.put(f"{base}/{environment.users['owner']}", json={"access_type": "viewer"}),
        ]
        assert [(each.status_code, problem(each)["code"]) for each in refused] == [(409, "conflict")] * 2
        promoted = await client.put(f"{base}/{environment.users['editor']}", json={"access_type": "owner"})
        assert promoted.json()["access_type"] == "owner"
        assert (await client.delete(f"{base}/{environment.users['owner']}")).status_code == 204


async def test_wrong_grants_and_links_are_refused_field_by_field(environment: Environment) -> None:
    base = f"/api/proposals/{environment.proposal}"
    async with environment.http("owner") as client:
        for body, fields in (
            ({}, {"access_type"}),
            ({"access_type": "root"}, {"access_type"}),
            ({"access_type": 1, "more": 2}, {"access_type", "more"}),
        ):
            answer = await client.put(f"{base}/access/{environment.users['viewer']}", json=body)
            assert (answer.status_code, problem(answer)["fields"].keys()) == (400, fields)
        for body, fields in (
            ({"after_seq": -1, "expires_in_s": 59}, {"after_seq", "expires_in_s"}),
            ({"after_seq": True, "expires_in_s": "60"}, {"after_seq", "expires_in_s"}),
            ({"after_seq": 1.5, "expires_in_s": 7_776_001}, {"after_seq", "expires_in_s"}),
        ):
            answer = await client.post(f"{base}/shares", json=body)
            assert (answer.status_code, problem(answer)["fields"].keys()) == (400, fields)
        answer = await client.post(f"{base}/shares", json={"after_seq": 1_000_000})
        assert (answer.status_code, problem(answer)["code"]) == (410, "cursor_out_of_range")
        answer = await client.put(f"{base}/access/x", json={"access_type": "viewer"})
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")


async def test_known_and_unknown_ids_are_granted_access_with_the_same_answer(
    environment: Environment,
) -> None:
    known, unknown = environment.users["stranger"], str(uuid4())
    base = f"/api/proposals/{environment.proposal}/access"
    stub: Any = _ACCESS(environment.channel)
    answers = []
    async with environment.http("owner") as client:
        for user_id in (known, unknown):
            told = []
            for access_type in ("viewer", "owner", "editor"):
                answer = await client.put(f"{base}/{user_id}", json={"access_type": access_type})
                told.append((answer.status_code, {**answer.json(), "granted_at": ""}))
                grant = m.GrantAccessRequest(
                    proposal_id=environment.proposal, user_id=user_id, access_type=m.ACCESS_TYPE_EDITOR
                )
                response = await stub.GrantAccess(grant, metadata=environment.metadata("owner"))
                response.grant.ClearField("grant_time")
                told.append((200, str(response)))
            listed = (await client.get(base)).json()["items"]
            told += [(200, {**each, "granted_at": ""}) for each in listed if each["user_id"] == user_id]
            told.append(((await client.delete(f"{base}/{user_id}")).status_code, {}))
            answers.append(str(told).replace(user_id, "USER"))
    assert answers[0] == answers[1]
    assert "@" not in answers[0]


async def test_the_email_of_a_user_is_shown_to_owners_once_that_user_accepts(
    environment: Environment,
) -> None:
    base = f"/api/proposals/{environment.proposal}/access"
    async with environment.http("owner") as client, environment.http("viewer") as viewer:

        async def shown() -> set[str | None]:
            return {each["email"] for each in (await client.get(base)).json()["items"]}

        assert await shown() == {"owner@example.com", None}
        await viewer.get(f"/api/proposals/{environment.proposal}")  # reading is not accepting
        assert await shown() == {"owner@example.com", None}
        accepted = await viewer.post(f"{base}/accept")
        assert (accepted.status_code, accepted.json()["email"]) == (200, "viewer@example.com")
        assert await shown() == {"owner@example.com", "viewer@example.com", None}


async def test_a_share_link_is_shown_no_id_and_no_email_of_a_user(environment: Environment) -> None:
    stub: Any = _PROPOSALS(environment.channel)
    async with environment.http("link") as client:
        texts = [
            (await client.get(path)).text
            for path in (
                f"/api/proposals/{environment.proposal}",
                "/api/proposals",
                f"/api/refinements/{environment.thread}",
                f"/api/refinements/{environment.thread}/events?limit=1000",
            )
        ]
    request = m.GetProposalRequest(proposal_id=environment.proposal)
    texts.append(str(await stub.GetProposal(request, metadata=environment.metadata("link"))))
    assert all(user_id not in text for user_id in environment.users.values() for text in texts)
    assert all("@example.com" not in text for text in texts)


# --- Share links ---------------------------------------------------------------------------------


async def test_a_links_secret_is_shown_once_and_kept_as_a_hash(environment: Environment) -> None:
    async with environment.http("owner") as client:
        made = await client.post(f"/api/proposals/{environment.proposal}/shares", json={"expires_in_s": 60})
        secret = made.json()["secret"]
        assert secret.startswith("ideo_share_")
        listed = await client.get(f"/api/proposals/{environment.proposal}/shares")
    assert secret not in listed.text
    assert [each["secret"] for each in listed.json()["items"]] == [None, None]
    rows = await environment.hub.core.pool.fetch("SELECT l.*::text AS row FROM share_links l")
    assert all(secret not in row["row"] for row in rows)


async def test_a_link_shows_the_events_after_its_cursor_on_every_transport(environment: Environment) -> None:
    async with environment.http("owner") as client:
        made = await client.post(f"/api/proposals/{environment.proposal}/shares", json={"after_seq": 7})
        whole = (await client.get(f"/api/refinements/{environment.thread}/events?limit=1000")).json()["items"]
    expected = [each["seq"] for each in whole if each["seq"] > 7]
    assert len(expected) > 3
    environment.tokens["link"] = made.json()["secret"]
    found = {}
    async with environment.http("link") as client:
        page = (await client.get(f"/api/refinements/{environment.thread}/events?after=2&limit=1000")).json()
        found["page"] = [each["seq"] for each in page["items"]]
        sse = await client.get(
            f"/api/refinements/{environment.thread}/events", headers={"Accept": "text/event-stream"}
        )
        found["sse"] = [int(line[4:]) for line in sse.text.splitlines() if line.startswith("id: ")]
    async with socket(environment.hub.http, environment.thread, made.json()["secret"], "ideo.v1") as stream:
        messages = []
        with suppress(ConnectionClosed):
            while True:
                messages.append(json.loads(await stream.recv()))
    batches = [message["batch"]["events"] for message in messages if "batch" in message]
    found["socket"] = [event["seq"] for batch in batches for event in batch]
    stub: Any = _REFINEMENTS(environment.channel)
    watched = stub.WatchRefinement(
        m.WatchRefinementRequest(thread_id=environment.thread), metadata=environment.metadata("link")
    )
    found["grpc"] = [event.seq async for response in watched for event in response.batch.events]
    for name in CONNECT_WAYS:
        shown = events(name, environment.hub, made.json()["secret"], environment.thread)
        found[name] = [event["seq"] async for event in shown]
    assert found == dict.fromkeys(found, expected)


#: What ends a link besides its revocation, in the database; the last three end its maker's ownership.
_ENDINGS = {
    "expired": "UPDATE share_links SET expires_at = now()",
    "maker disabled": "UPDATE users SET disabled_at = now() WHERE email = 'owner@example.com'",
    "maker lowered": "UPDATE proposal_access SET access_type = 'editor'",
    "maker removed": "DELETE FROM proposal_access",
}


@pytest.mark.parametrize("ending", ["withdrawn", *_ENDINGS])
async def test_a_link_that_ends_ends_the_streams_that_it_opened(
    environment: Environment, ending: str
) -> None:
    hub = environment.hub
    async with hub.client("owner@example.com") as client:
        started = await start(client, "[[replay:short_run silent=10]]", environment.workflow)
    base = f"/api/proposals/{started['proposal_id']}/shares"
    async with environment.http("owner") as owner:
        link = (await owner.post(base, json={"expires_in_s": 60})).json()
        async with socket(hub.http, started["thread_id"], link["secret"], "ideo.v1") as stream:
            await until(lambda: hub.core.broadcaster.readers == 1)
            if ending == "withdrawn":
                assert (await owner.delete(f"{base}/{link['id']}")).status_code == 204
            else:
                await hub.core.pool.execute(_ENDINGS[ending])
            await hub.core.authorizations.recheck()
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionClosed):
                    while True:
                        await stream.recv()
            assert stream.close_code == 4403
