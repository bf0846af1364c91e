"""What the HTTP face calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.auth.authenticator import Authenticator
from server.domain.access.sharing import ProposalAccess
from server.domain.access.tickets import Tickets
from server.domain.proposals.service import ProposalService
from server.domain.refinements import Refinements
from server.domain.streams.observer import ReaderObserver
from server.domain.workflows import WorkflowService


@dataclass(frozen=True, slots=True)
class HttpServices:
    """The use cases, ready to use.

    allowed_origins: scheme, host and port of each origin whose pages may call. query_token: whether a
    WebSocket's address may carry the token, as the seed's does. ready: the names of the
    checks that fail. draining: whether this replica is going away. metrics: their exposition and its media
    type. readers: told what happens to them. dev: log the texts of faults.
    """

    refinements: Refinements
    proposals: ProposalService
    access: ProposalAccess
    workflows: WorkflowService
    authenticator: Authenticator
    tickets: Tickets
    allowed_origins: tuple[str, ...]
    query_token: bool
    ready: Callable[[], Awaitable[list[str]]]
    draining: Callable[[], bool]
    metrics: Callable[[], tuple[bytes, str]]
    readers: ReaderObserver
    dev: bool = False
