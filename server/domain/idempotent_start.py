"""Idempotent starts: the answer to a repeated start of a refinement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from server.domain.errors import Conflict, KeyReused
from server.domain.model import IdempotencyKey, ProposalStatus, Refinement, StartRefinement
from server.domain.proposals.store import EarlierStart

#: The route of a start on every interface: the same key names the same request on all of them.
START_ROUTE = "start_refinement"
#: Seconds after which a start that is still in progress may be repeated.
IN_FLIGHT_RETRY_S = 1


@dataclass(frozen=True, slots=True)
class Started:
    """A started refinement. `replayed`: an earlier request with the same key started it."""

    refinement: Refinement
    replayed: bool = False


def started_refinement(
    thread_id: UUID, proposal_id: UUID, workflow_id: UUID, at: datetime, *, queued: bool = False
) -> Refinement:
    """The refinement as it was just after its start, whatever has happened since."""
    return Refinement(
        thread_id=thread_id,
        proposal_id=proposal_id,
        workflow_id=workflow_id,
        status=ProposalStatus.QUEUED if queued else ProposalStatus.PROCESSING,
        epoch=1,
        last_seq=0 if queued else 1,
        floor=1,
        created_at=at,
    )


def key_for(command: StartRefinement, key: str) -> IdempotencyKey:
    """The idempotency key of a start."""
    context = [command.context_file_path, command.context_selection]
    request = [str(command.workflow_id), command.user_prompt, *context]
    if command.when_busy is not None:
        request.append(command.when_busy.value)
    return IdempotencyKey.of(START_ROUTE, key, request)


def answer_to_repeat(earlier: EarlierStart, key: IdempotencyKey, workflow_id: UUID) -> Started:
    """The answer to a repeated request. Raises KeyReused, Conflict."""
    if earlier.request_sha256 != key.request_sha256:
        raise KeyReused
    if not earlier.accepted:
        message = "the first request with this idempotency key is still in progress"
        conflict = Conflict(message, retry_after_s=IN_FLIGHT_RETRY_S)
        conflict.proposal_id = earlier.proposal_id
        raise conflict
    first = started_refinement(
        earlier.thread_id, earlier.proposal_id, workflow_id, earlier.created_at, queued=earlier.queued
    )
    return Started(first, replayed=True)
