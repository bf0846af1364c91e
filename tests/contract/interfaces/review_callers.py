"""Reviews over HTTP and gRPC: each takes the steps of the cases and returns outcomes that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
import httpx
from google.protobuf.json_format import MessageToDict, ParseDict

from ide_orchestrator.conformance.outcomes import Outcome
from server.wire import messages as m
from tests.support.grpc_interface import Caller, refusal_of

#: What HTTP calls otherwise than gRPC, in the words of gRPC.
_FIELDS = {"Idempotency-Key": "request_id", "cursor": "page_token", "limit": "page_size"}
_ROUTES = {
    "decide": ("PATCH", "decisions"),
    "accept": ("POST", "accept"),
    "reject": ("POST", "reject"),
    "revise": ("POST", "revise"),
}
_METHODS = {
    "diff": "DiffProposal",
    "diff_draft": "DiffDraft",
    "restore": "RestoreDraftVersion",
    "decide": "SetDecisions",
    "accept": "AcceptProposal",
    "reject": "RejectProposal",
    "revise": "ReviseProposal",
}


@dataclass(frozen=True)
class Subject:
    """What is reviewed: the ids of a proposal and of its draft."""

    proposal: str
    draft: str


async def over_http(
    http: httpx.AsyncClient, subject: Subject, name: str, given: Mapping[str, Any]
) -> Outcome:
    """A step over HTTP."""
    rest, path = dict(given), f"/api/proposals/{subject.proposal}"
    headers = {
        header: rest.pop(field)
        for field, header in (("request_id", "Idempotency-Key"), ("etag", "If-Match"))
        if rest.get(field) is not None
    }
    if name == "get":
        answer = await http.get(f"{path}?view=basic")
    elif name in ("diff", "diff_draft"):
        renamed = {"page_token": "cursor", "page_size": "limit"}
        query = {renamed.get(key, key): value for key, value in rest.items()}
        compared = path if name == "diff" else f"/api/drafts/{subject.draft}"
        answer = await http.get(f"{compared}/diff", params=query)
    elif name == "restore":
        answer = await http.post(f"/api/drafts/{subject.draft}/restore", json=rest, headers=headers)
    else:
        method, verb = _ROUTES[name]
        dry = "?validate_only=true" if rest.pop("validate_only", False) else ""
        answer = await http.request(method, f"{path}/{verb}{dry}", json=rest, headers=headers)
    body = answer.json()
    if answer.is_error:
        fields = frozenset(_FIELDS.get(each, each) for each in body.get("fields", ()))
        return Outcome(moved(body), body["code"], fields)
    body["replayed"] = "idempotency-replayed" in answer.headers
    if name in ("diff", "diff_draft"):
        return Outcome(differences(body, body["items"]))
    if name == "restore":
        return Outcome(restored(body))
    if name == "revise":
        return Outcome({"status": body["status"], "replayed": body["replayed"]})
    return Outcome(reviewed(body))


async def over_grpc(caller: Caller, subject: Subject, name: str, given: Mapping[str, Any]) -> Outcome:
    """A step over gRPC."""
    if name == "get":
        request: Any = m.GetProposalRequest(proposal_id=subject.proposal, view=m.PROPOSAL_VIEW_BASIC)
        call = caller.proposals.GetProposal
    else:
        method = _METHODS[name]
        service = caller.drafts if name == "restore" else caller.reviews
        request, call = getattr(m, f"{method}Request")(), getattr(service, method)
        if name in ("diff_draft", "restore"):
            request.draft_id = subject.draft
        else:
            request.proposal_id = subject.proposal
        ParseDict(_message(given), request)
    try:
        answer = await call(request, metadata=caller.metadata)
    except grpc.aio.AioRpcError as error:
        refusal = refusal_of(error)
        fields = frozenset(refusal.fields)
        return Outcome(moved(_json(refusal.moved) if refusal.moved else {}), refusal.reason, fields)
    body = _json(answer)
    if name in ("diff", "diff_draft"):
        return Outcome(differences(body, body["files"]))
    if name == "restore":
        return Outcome(restored(body["draft"]))
    if name == "revise":
        status = body["refinement"]["status"].removeprefix("PROPOSAL_STATUS_").lower()
        return Outcome({"status": status, "replayed": body["replayed"]})
    return Outcome(reviewed(body if "draft" in body else body["proposal"] | body))


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    message = {
        key: value for key, value in given.items() if key not in ("context", "path", "strategy", "base")
    }
    if "context" in given:
        message["context_lines"] = given["context"]
    if "path" in given:
        message["paths"] = [given["path"]]
    if "strategy" in given:
        message["strategy"] = f"MERGE_STRATEGY_{given['strategy'].upper()}"
    if "base" in given:
        message["base"] = f"DIFF_BASE_{given['base'].upper()}"
    if "decisions" in given:
        message["decisions"] = [
            each | {"decision": 9 if each["decision"] == "maybe" else _decision(each["decision"])}
            for each in given["decisions"]
        ]
    if "resolved_files" in given:
        message["resolved_files"] = [
            each | ({"side": f"MERGE_SIDE_{each['side'].upper()}"} if "side" in each else {})
            for each in given["resolved_files"]
        ]
    return message


def _decision(word: str | None) -> str:
    return f"DECISION_{(word or 'unspecified').upper()}"


def _json(message: Any) -> dict[str, Any]:
    """The message as the other interface's JSON: words for numbers, null for what is absent."""
    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def _word(value: str | None) -> str | None:
    """The word of an enum's name, or of the other interface's; None for none."""
    word = (value or "").lower()
    for prefix in ("diff_kind_", "decision_", "resolution_"):
        word = word.removeprefix(prefix)
    return None if word in ("", "unspecified") else word


def differences(body: Mapping[str, Any], items: list[dict[str, Any]]) -> dict[str, Any]:
    """What a page shows."""
    statistics = body.get("statistics") or {}
    files = [item for item in items if not item["rejection"]]
    return {
        "kinds": {item["path"]: _word(item["kind"]) for item in files},
        "lines": {item["path"]: [hunk["lines"] for hunk in item["hunks"]] for item in files if item["hunks"]},
        "ids": {item["path"]: [hunk["id"] for hunk in item["hunks"]] for item in files},
        "places": {
            item["path"]: [
                [hunk[name] for name in ("base_first_line", "base_line_count", "first_line", "line_count")]
                for hunk in item["hunks"]
            ]
            for item in files
        },
        "decisions": {
            item["path"]: [_word(item["decision"]), [_word(hunk["decision"]) for hunk in item["hunks"]]]
            for item in files
        },
        "sizes": {item["path"]: [int(item["base_size_bytes"]), int(item["size_bytes"])] for item in items},
        "hashes": {item["path"]: [item["base_sha256"] or "", item["sha256"] or ""] for item in items},
        "old_paths": {item["path"]: item["old_path"] for item in items if item["old_path"]},
        "new_paths": {item["path"]: item["new_path"] for item in items if item["new_path"]},
        "needs_new_path": [item["path"] for item in items if item["needs_new_path"]],
        "changed_in_draft": [item["path"] for item in items if item["changed_in_draft"]],
        "path_ids": [item["path_id"] for item in items if item["path_id"]],
        "rejections": {item["path"]: item["rejection"] for item in items if item["rejection"]},
        "statistics": {name: int(value) for name, value in statistics.items()},
        "base_version": int(body["base_version"] or 0),
        **({"version": body["version"]} if "version" in body else {}),
        "more": bool(body.get("next_cursor") or body.get("next_page_token")),
    }


def reviewed(body: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer about a decision says."""
    proposal = body.get("proposal", body)
    value = {
        "status": proposal["status"].removeprefix("PROPOSAL_STATUS_").lower(),
        "resolution": _word(proposal.get("resolution")),
        "resolution_comment": proposal.get("resolution_comment") or None,
        "result_version": proposal.get("result_version") or None,
        "superseded": proposal.get("superseded", False),
        "stale": proposal.get("stale", False),
        "replayed": body.get("replayed", False),
    }
    if "draft" in body:
        conflicts = body["conflicts"]
        places = [place for conflict in conflicts for place in conflict["places"]]
        value |= {
            "version": body["draft"]["version"],
            "changes": {each["path"]: _word(each["kind"]) for each in body["changes"]},
            "change_count": body["change_count"],
            "merged": [each["path"] for each in body["changes"] if each["merged"]],
            "conflicts": [each["path"] for each in conflicts],
            "conflict_count": body["conflict_count"],
            "texts": [place[side]["text"] for place in places for side in ("base", "draft", "proposal")],
        }
    return value


def restored(draft: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer about a restored version says."""
    return {name: draft[name] for name in ("version", "latest_version", "restored_version")}


def moved(body: Mapping[str, Any]) -> dict[str, Any]:
    """What an error says about a draft that has moved."""
    if not body.get("draft_etag"):
        return {}
    return {
        "conflicts": [each["path"] for each in body["conflicts"]],
        "base_version": body["base_version"],
        "draft_version": body["draft_version"],
    }
