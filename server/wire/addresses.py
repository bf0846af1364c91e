"""Addresses of resources, as the HTTP interface gives them to clients."""

from __future__ import annotations

from uuid import UUID

#: The template of the WebSocket's address.
SOCKET_PATH = "/api/ws/refinements/{thread_id}"


def websocket_url(thread_id: UUID) -> str:
    """Where a client follows a thread by WebSocket."""
    return SOCKET_PATH.format(thread_id=thread_id)


def events_url(thread_id: UUID) -> str:
    """Where a client reads a thread's events by page, or follows them as SSE."""
    return f"/api/refinements/{thread_id}/events"


def proposal_url(proposal_id: UUID) -> str:
    """Where a client reads a proposal; the `Location` of a start."""
    return f"/api/proposals/{proposal_id}"


def workflow_url(workflow_id: UUID) -> str:
    """Where a client reads a workflow; the `Location` of a creation."""
    return f"/api/workflows/{workflow_id}"


def webhook_url(webhook_id: UUID) -> str:
    """Where its owner reads a webhook; the `Location` of a creation."""
    return f"/api/webhooks/{webhook_id}"


def problem_url(code: str) -> str:
    """Where a kind of problem is explained; the `type` of its problem details."""
    return f"/problems/{code}"
