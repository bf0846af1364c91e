"""Fuzz targets for what callers send: bodies, queries, headers, gRPC and WebSocket messages, cursors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from google.protobuf.message import DecodeError

from server.db.page_tokens import page_place, version_place
from server.domain.errors import HubError, InvalidArgument
from server.http.handshake import form_of, token_of
from server.http.json_io import parse_json
from server.http.origins import Origins
from server.http.token_refresh import token_of_message
from server.wire import (
    access,
    diff_queries,
    diffs,
    drafts,
    etags,
    event_queries,
    file_history,
    proposal_queries,
    refinements,
    review_messages,
    reviews,
    users,
    webhooks,
    workflows,
)
from server.wire import messages as m
from server.wire.event_queries import parse_cursor
from server.wire.validation import idempotency_key
from tests.hostile.fuzz_targets.target import Target, text_of

_NIL = UUID(int=0)


def client(data: bytes) -> None:
    """What a WebSocket's client says, and what its upgrade offers."""
    token_of_message(data)
    offered = text_of(data).split(",")
    form_of(offered)
    token_of(offered[0], offered[-1], offered)
    assert not Origins(["https://x.example"]).allow_request(["https://x.example", *offered])


#: Bodies of requests, and the command that each becomes.
_BODIES: list[Callable[[Any], object]] = [
    lambda body: refinements.StartRefinementRequest.model_validate(body).command(_NIL),
    lambda body: workflows.CreateWorkflowRequest.model_validate(body).command(),
    lambda body: workflows.UpdateWorkflowRequest.model_validate(body).command(),
    lambda body: drafts.UpdateDraftRequest.model_validate(body).command(),
    drafts.RestoreDraftVersionRequest.model_validate,
    reviews.SetDecisionsRequest.model_validate,
    lambda body: reviews.AcceptProposalRequest.model_validate(body).command(),
    reviews.RejectProposalRequest.model_validate,
    lambda body: reviews.ReviseProposalRequest.model_validate(body).command(),
    lambda body: webhooks.CreateWebhookRequest.model_validate(body).command(),
    lambda body: webhooks.UpdateWebhookRequest.model_validate(body).command(),
    lambda body: webhooks.RotateWebhookSecretRequest.model_validate(body).overlap,
    refinements.CreateTicketRequest.model_validate,
    access.GrantAccessRequest.model_validate,
    access.CreateShareLinkRequest.model_validate,
]
_QUERIES: list[Callable[[Any], object]] = [
    workflows.WorkflowsQuery.model_validate,
    proposal_queries.ProposalsQuery.model_validate,
    event_queries.EventsQuery.model_validate,
    event_queries.SocketQuery.model_validate,
    drafts.DraftQuery.model_validate,
    drafts.DraftVersionsQuery.model_validate,
    diff_queries.DiffQuery.model_validate,
    diff_queries.DraftDiffQuery.model_validate,
    lambda query: file_history.FilesAtQuery.model_validate(query).place(),
    lambda query: file_history.BlameQuery.model_validate(query).lines_before,
    users.UsersQuery.model_validate,
    webhooks.WebhooksQuery.model_validate,
    webhooks.DeliveriesQuery.model_validate,
]


def bodies(data: bytes) -> None:
    """Bodies and queries of requests: a command, or errors that name fields."""
    body: object
    try:
        body = parse_json(data)
    except InvalidArgument:
        body = text_of(data)
    for take in _BODIES:
        with suppress(HubError):
            take(body)
    query = dict(part.partition("=")[::2] for part in text_of(data).split("&"))
    for read in _QUERIES:
        with suppress(InvalidArgument):
            read(query)


#: Requests over gRPC, and what reads each.
_MESSAGES: list[tuple[Any, Callable[[Any], object]]] = [
    (m.CreateWorkflowRequest, workflows.create_workflow),
    (m.UpdateWorkflowRequest, workflows.update_workflow),
    (m.UpdateDraftRequest, drafts.update_draft),
    (m.RestoreDraftVersionRequest, drafts.restored_version),
    (m.StartRefinementRequest, refinements.start_refinement),
    (m.ListEventsRequest, event_queries.events_query),
    (m.ListProposalsRequest, proposal_queries.proposals_query),
    (m.ListFilesAtRequest, lambda request: file_history.files_at_query(request).place()),
    (m.BlameFileRequest, file_history.blame_query),
    (m.DiffProposalRequest, review_messages.diff_query),
    (m.DiffProposalRequest, review_messages.diff_paths),
    (m.DiffDraftRequest, review_messages.draft_diff_query),
    (m.ReadDraftPatchRequest, review_messages.compared_versions),
    (m.ReadPatchRequest, review_messages.patch_query),
    (m.SetDecisionsRequest, review_messages.set_decisions),
    (m.AcceptProposalRequest, review_messages.accept_proposal),
    (m.RejectProposalRequest, review_messages.rejection_comment),
    (m.ReviseProposalRequest, review_messages.revise_proposal),
    (m.GrantAccessRequest, access.grant_access),
    (m.CreateShareLinkRequest, access.create_share_link),
    (m.FindUsersRequest, users.users_query),
    (m.CreateWebhookRequest, webhooks.create_webhook),
    (m.UpdateWebhookRequest, webhooks.update_webhook),
    (m.RotateWebhookSecretRequest, webhooks.rotation_overlap),
]


def messages(data: bytes) -> None:
    """Requests over gRPC: the first byte chooses the request. A command, or errors that name fields."""
    kind, read = _MESSAGES[data[0] % len(_MESSAGES)] if data else _MESSAGES[0]
    with suppress(DecodeError, HubError):
        read(kind.FromString(data[1:]))


def headers(data: bytes) -> None:
    """Etags of conditional requests, and idempotency keys."""
    text = text_of(data)
    condition = etags.if_match(text)
    assert condition is None or condition.any_state == (text.strip() == "*")
    etags.none_match(text, "1-0123456789abcdef")
    with suppress(InvalidArgument):
        key = idempotency_key(text, "Idempotency-Key")
        assert key is not None
        assert key.isascii()
        assert key.isprintable()


def cursors(data: bytes) -> None:
    """Page tokens and cursors."""
    text = text_of(data)
    readers: list[Callable[[], object]] = [
        *(lambda kind=kind: page_place(kind, text) for kind in (b"p", b"w", b"h", b"d")),
        lambda: version_place(_NIL, text),
        lambda: parse_cursor(text, "Last-Event-ID"),
        lambda: file_history.FilesAtQuery.model_validate({"cursor": text}).place(),
        lambda: diffs._place(text),
    ]
    for read in readers:
        with suppress(InvalidArgument):
            read()


_BODY_SEEDS = [
    b'{"user_prompt": "x", "context_file_path": "/a", "context_selection": "lines 1-2"}',
    b'{"name": "w", "agent_definition": {"nodes": []}, "files": {"/a": "b"}}',
    b'{"access_type": "viewer", "after_seq": 1, "expires_in_s": 60}',
    b'{"files": {"/a": "b"}, "deleted_paths": ["/c"], "version": 1, "locked": true}',
    b'{"decisions": [{"path": "/a", "decision": "accepted", "hunk_ids": ["0a"], "new_path": null}]}',
    b'{"strategy": "three_way", "draft_etag": "1-a", "resolved_files": [{"path": "/a", "side": "draft"}]}',
    b'{"comment": "why", "keep_decisions": true, "user_prompt": "better"}',
    b'{"target_url": "https://a.example/h", "event_types": ["run.finished"], "workflow_id": null}',
    b'{"enabled": false, "overlap_s": 60}',
    b"limit=10&cursor=abc&after=3&wait=2&status=completed",
    b"path=/a&seq=3&first_line=2&view=basic&version=1&email=a@b&base=draft&context=3",
]

TARGETS = {
    "client": Target(
        client,
        [b'{"type": "auth", "token": "a.b.c"}', b"ideo.v1, bearer.a.b.c", b"https://x.example.evil"],
    ),
    "bodies": Target(bodies, _BODY_SEEDS),
    "messages": Target(
        messages, [bytes([number]) + b"\x0a\x01a\x12\x01b" for number in range(len(_MESSAGES))]
    ),
    "headers": Target(headers, [b'"1-a", W/"2-b", *', b"*", b"3-c", b"key-1"]),
    "cursors": Target(cursors, [b"cAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"17", b"-1", b"7-100", b"Yy9hLm1k"]),
}
