"""Who opens a stream. A browser's WebSocket and `EventSource` can set no header, so the address may hold a
ticket or, where that is allowed, a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from litestar.datastructures import Headers
from litestar.types import Scope

from server.auth.authenticator import bearer_token
from server.domain.access.refusals import TICKET
from server.domain.errors import NotFound, PermissionDenied, Unauthenticated
from server.domain.model import Principal
from server.http.handshake import token_of
from server.use_cases import UseCases
from server.wire.validation import uuid_or_not_found

#: A thread that belongs to another user and one that does not exist get the same answer.
FORBIDDEN = "this refinement does not exist, or you may not follow it"


class StreamCallers:
    """Authenticates those who open a stream. query_token: whether `?token=` is allowed."""

    def __init__(self, use_cases: UseCases, *, query_token: bool) -> None:
        self._tickets, self._authenticator = use_cases.tickets, use_cases.authenticator
        self._query_token = query_token

    async def of_socket(self, thread_id: str, scope: Scope, offered: Sequence[str]) -> Principal:
        """Who opens a WebSocket. `offered`: its subprotocols. Raises Unauthenticated, PermissionDenied."""
        query = query_of(scope)
        ticket = query.get("ticket", [""])[0]
        if ticket:
            try:
                thread = uuid_or_not_found(thread_id, "refinement")
            except NotFound:
                raise PermissionDenied(FORBIDDEN) from None
            try:
                return await self._tickets.redeem(ticket, thread)
            except Unauthenticated as error:
                self._authenticator.on_refused(error, presented=TICKET)
                raise
        return await self._by_token(query, Headers.from_scope(scope), offered)

    async def of_event_stream(self, thread_id: str, scope: Scope) -> Principal:
        """Who opens server-sent events. Raises Unauthenticated, PermissionDenied, NotFound."""
        query, headers = query_of(scope), Headers.from_scope(scope)
        ticket = query.get("ticket", [""])[0]
        if not ticket:
            return await self._by_token(query, headers, ())
        thread = uuid_or_not_found(thread_id, "refinement")
        try:
            return await self._tickets.redeem_for_events(
                ticket, thread, resumed=bool(headers.get("last-event-id"))
            )
        except Unauthenticated as error:
            self._authenticator.on_refused(error, presented=TICKET)
            raise

    async def _by_token(
        self, query: Mapping[str, list[str]], headers: Headers, offered: Sequence[str]
    ) -> Principal:
        in_query = query.get("token", [None])[0] if self._query_token else None
        token = token_of(in_query, bearer_token(headers.getall("authorization", [])), offered)
        return await self._authenticator.authenticate(token, read_only=True)


def query_of(scope: Scope) -> Mapping[str, list[str]]:
    """The values of each member of the address's query."""
    return parse_qs(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
