"""Tickets: how a browser opens a stream without a token in its address (ADR 0016).

A ticket is valid once, for `LIFETIME`, for one user and one thread. It is a secret: stores keep its hash.

A browser's `EventSource` reconnects to the same address, with the id of the last event. Therefore a ticket
that opened server-sent events also resumes them, for `RESUMABLE` and not longer than its user's token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Protocol
from uuid import UUID

from server.domain.access.on_behalf_of import for_unknown_caller
from server.domain.access.quotas import Quotas
from server.domain.errors import NotFound, Unauthenticated
from server.domain.model import Principal
from server.domain.proposals.store import ProposalStore

LIFETIME = timedelta(seconds=30)
#: Time after the first use of a ticket in which it resumes server-sent events.
RESUMABLE = timedelta(hours=1)
#: Longest text that can be a ticket, in characters.
MAX_TICKET_CHARS = 64
#: Begins what is hashed for a ticket that resumes. No text has this byte in UTF-8, so no ticket can begin so.
_RESUME = b"\xff"


def _new_secret() -> str:
    return token_urlsafe(32)  # 256 bits


@dataclass(frozen=True, slots=True)
class Ticket:
    """A new ticket. `expires_at` is by the store's clock."""

    ticket: str
    thread_id: UUID
    expires_at: datetime


class TicketStore(Protocol):
    """Tickets by their hash, which may be used. Times are the store's own."""

    async def put(
        self, sha256: bytes, principal: Principal, thread_id: UUID, lifetime: timedelta
    ) -> datetime:
        """Store a ticket; returns when it expires."""
        ...

    async def take(
        self,
        sha256: bytes,
        thread_id: UUID,
        *,
        replacement: bytes | None = None,
        lifetime: timedelta | None = None,
    ) -> Principal | None:
        """Delete the ticket; returns its user if it was valid for the thread, else None.

        A ticket presented for another thread is used up too. Returns None for a disabled user. replacement:
        the hash of a ticket that takes the place of a valid one, for this lifetime.
        """
        ...

    async def find(self, sha256: bytes, thread_id: UUID) -> Principal | None:
        """The user of the ticket if it is valid for the thread, else None; the ticket stays.

        Also returns None for a disabled user, and when the token that it was issued for has expired.
        """
        ...


class Tickets:
    """Issues and redeems tickets. `make_secret` returns a new secret of at least 256 random bits."""

    def __init__(
        self,
        *,
        store: TicketStore,
        proposals: ProposalStore,
        quotas: Quotas,
        make_secret: Callable[[], str] = _new_secret,
    ) -> None:
        self._store, self._proposals, self._quotas = store, proposals, quotas
        self._make_secret = make_secret

    async def issue(self, principal: Principal, thread_id: UUID) -> Ticket:
        """A ticket to follow the thread, which counts as a creation.

        Raises LimitReached, and NotFound when the principal may not see the thread.
        """
        await self._quotas.count_creation(principal.quota_id)
        if await self._proposals.refinement(principal, thread_id) is None:
            raise NotFound("no such refinement")
        ticket = self._make_secret()
        expires_at = await self._store.put(_digest(ticket), principal, thread_id, LIFETIME)
        return Ticket(ticket, thread_id, expires_at)

    async def redeem(self, ticket: str, thread_id: UUID) -> Principal:
        """The caller that the ticket was issued to, until the token of that call expires.

        Raises Unauthenticated, with the same text for every ticket that is not valid.
        """
        return await self._redeem(ticket, thread_id)

    async def _redeem(self, ticket: str, thread_id: UUID, **replaced: Any) -> Principal:
        """As `redeem`. replaced: by what, as of `TicketStore.take`."""
        found = None
        if 0 < len(ticket) <= MAX_TICKET_CHARS:
            digest = _digest(ticket)
            with for_unknown_caller(digest):
                found = await self._store.take(digest, thread_id, **replaced)
        if found is None:
            raise Unauthenticated("the ticket is not valid or has been used already: get a new one")
        return found

    async def redeem_for_events(self, ticket: str, thread_id: UUID, *, resumed: bool) -> Principal:
        """As `redeem`, for server-sent events. resumed: the client has events of an earlier connection, so
        the ticket may have been used for one."""
        resuming = _digest(ticket[:MAX_TICKET_CHARS], purpose=_RESUME)
        if resumed:
            with for_unknown_caller(resuming):
                found = await self._store.find(resuming, thread_id)
            if found is not None:
                return found
        # In one step: a ticket that was used up without it could not be used again after an outage.
        return await self._redeem(ticket, thread_id, replacement=resuming, lifetime=RESUMABLE)


def _digest(ticket: str, *, purpose: bytes = b"") -> bytes:
    return sha256(purpose + ticket.encode("utf-8", "replace")).digest()
