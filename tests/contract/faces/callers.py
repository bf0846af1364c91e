"""Each face as a caller: it makes the calls that cases name, and gives outcomes that can be compared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import httpx
from google.protobuf.json_format import ParseDict

from ide_orchestrator.client import Hub, HubError
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.client.http_calls import with_query
from ide_orchestrator.v1 import draft_pb2 as drafts
from ide_orchestrator.v1 import info_pb2 as info
from ide_orchestrator.v1 import proposal_pb2 as proposals
from ide_orchestrator.v1 import refinement_pb2 as refinements
from ide_orchestrator.v1 import user_pb2 as users
from ide_orchestrator.v1 import webhook_pb2 as webhooks
from ide_orchestrator.v1 import workflow_pb2 as workflows
from tests.support.client import CONNECT_WAYS, Address
from tests.support.connect_channel import connect_channel
from tests.support.grpc_face import Caller, refusal_of
from tests.support.hub import RunningHub
from tests.support.stream_items import as_json
from tests.support.tokens import bearer

Call = Callable[[str, Mapping[str, Any]], Awaitable["Outcome"]]
#: The faces with plain calls, with the Python client, and on the HTTP port by Connect and gRPC-Web.
CALLERS = (("rest", "grpc"), ("client", "client-grpc"), CONNECT_WAYS)


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

    def difference(self, other: Outcome, ignored: Collection[str] = ()) -> str:
        """What another outcome lacks of this one, the expected, besides what is ignored; empty when it
        fits."""
        if self.code != other.code:
            return f"code {other.code} with {dict(other.value)}, not {self.code}"
        if self.fields is not None and self.fields != other.fields:
            return f"fields {sorted(other.fields or ())}, not {sorted(self.fields)}"
        wrong = {
            key: other.value.get(key)
            for key, value in self.value.items()
            if other.value.get(key) != value and key not in ignored
        }
        return f"{wrong}, not {dict(self.value)}" if wrong else ""


@asynccontextmanager
async def both_faces(
    hub: RunningHub, email: str = "ann@example.com"
) -> AsyncIterator[tuple[httpx.AsyncClient, Caller]]:
    """A user's ways to call a hub: over HTTP and over gRPC."""
    token = hub.token(email)
    async with (
        httpx.AsyncClient(base_url=hub.http, headers=bearer(token), trust_env=False, timeout=60) as http,
        grpc.aio.insecure_channel(hub.grpc) as channel,
    ):
        yield http, Caller(channel, token)


@asynccontextmanager
async def caller(name: str, hub: Address, token: str) -> AsyncIterator[Call]:
    """What makes a case's calls over the face, with the token (none: empty)."""
    if name == "rest":
        # There is no TLS over HTTP here, and to read the authorities takes longer than a call.
        async with httpx.AsyncClient(
            base_url=hub.http, headers=bearer(token), timeout=30, verify=False
        ) as http:
            yield lambda call, given: _over_http(http, call, given)
    elif name == "client":
        async with Hub(hub.http, token, trust_env=False) as client:
            yield lambda call, given: _with_client(client, call, given)
    elif name == "client-grpc":
        async with GrpcHub(hub.grpc, token) as grpc_client:
            yield lambda call, given: _with_grpc_client(grpc_client, call, given)
    else:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        opened: Any = (
            grpc.aio.insecure_channel(hub.grpc) if name == "grpc" else connect_channel(hub.http, name)
        )
        async with opened as channel:
            yield lambda call, given: _over_grpc(channel, metadata, call, given)


#: Method and path of each call; the fields that the path names leave the request.
_ROUTES = {
    "create_workflow": ("POST", "/api/workflows"),
    "get_workflow": ("GET", "/api/workflows/{workflow_id}"),
    "list_workflows": ("GET", "/api/workflows"),
    "update_workflow": ("PATCH", "/api/workflows/{workflow_id}"),
    "start": ("POST", "/api/workflows/{workflow_id}/refinements"),
    "get": ("GET", "/api/refinements/{thread_id}"),
    "cancel": ("POST", "/api/refinements/{thread_id}/cancel"),
    "reply": ("POST", "/api/refinements/{thread_id}/reply"),
    "list_events": ("GET", "/api/refinements/{thread_id}/events"),
    "list_files_at": ("GET", "/api/refinements/{thread_id}/files"),
    "blame_file": ("GET", "/api/refinements/{thread_id}/blame"),
    "get_proposal": ("GET", "/api/proposals/{proposal_id}"),
    "list_proposals": ("GET", "/api/proposals"),
    "get_draft": ("GET", "/api/drafts/{draft_id}"),
    "update_draft": ("PUT", "/api/drafts/{draft_id}"),
    "list_draft_versions": ("GET", "/api/drafts/{draft_id}/versions"),
    "restore_draft_version": ("POST", "/api/drafts/{draft_id}/restore"),
    "get_server_info": ("GET", "/api/info"),
    "get_me": ("GET", "/api/me"),
    "find_users": ("GET", "/api/users"),
    "create_webhook": ("POST", "/api/webhooks"),
    "get_webhook": ("GET", "/api/webhooks/{webhook_id}"),
    "list_webhooks": ("GET", "/api/webhooks"),
    "update_webhook": ("PATCH", "/api/webhooks/{webhook_id}"),
    "delete_webhook": ("DELETE", "/api/webhooks/{webhook_id}"),
    "rotate_webhook_secret": ("POST", "/api/webhooks/{webhook_id}/rotate"),
    "list_webhook_deliveries": ("GET", "/api/webhooks/{webhook_id}/deliveries"),
    "redeliver_webhook": ("POST", "/api/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"),
}
#: Those that have no body over HTTP.
_BODILESS = ("cancel", "delete_webhook", "redeliver_webhook")
#: What HTTP calls otherwise than gRPC, in the words of gRPC.
_FIELDS = {"Idempotency-Key": "request_id", "overlap_s": "overlap_seconds"}


async def _with_client(client: Hub, name: str, given: Mapping[str, Any]) -> Outcome:
    method, path, sent = _http_request(name, given)
    try:
        body = await client.call(
            method, with_query(path, sent.get("params", {})), sent.get("json"), headers=sent["headers"]
        )
    except HubError as error:
        return _http_refusal(error.problem)
    return _http_outcome(name, body)


async def _with_grpc_client(client: GrpcHub, name: str, given: Mapping[str, Any]) -> Outcome:
    service, method, request = _grpc_request(name, given)
    attribute = {"InfoService": "info"}.get(service, f"{service.removesuffix('Service').lower()}s")
    try:
        answer = await client.call(getattr(getattr(client, attribute), method), request)
    except HubError as error:
        return Outcome(code=error.code, fields=frozenset(error.problem.get("fields", ())))
    return Outcome(_grpc_value(name, as_json(answer)))


def _http_request(name: str, given: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A call over HTTP: method, path, and the arguments of httpx with headers, query and body."""
    rest = dict(given)
    method, path = _ROUTES[name]
    ids = {
        key: rest.pop(key, "")
        for key in ("workflow_id", "thread_id", "proposal_id", "draft_id", "webhook_id", "delivery_id")
        if f"{{{key}}}" in path
    }
    if "page_token" in rest:
        rest["cursor"] = rest.pop("page_token")
    headers = {
        header: rest.pop(name)
        for name, header in (("request_id", "Idempotency-Key"), ("etag", "If-Match"))
        if name in rest
    }
    sent: dict[str, Any] = (
        {"params": rest} if method == "GET" else {} if name in _BODILESS else {"json": rest}
    )
    return method, path.format(**ids), {"headers": headers, **sent}


async def _over_http(http: httpx.AsyncClient, name: str, given: Mapping[str, Any]) -> Outcome:
    method, path, sent = _http_request(name, given)
    answer = await http.request(method, path, **sent)
    body = answer.json() if answer.content else {}
    if answer.is_error:
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert body["status"] == answer.status_code
        return _http_refusal(body)
    if name in ("start", "update_draft", "restore_draft_version", "create_webhook", "rotate_webhook_secret"):
        body["replayed"] = "idempotency-replayed" in answer.headers
    return _http_outcome(name, body)


def _http_refusal(problem: Mapping[str, Any]) -> Outcome:
    """The outcome of a call that was answered with a problem."""
    fields = None
    if "fields" in problem:
        fields = frozenset(_FIELDS.get(named, named) for named in problem["fields"])
    return Outcome(code=problem["code"], fields=fields)


def _http_outcome(name: str, body: dict[str, Any]) -> Outcome:
    """The outcome of a call with this JSON as its answer."""
    if name in ("list_workflows", "list_proposals", "list_webhooks", "list_webhook_deliveries"):
        return Outcome({"count": len(body["items"])})
    if name == "find_users":
        return Outcome({"emails": [user["email"] for user in body["items"]]})
    if "target_url" in body:
        body["disabled_reason"] = body["disabled_reason"] or ""
        body["shows_secret"] = body["secret"] is not None
    if name == "list_draft_versions":
        return Outcome({"versions": [draft["version"] for draft in body["items"]]})
    if name == "get_draft":
        body["files"] = {path: file.get("text") for path, file in body["files"].items()}
    if name == "list_files_at":
        files = [_file_at(file) for file in body["items"]]
        return Outcome({"seq": body["seq"], "files": files, "next": body["next_cursor"] or ""})
    if name == "blame_file":
        return Outcome({**body, "ranges": [_range(part) for part in body["ranges"]]})
    if name == "list_events":
        return Outcome({**body, "seqs": [event["seq"] for event in body["items"]]})
    if name == "get_proposal":
        body["files"] = sorted(body["generated_files"])
        body["contents"] = any("content" in file for file in body["generated_files"].values())
    return Outcome(body)


#: Service, method, and the types of its request and its answer.
_METHODS: dict[str, tuple[str, str, Any]] = {
    "create_workflow": ("WorkflowService", "CreateWorkflow", workflows),
    "get_workflow": ("WorkflowService", "GetWorkflow", workflows),
    "list_workflows": ("WorkflowService", "ListWorkflows", workflows),
    "update_workflow": ("WorkflowService", "UpdateWorkflow", workflows),
    "start": ("RefinementService", "StartRefinement", refinements),
    "get": ("RefinementService", "GetRefinement", refinements),
    "cancel": ("RefinementService", "CancelRefinement", refinements),
    "reply": ("RefinementService", "ReplyToInput", refinements),
    "list_events": ("RefinementService", "ListEvents", refinements),
    "list_files_at": ("RefinementService", "ListFilesAt", refinements),
    "blame_file": ("RefinementService", "BlameFile", refinements),
    "get_proposal": ("ProposalService", "GetProposal", proposals),
    "list_proposals": ("ProposalService", "ListProposals", proposals),
    "get_draft": ("DraftService", "GetDraft", drafts),
    "update_draft": ("DraftService", "UpdateDraft", drafts),
    "list_draft_versions": ("DraftService", "ListDraftVersions", drafts),
    "restore_draft_version": ("DraftService", "RestoreDraftVersion", drafts),
    "get_server_info": ("InfoService", "GetServerInfo", info),
    "get_me": ("UserService", "GetMe", users),
    "find_users": ("UserService", "FindUsers", users),
    "create_webhook": ("WebhookService", "CreateWebhook", webhooks),
    "get_webhook": ("WebhookService", "GetWebhook", webhooks),
    "list_webhooks": ("WebhookService", "ListWebhooks", webhooks),
    "update_webhook": ("WebhookService", "UpdateWebhook", webhooks),
    "delete_webhook": ("WebhookService", "DeleteWebhook", webhooks),
    "rotate_webhook_secret": ("WebhookService", "RotateWebhookSecret", webhooks),
    "list_webhook_deliveries": ("WebhookService", "ListWebhookDeliveries", webhooks),
    "redeliver_webhook": ("WebhookService", "RedeliverWebhook", webhooks),
}
#: What cases call otherwise than gRPC.
_NAMES = {"after": "after_seq", "wait": "wait_seconds", "overlap_s": "overlap_seconds"}
#: The same for lists, whose pages have one name for a page's size over HTTP.
_PAGED = {"limit": "page_size"}
_PAGED_CALLS = (
    "list_draft_versions",
    "list_files_at",
    "list_proposals",
    "list_webhooks",
    "list_webhook_deliveries",
)


def _grpc_request(name: str, given: Mapping[str, Any]) -> tuple[str, str, Any]:
    """A call over gRPC: the names of service and method, and the request."""
    service, method, module = _METHODS[name]
    names = _NAMES | (_PAGED if name in _PAGED_CALLS else {})
    rest = {names.get(key, key): value for key, value in given.items()}
    if name in ("create_workflow", "update_draft"):
        rest["files"] = [{"path": path, "text": text} for path, text in rest.pop("files", {}).items()]
    if "view" in rest:
        kind = name.removeprefix("get_").upper()
        rest["view"] = f"{kind}_VIEW_{rest['view'].upper()}"
    if "when_busy" in rest:
        rest["when_busy"] = f"WHEN_BUSY_{rest['when_busy'].upper()}"
    if name == "list_proposals" and "status" in rest:
        rest["status"] = f"PROPOSAL_STATUS_{rest['status'].upper()}"
    if name == "list_proposals" and "resolution" in rest:
        resolution = f"RESOLUTION_{rest.pop('resolution').upper()}"
        rest |= {"unresolved": True} if resolution == "RESOLUTION_NONE" else {"resolution": resolution}
    return service, method, ParseDict(rest, getattr(module, f"{method}Request")())


async def _over_grpc(
    channel: grpc.aio.Channel, metadata: Any, name: str, given: Mapping[str, Any]
) -> Outcome:
    service, method, request = _grpc_request(name, given)
    call: Any = channel.unary_unary(
        f"/ide_orchestrator.v1.{service}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=getattr(_METHODS[name][2], f"{method}Response").FromString,
    )
    try:
        return Outcome(_grpc_value(name, as_json(await call(request, metadata=metadata))))
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        return Outcome(code=refusal.reason, fields=frozenset(refusal.fields))


def _grpc_value(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer in the form that HTTP gives it."""
    if name in ("create_workflow", "get_workflow", "update_workflow"):
        workflow = answer["workflow"]
        return {
            "locked": False,
            "archived": False,
            **workflow,
            "files": {file["path"]: file.get("text", "") for file in workflow.get("files", ())},
        }
    if name == "get_server_info":
        told = answer["info"]
        return {**told, "when_busy": told["when_busy"].removeprefix("WHEN_BUSY_").lower()}
    if name == "get_me":
        return dict(answer["user"])
    if name == "find_users":
        return {"emails": [user["email"] for user in answer.get("users", ())]}
    if name in ("list_workflows", "list_proposals", "list_webhooks", "list_webhook_deliveries"):
        items = {"list_webhook_deliveries": "deliveries"}.get(name, name.removeprefix("list_"))
        return {"count": len(answer.get(items, ()))}
    if "webhook" in answer:
        webhook = answer["webhook"]
        defaults = {"enabled": False, "disabled_reason": "", "workflow_id": None}
        shown = {"shows_secret": "secret" in webhook, "replayed": answer.get("replayed", False)}
        return {**defaults, **webhook, **shown}
    if "delivery" in answer:
        status = answer["delivery"]["status"].removeprefix("WEBHOOK_DELIVERY_STATUS_").lower()
        return {**answer["delivery"], "status": status}
    if not answer:
        return {}
    if name == "list_draft_versions":
        return {"versions": [draft["version"] for draft in answer.get("drafts", ())]}
    if name == "list_files_at":
        files = [_file_at(file) for file in answer.get("files", ())]
        return {"seq": answer["seq"], "files": files, "next": answer.get("next_page_token", "")}
    if name == "blame_file":
        return {"truncated": False, **answer, "ranges": [_range(part) for part in answer.get("ranges", ())]}
    if "draft" in answer:
        draft = answer["draft"]
        texts = {file["path"]: file.get("text") for file in draft.get("files", ())}
        replayed = answer.get("replayed", False)
        return {"restored_version": 0, **draft, "files": texts, "replayed": replayed}
    if name == "list_events":
        seqs = [event["seq"] for event in answer.get("events", ())]
        return {**answer.get("position", {}), "complete": answer.get("complete", False), "seqs": seqs}
    if name == "get_proposal":
        proposal = answer["proposal"]
        generated = proposal.get("generated_files", ())
        files = sorted(file["path"] for file in generated)
        contents = any("text" in file or "binary" in file for file in generated)
        return {**proposal, "status": _word(proposal["status"]), "files": files, "contents": contents}
    refinement = answer["refinement"]
    return {**refinement, "status": _word(refinement["status"]), "replayed": answer.get("replayed", False)}


def _file_at(file: Mapping[str, Any]) -> list[Any]:
    return [file["path"], int(file["size_bytes"]), file["seq"], file.get("tool_call_id") or ""]


def _range(part: Mapping[str, Any]) -> list[Any]:
    return [part["first_line"], part["line_count"], part["seq"], part.get("tool_call_id") or ""]


def _word(status: str) -> str:
    return status.removeprefix("PROPOSAL_STATUS_").lower()
