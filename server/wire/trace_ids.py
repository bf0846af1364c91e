"""The trace id of a request: what an error gives to its caller, and what logs have (ADR 0022)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import uuid4

from opentelemetry import trace

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_of(headers: Mapping[str, str]) -> str:
    """The trace id of a request, 32 hex digits: of the recorded trace, else of the caller's `traceparent`
    (W3C), else a new one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return f"{context.trace_id:032x}"
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return match[1] if match else uuid4().hex
