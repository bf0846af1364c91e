"""Invocations in the column `runs.invocation`: stored whole, so that any replica can send them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from server.domain.drafts.draft import DraftVersion
from server.domain.runs.runtime import Invocation
from server.encoding.json_object import JsonObject


def invocation_to_jsonb(invocation: Invocation) -> str:
    """An invocation as the text of a jsonb value. No string may hold U+0000 or a lone surrogate."""
    form: dict[str, Any] = {
        "trace_id": str(invocation.trace_id),
        "job_id": str(invocation.job_id),
        "agent_definition": invocation.agent_definition,
        "input_payload": invocation.input_payload,
        "traceparent": invocation.traceparent,
    }
    if invocation.draft is not None:
        form["draft"] = {"id": str(invocation.draft.draft_id), "version": invocation.draft.version}
    return JsonObject.of(form).text


def invocation_from_jsonb(text: str) -> Invocation:
    """The invocation from the text that `invocation_to_jsonb` returns."""
    form = json.loads(text)
    # Rows of earlier releases have neither a draft nor a trace.
    draft = form.get("draft")
    return Invocation(
        trace_id=UUID(form["trace_id"]),
        job_id=UUID(form["job_id"]),
        agent_definition=JsonObject.of(form["agent_definition"]),
        input_payload=form["input_payload"],
        traceparent=form.get("traceparent", ""),
        draft=None if draft is None else DraftVersion(UUID(draft["id"]), draft["version"]),
    )
