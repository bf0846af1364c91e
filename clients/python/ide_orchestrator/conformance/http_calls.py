"""The calls that cases name, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from ide_orchestrator.client import Hub, HubError
from ide_orchestrator.client.http_calls import with_query
from ide_orchestrator.client.responses import problem_of
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
    "list_quarantined_shapes": ("GET", "/api/quarantine/shapes"),
    "get_quarantined_shape": ("GET", "/api/quarantine/shapes/{shape_id}"),
    "list_quarantined_frames": ("GET", "/api/quarantine/shapes/{shape_id}/frames"),
    "release_quarantined_shape": ("POST", "/api/quarantine/shapes/{shape_id}/release"),
    "scan_quarantine": ("POST", "/api/quarantine/scan"),
}
_IDS = ("workflow_id", "thread_id", "proposal_id", "draft_id", "webhook_id", "delivery_id", "shape_id")
#: Those that have no body over HTTP.
_BODILESS = ("cancel", "delete_webhook", "redeliver_webhook")
#: What HTTP calls otherwise than gRPC, in the words of gRPC.
_FIELDS = {"Idempotency-Key": "request_id", "overlap_s": "overlap_seconds"}


async def with_client(client: Hub, name: str, given: Mapping[str, Any]) -> Outcome:
    """The outcome of a call with the Python client."""
    method, path, sent = _http_request(name, given)
    try:
        body = await client.call(
            method, with_query(path, sent.get("params", {})), sent.get("json"), headers=sent["headers"]
        )
    except HubError as error:
        return _http_refusal(error.problem)
    return _http_outcome(name, body)


def _http_request(name: str, given: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """A call over HTTP: method, path, and the arguments of httpx with headers, query and body."""
    rest = dict(given)
    method, path = _ROUTES[name]
    ids = {key: rest.pop(key, "") for key in _IDS if f"{{{key}}}" in path}
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


async def over_http(http: httpx.AsyncClient, name: str, given: Mapping[str, Any]) -> Outcome:
    """The outcome of a plain call. Raises Broken for an answer that is no answer of the hub, and HubError
    when the caller is at a limit."""
    method, path, sent = _http_request(name, given)
    answer = await http.request(method, path, **sent)
    body = answer.json() if answer.content else {}
    if answer.is_error:
        if check_problem(answer) == LIMIT_REACHED:
            raise problem_of(answer.status_code, answer.headers, answer.content, str(answer.url))
        return _http_refusal(body)
    if name in ("start", "update_draft", "restore_draft_version", "create_webhook", "rotate_webhook_secret"):
        body["replayed"] = "idempotency-replayed" in answer.headers
    return _http_outcome(name, body)


def check_problem(answer: httpx.Response) -> str:
    """The code of an answer that is a problem document. Raises Broken when it is none."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    expect(kind, "application/problem+json", f"the content type of HTTP {answer.status_code}")
    problem = answer.json()
    for member in ("type", "title", "status", "detail", "instance", "code", "trace_id", "error"):
        if not problem.get(member):
            raise Broken(f"the problem document has no {member}")
    expect(problem["status"], answer.status_code, "the status in the problem document")
    code = str(problem["code"])
    expect(answer.status_code, CODES.get(code, (answer.status_code, None))[0], f"the HTTP status of {code}")
    return code


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
    if "quarantine" in name:
        return Outcome(_quarantine_value(name, body))
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
        files = [file_at(file) for file in body["items"]]
        return Outcome({"seq": body["seq"], "files": files, "next": body["next_cursor"] or ""})
    if name == "blame_file":
        return Outcome({**body, "ranges": [range_of(part) for part in body["ranges"]]})
    if name == "list_events":
        return Outcome({**body, "seqs": [event["seq"] for event in body["items"]]})
    if name == "get_proposal":
        body["files"] = sorted(body["generated_files"])
        body["contents"] = any("content" in file for file in body["generated_files"].values())
    return Outcome(body)


def _quarantine_value(name: str, body: dict[str, Any]) -> dict[str, Any]:
    if name == "get_quarantined_shape":
        return {"shape": shape_facts(body)}
    more = body["next_cursor"] is not None
    if name == "list_quarantined_shapes":
        return {"shapes": sorted(map(shape_facts, body["items"])), "more": more}
    if name == "list_quarantined_frames":
        return {"frames": list(map(frame_facts, body["items"])), "more": more}
    if name == "release_quarantined_shape":
        reports = list(map(report_facts, body["items"]))
        return {"requested": body["requested_count"], "reports": reports, "more": more}
    return {"added": body["added_count"], "more": more}
