"""What callers can do: the use cases that both faces offer, and what the faces need to offer them."""

from __future__ import annotations

from dataclasses import dataclass

from server.auth.authenticator import Authenticator
from server.domain.access.sharing import AccessStore, Sharing
from server.domain.access.tickets import Tickets
from server.domain.proposals.store import ProposalStore
from server.domain.refinements import Refinements
from server.domain.streams.observer import ReaderObserver
from server.domain.workflows import WorkflowService


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases, ready to use. `authenticator` finds out who calls; `readers` observes who follows."""

    refinements: Refinements
    proposals: ProposalStore
    access: AccessStore
    sharing: Sharing
    workflows: WorkflowService
    tickets: Tickets
    authenticator: Authenticator
    readers: ReaderObserver
