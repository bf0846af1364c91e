"""Invocations in the column `runs.invocation`: stored whole, so that any replica can send them."""

from __future__ import annotations

import json
from uuid import UUID

from server.domain.runs.runtime import Invocation


def invocation_to_jsonb(invocation: Invocation) -> str:
    """An invocation as the text of a jsonb value. No string may hold U+0000 or a lone surrogate."""
    return json.dumps(
        {
            "trace_id": str(invocation.trace_id),
            "job_id": str(invocation.job_id),
            "agent_definition": invocation.agent_definition,
            "input_payload": invocation.input_payload,
            "traceparent": invocation.traceparent,
        }
    )


def invocation_from_jsonb(text: str) -> Invocation:
    """The invocation from the text that `invocation_to_jsonb` returns."""
    form = json.loads(text)
    return Invocation(
        trace_id=UUID(form["trace_id"]),
        job_id=UUID(form["job_id"]),
        agent_definition=form["agent_definition"],
        input_payload=form["input_payload"],
        # Rows of earlier releases have none.
        traceparent=form.get("traceparent", ""),
    )
