"""The calls that cases name, as messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc.aio
from google.protobuf.json_format import MessageToDict, ParseDict

from ide_orchestrator.client import HubError
from ide_orchestrator.client.grpc import GrpcHub
from ide_orchestrator.client.grpc_errors import error_of
from ide_orchestrator.conformance.codes import CODES
from ide_orchestrator.conformance.outcomes import (
    Outcome,
    file_at,
    frame_facts,
    range_of,
    report_facts,
    shape_facts,
)
from ide_orchestrator.conformance.target import LIMIT_REACHED, Broken, expect
from ide_orchestrator.v1 import draft_pb2 as drafts
from ide_orchestrator.v1 import info_pb2 as info
from ide_orchestrator.v1 import proposal_pb2 as proposals
from ide_orchestrator.v1 import quarantine_pb2 as quarantine
from ide_orchestrator.v1 import refinement_pb2 as refinements
from ide_orchestrator.v1 import user_pb2 as users
from ide_orchestrator.v1 import webhook_pb2 as webhooks
from ide_orchestrator.v1 import workflow_pb2 as workflows

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
    "list_quarantined_shapes": ("QuarantineService", "ListQuarantinedShapes", quarantine),
    "get_quarantined_shape": ("QuarantineService", "GetQuarantinedShape", quarantine),
    "list_quarantined_frames": ("QuarantineService", "ListQuarantinedFrames", quarantine),
    "release_quarantined_shape": ("QuarantineService", "ReleaseQuarantinedShape", quarantine),
    "scan_quarantine": ("QuarantineService", "ScanQuarantine", quarantine),
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
    "list_quarantined_shapes",
    "list_quarantined_frames",
    "release_quarantined_shape",
)
#: The stubs of the Python client that are not called as their service is.
_STUBS = {"InfoService": "info", "QuarantineService": "quarantine"}


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


async def over_grpc(channel: grpc.aio.Channel, metadata: Any, name: str, given: Mapping[str, Any]) -> Outcome:
    """The outcome of a plain call. Raises Broken for an error that is no error of the hub, HubError when the
    caller is at a limit."""
    service, method, request = _grpc_request(name, given)
    call: Any = channel.unary_unary(
        f"/ide_orchestrator.v1.{service}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=getattr(_METHODS[name][2], f"{method}Response").FromString,
    )
    try:
        return Outcome(_grpc_value(name, _as_json(await call(request, metadata=metadata))))
    except grpc.aio.AioRpcError as error:
        return _grpc_refusal(error)


def check_error(error: grpc.aio.AioRpcError) -> HubError:
    """The hub's error for a status with details. Raises Broken when it is none."""
    refusal, status = error_of(error), error.code().name
    if not refusal.code:
        raise Broken(f"the error {status} has no ErrorInfo of the hub: {error.details()}")
    if not refusal.trace_id:
        raise Broken(f"the error {refusal.code} has no RequestInfo")
    expect(status, CODES.get(refusal.code, (0, status))[1], f"the gRPC status of {refusal.code}")
    return refusal


def _grpc_refusal(error: grpc.aio.AioRpcError) -> Outcome:
    refusal = check_error(error)
    if refusal.code == LIMIT_REACHED:
        raise refusal
    return Outcome(code=refusal.code, fields=frozenset(refusal.problem.get("fields", ())))


def _as_json(message: Any) -> dict[str, Any]:
    value: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return value


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
        described = answer["info"]
        when_busy = described["when_busy"].removeprefix("WHEN_BUSY_").lower()
        where = described.get("grpc")
        endpoint = where and {"host": None, "tls": False, **where}
        return {**described, "when_busy": when_busy, "grpc": endpoint}
    if "quarantine" in name:
        return _quarantine_value(name, answer)
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
        files = [file_at(file) for file in answer.get("files", ())]
        return {"seq": answer["seq"], "files": files, "next": answer.get("next_page_token", "")}
    if name == "blame_file":
        return {"truncated": False, **answer, "ranges": [range_of(part) for part in answer.get("ranges", ())]}
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


def _quarantine_value(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    more = bool(answer.get("next_page_token"))
    if name == "get_quarantined_shape":
        return {"shape": shape_facts(answer["shape"])}
    if name == "list_quarantined_shapes":
        return {"shapes": sorted(map(shape_facts, answer.get("shapes", ()))), "more": more}
    if name == "list_quarantined_frames":
        return {"frames": list(map(frame_facts, answer.get("frames", ()))), "more": more}
    if name == "release_quarantined_shape":
        reports = list(map(report_facts, answer.get("reports", ())))
        return {"requested": int(answer.get("requested_count", 0)), "reports": reports, "more": more}
    return {"added": int(answer.get("added_count", 0)), "more": more}


def _word(status: str) -> str:
    return status.removeprefix("PROPOSAL_STATUS_").lower()


async def with_grpc_client(client: GrpcHub, name: str, given: Mapping[str, Any]) -> Outcome:
    """The outcome of a call with the Python client."""
    service, method, request = _grpc_request(name, given)
    attribute = _STUBS.get(service, f"{service.removesuffix('Service').lower()}s")
    try:
        answer = await client.call(getattr(getattr(client, attribute), method), request)
    except HubError as error:
        return Outcome(code=error.code, fields=frozenset(error.problem.get("fields", ())))
    return Outcome(_grpc_value(name, _as_json(answer)))
