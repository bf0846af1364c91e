"""Domain records as messages, and as the JSON objects of the HTTP face (DESIGN section 4).

JSON objects are plain dicts, to be dumped in ASCII (`dumps`): a file's text may hold lone surrogates,
which JSON carries as escapes and UTF-8 does not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from server.domain.access.sharing import AccessType, Grant, ShareLink
from server.domain.access.tickets import Ticket
from server.domain.journal.journal import JournalHead
from server.domain.model import Failure, Page, Proposal, ProposalStatus, Refinement, Workflow
from server.domain.proposals.paths import RejectedFile
from server.wire import messages as m
from server.wire.codec import fill_content
from server.wire.text import rfc3339, sendable, set_time

_STATUS = {status: m.ProposalStatus.Value(f"PROPOSAL_STATUS_{status.name}") for status in ProposalStatus}
#: How much of a rejected path is told, in characters.
MAX_REJECTED_CHARS = 1024
#: The domain's status by the contract's number; the unspecified one has none.
STATUS_OF = {int(number): status for status, number in _STATUS.items()}
_ACCESS_TYPE = {each: m.AccessType.Value(f"ACCESS_TYPE_{each.name}") for each in AccessType}
#: The domain's type of access by the contract's number; the unspecified one has none.
ACCESS_TYPE_OF = {int(number): each for each, number in _ACCESS_TYPE.items()}


def dumps(value: object) -> bytes:
    """Compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


# --- Messages --------------------------------------------------------------------------------


def _failure_message(failure: Failure) -> m.Failure:
    return m.Failure(reason=sendable(failure.reason), message=sendable(failure.message))


def hello_message(head: JournalHead, *, recovered: bool = True) -> m.Hello:
    """Where a journal stands, as the first message of a stream and in a page of events."""
    return m.Hello(epoch=head.epoch, last_seq=head.last_seq, floor=head.floor, recovered=recovered)


def refinement_message(refinement: Refinement) -> m.Refinement:
    """A refinement (contract: Refinement)."""
    message = m.Refinement(
        thread_id=str(refinement.thread_id),
        proposal_id=str(refinement.proposal_id),
        workflow_id=str(refinement.workflow_id),
        status=_STATUS[refinement.status],
        epoch=refinement.epoch,
        last_seq=refinement.last_seq,
        floor=refinement.floor,
    )
    set_time(message.create_time, refinement.created_at)
    if refinement.completed_at is not None:
        set_time(message.complete_time, refinement.completed_at)
    if refinement.failure is not None:
        message.failure.CopyFrom(_failure_message(refinement.failure))
    return message


def _clipped(rejected: RejectedFile) -> str:
    """Its path, as far as anybody needs it: a rejected one may be of any length."""
    return rejected.path[:MAX_REJECTED_CHARS]


def proposal_message(proposal: Proposal) -> m.Proposal:
    """A proposal with the files that the record has, in path order (contract: Proposal)."""
    message = m.Proposal(
        id=str(proposal.id),
        draft_id=str(proposal.draft_id),
        workflow_id=str(proposal.workflow_id),
        thread_id=str(proposal.thread_id),
        status=_STATUS[proposal.status],
        user_prompt=sendable(proposal.user_prompt),
        file_count=proposal.file_count,
        created_by_user_id=str(proposal.created_by_user_id),
    )
    if proposal.context_file_path is not None:
        message.context_file_path = sendable(proposal.context_file_path)
    if proposal.context_selection is not None:
        message.context_selection = sendable(proposal.context_selection)
    for path in sorted(proposal.files):
        fill_content(message.generated_files.add(path=sendable(path)), proposal.files[path])
    for rejected in proposal.rejected_files:
        message.rejected_files.add(path=sendable(_clipped(rejected)), reason=rejected.fault.value)
    set_time(message.create_time, proposal.created_at)
    if proposal.completed_at is not None:
        set_time(message.complete_time, proposal.completed_at)
    if proposal.resolved_by_user_id is not None:
        message.resolved_by_user_id = str(proposal.resolved_by_user_id)
    if proposal.resolved_at is not None:
        set_time(message.resolve_time, proposal.resolved_at)
    if proposal.failure is not None:
        message.failure.CopyFrom(_failure_message(proposal.failure))
    return message


def workflow_message(workflow: Workflow) -> m.Workflow:
    """A workflow with the files that the record has, in path order (contract: Workflow)."""
    message = m.Workflow(
        id=str(workflow.id),
        name=workflow.name,
        owner_user_id=str(workflow.owner_user_id),
        current_draft_id=str(workflow.current_draft_id),
    )
    message.agent_definition.update(dict(workflow.agent_definition))
    set_time(message.create_time, workflow.created_at)
    for path in sorted(workflow.files):
        message.files.add(path=path, text=workflow.files[path])
    return message


def proposals_message(page: Page) -> m.ListProposalsResponse:
    """A page of proposals."""
    return m.ListProposalsResponse(
        proposals=map(proposal_message, page.items), next_page_token=page.next_token or ""
    )


def workflows_message(page: Page) -> m.ListWorkflowsResponse:
    """A page of workflows."""
    return m.ListWorkflowsResponse(
        workflows=map(workflow_message, page.items), next_page_token=page.next_token or ""
    )


def grant_message(grant: Grant) -> m.Grant:
    """One user's access (contract: Grant)."""
    message = m.Grant(
        proposal_id=str(grant.proposal_id),
        user_id=str(grant.user_id),
        access_type=_ACCESS_TYPE[grant.access_type],
    )
    if grant.email is not None:
        message.email = sendable(grant.email)
    set_time(message.grant_time, grant.granted_at)
    return message


def grants_message(grants: Sequence[Grant]) -> m.ListGrantsResponse:
    """Who has access."""
    return m.ListGrantsResponse(grants=map(grant_message, grants))


def share_link_message(link: ShareLink) -> m.ShareLink:
    """A share link, with its secret if the record has it (contract: ShareLink)."""
    message = m.ShareLink(
        id=str(link.id),
        proposal_id=str(link.proposal_id),
        thread_id=str(link.thread_id),
        after_seq=link.after_seq,
        created_by_user_id=str(link.created_by_user_id),
    )
    if link.secret is not None:
        message.secret = link.secret
    set_time(message.create_time, link.created_at)
    set_time(message.expire_time, link.expires_at)
    return message


def share_links_message(links: Sequence[ShareLink]) -> m.ListShareLinksResponse:
    """The links that are good."""
    return m.ListShareLinksResponse(share_links=map(share_link_message, links))


# --- JSON ------------------------------------------------------------------------------------


def _id(value: UUID | str | None) -> str | None:
    return None if value is None else str(value)


def _time(value: datetime | None) -> str | None:
    return None if value is None else rfc3339(value)


def _failure_json(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else {"reason": failure.reason, "message": failure.message}


def websocket_url(thread_id: UUID) -> str:
    """Where a thread's events can be followed by WebSocket (seed)."""
    return f"/api/ws/refinements/{thread_id}"


def events_url(thread_id: UUID) -> str:
    """Where a thread's events can be read by page or as SSE."""
    return f"/api/refinements/{thread_id}/events"


def proposal_url(proposal_id: UUID) -> str:
    """Where a proposal is read; the `Location` of a start."""
    return f"/api/proposals/{proposal_id}"


def started_json(refinement: Refinement) -> dict[str, Any]:
    """The answer to a start: the seed's five fields."""
    return {
        "proposal_id": str(refinement.proposal_id),
        "thread_id": str(refinement.thread_id),
        "status": refinement.status.value,
        "websocket_url": websocket_url(refinement.thread_id),
        "created_at": rfc3339(refinement.created_at),
    }


def ticket_json(ticket: Ticket) -> dict[str, Any]:
    """A new ticket, and the address that it opens."""
    return {
        "ticket": ticket.ticket,
        "thread_id": str(ticket.thread_id),
        "expires_at": _time(ticket.expires_at),
        "websocket_url": f"{websocket_url(ticket.thread_id)}?ticket={ticket.ticket}",
    }


def refinement_json(refinement: Refinement) -> dict[str, Any]:
    """Where a refinement stands."""
    return {
        "thread_id": str(refinement.thread_id),
        "proposal_id": str(refinement.proposal_id),
        "workflow_id": str(refinement.workflow_id),
        "status": refinement.status.value,
        "epoch": refinement.epoch,
        "last_seq": refinement.last_seq,
        "floor": refinement.floor,
        "created_at": rfc3339(refinement.created_at),
        "completed_at": _time(refinement.completed_at),
        "failure": _failure_json(refinement.failure),
        "websocket_url": websocket_url(refinement.thread_id),
        "events_url": events_url(refinement.thread_id),
    }


def proposal_json(proposal: Proposal, *, listed: bool = False) -> dict[str, Any]:
    """The seed's proposal and more. `generated_files` and `rejected_files` are null before the terminal
    status and in lists."""
    files = rejected = None
    if proposal.status.terminal and not listed:
        rejected = [{"path": _clipped(each), "reason": each.fault.value} for each in proposal.rejected_files]
        files = {path: proposal.files[path].legacy_form() for path in sorted(proposal.files)}
    return {
        "id": str(proposal.id),
        "draft_id": str(proposal.draft_id),
        "workflow_id": str(proposal.workflow_id),
        "thread_id": str(proposal.thread_id),
        "status": proposal.status.value,
        "user_prompt": proposal.user_prompt,
        "context_file_path": proposal.context_file_path,
        "context_selection": proposal.context_selection,
        "generated_files": files,
        "rejected_files": rejected,
        "file_count": proposal.file_count,
        "created_at": rfc3339(proposal.created_at),
        "completed_at": _time(proposal.completed_at),
        "created_by_user_id": str(proposal.created_by_user_id),
        "resolved_by_user_id": _id(proposal.resolved_by_user_id),
        "resolved_at": _time(proposal.resolved_at),
        "failure": _failure_json(proposal.failure),
    }


def workflow_json(workflow: Workflow) -> dict[str, Any]:
    """A workflow; `files` maps path to text."""
    return {
        "id": str(workflow.id),
        "name": workflow.name,
        "owner_user_id": str(workflow.owner_user_id),
        "agent_definition": dict(workflow.agent_definition),
        "current_draft_id": str(workflow.current_draft_id),
        "created_at": rfc3339(workflow.created_at),
        "files": {path: workflow.files[path] for path in sorted(workflow.files)},
    }


def proposals_json(page: Page) -> dict[str, Any]:
    """A page of proposals, without files; `next_cursor` is null on the last one."""
    return {
        "items": [proposal_json(item, listed=True) for item in page.items],
        "next_cursor": page.next_token,
    }


def workflows_json(page: Page) -> dict[str, Any]:
    """A page of workflows, without files; `next_cursor` is null on the last one."""
    return {"items": [workflow_json(item) for item in page.items], "next_cursor": page.next_token}


def grant_json(grant: Grant) -> dict[str, Any]:
    """One user's access."""
    return {
        "proposal_id": str(grant.proposal_id),
        "user_id": str(grant.user_id),
        "access_type": grant.access_type.value,
        "email": grant.email,
        "granted_at": rfc3339(grant.granted_at),
    }


def grants_json(grants: Sequence[Grant]) -> dict[str, Any]:
    """Who has access."""
    return {"items": [grant_json(grant) for grant in grants]}


def share_link_json(link: ShareLink) -> dict[str, Any]:
    """A share link, and the addresses that it opens; `secret` is null but when it is made."""
    return {
        "id": str(link.id),
        "proposal_id": str(link.proposal_id),
        "thread_id": str(link.thread_id),
        "after_seq": link.after_seq,
        "created_by_user_id": str(link.created_by_user_id),
        "created_at": rfc3339(link.created_at),
        "expires_at": rfc3339(link.expires_at),
        "secret": link.secret,
        "proposal_url": proposal_url(link.proposal_id),
        "websocket_url": websocket_url(link.thread_id),
        "events_url": events_url(link.thread_id),
    }


def share_links_json(links: Sequence[ShareLink]) -> dict[str, Any]:
    """The links that are good."""
    return {"items": [share_link_json(link) for link in links]}
