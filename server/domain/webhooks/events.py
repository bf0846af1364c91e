"""What webhooks report: facts that are stored in the outbox in the transaction in which they become true.

An event names what happened and holds no content: who wants more reads it, with a right to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID, uuid5

from server.domain.model import Failure, ProposalStatus


class EventType(StrEnum):
    """What happened. Clients rely on the values."""

    RUN_FINISHED = "run.finished"
    INPUT_REQUESTED = "input.requested"
    PROPOSAL_RESOLVED = "proposal.resolved"


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """A fact about a proposal. number: tells the proposal's facts of one type apart. data: what is reported
    beside the ids, as members of a JSON object."""

    type: EventType
    proposal_id: UUID
    number: int
    data: Mapping[str, str | int]

    @property
    def id(self) -> UUID:
        """The same for the same fact, however often it is stored."""
        return uuid5(self.proposal_id, f"{self.type} {self.number}")


def run_finished(
    proposal_id: UUID, *, seq: int, status: ProposalStatus, failure: Failure | None, file_count: int
) -> OutboxEvent:
    """A run has ended, with its terminal event as `seq`."""
    reason = failure.reason if failure else ""
    data: dict[str, str | int] = {
        "seq": seq,
        "status": status.value,
        "failure_reason": reason,
        "file_count": file_count,
    }
    return OutboxEvent(EventType.RUN_FINISHED, proposal_id, seq, data)


def input_requested(proposal_id: UUID, *, seq: int) -> OutboxEvent:
    """A run asks for a person's input, in the event `seq`."""
    return OutboxEvent(EventType.INPUT_REQUESTED, proposal_id, seq, {"seq": seq})


def proposal_resolved(proposal_id: UUID, *, resolution: str, draft_version: int = 0) -> OutboxEvent:
    """A proposal was accepted or rejected, which happens once. draft_version: the version of the draft that
    accepting it made; 0 for none."""
    data: dict[str, str | int] = {"resolution": resolution, "draft_version": draft_version}
    return OutboxEvent(EventType.PROPOSAL_RESOLVED, proposal_id, 0, data)
