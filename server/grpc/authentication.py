"""Who calls, and where the call is counted.

Every method needs a valid token, except those of health and reflection. Only these two services are named
here, so a new method needs a token too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from ide_orchestrator.v1 import proposal_pb2, refinement_pb2
from server.auth.authenticator import Authenticator
from server.domain.access.on_behalf_of import on_behalf_of
from server.domain.access.throttle import REFUSED, Counted, counted_with
from server.domain.errors import HubError, PermissionDenied, Unauthenticated
from server.domain.model import Principal
from server.grpc.admission import OF_STRANGER
from server.grpc.peers import Peers
from server.grpc.transport import check_peer
from server.grpc.unread_calls import Group
from server.use_cases import OPERATORS_SERVICE, READABLE_BY_SHARE_LINK

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

#: Calls, whose request has not arrived, of the callers that are one for the quotas, and of one of them.
MAX_UNREAD, MAX_UNREAD_OF_ONE = 400, 200
#: The same for calls that need no token, of all connections and of one.
_STRANGERS = Group("strangers", 400, 50)

#: Connections whose first calls are looked at at a time, and for whom that is done.
MAX_LOOKS, _LOOKS = 8, "first calls"
#: Services that anyone may call.
PUBLIC_SERVICES = frozenset(
    str(file.services_by_name[name].full_name)
    for file, name in (
        (health_pb2.DESCRIPTOR, "Health"),
        (reflection_pb2.DESCRIPTOR, "ServerReflection"),
    )
)

#: The same by the path of a call.
_READABLE_BY_SHARE_LINK = frozenset(
    f"/{service.full_name}/{name}"
    for file in (refinement_pb2.DESCRIPTOR, proposal_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for name in READABLE_BY_SHARE_LINK & {method.name for method in service.methods}
)

_caller: ContextVar[Principal] = ContextVar("caller")


def caller() -> Principal:
    """The caller of the current call."""
    return _caller.get()


def readable_by_share_link(method: str) -> bool:
    """Whether a share link's secret is enough for the method, `/package.Service/Method`."""
    return method in _READABLE_BY_SHARE_LINK


def operation_of(method: str) -> str | None:
    """The name of a method that only operators may call, `/package.Service/Method`; None for any other."""
    service, _, name = method.rpartition("/")
    return name if service.rpartition(".")[2] == OPERATORS_SERVICE else None


def is_public(method: str) -> bool:
    """Whether anyone may call the method, `/package.Service/Method`."""
    return method[1:].partition("/")[0] in PUBLIC_SERVICES


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has to send the request, and with whom its calls are counted: until their request has arrived, and
    in a second. memory: whose large requests share the memory."""

    caller: Hashable
    unread: Group
    rates: Counted
    memory: Hashable


def begin_call(principal: Principal) -> Identity:
    """Set the caller of the current call."""
    _caller.set(principal)
    group = Group(principal.quota_id, MAX_UNREAD, MAX_UNREAD_OF_ONE)
    return Identity(principal.user_id, group, counted_with(principal), principal.memory_id)


class Authentication:
    """Who calls: the peer, by the name in its certificate, then the caller. peers: learn who was identified,
    and that nobody was. allowed_sans: names of the certificates that may call; empty for all."""

    def __init__(
        self, authenticator: Authenticator, peers: Peers, allowed_sans: frozenset[str] = frozenset()
    ) -> None:
        self._authenticator, self._peers, self._allowed_sans = authenticator, peers, allowed_sans
        self._looks = asyncio.Semaphore(MAX_LOOKS)

    async def __call__(self, method: str, context: Context) -> Identity:
        """The caller; a stranger is its connection.

        Raises Unauthenticated, PermissionDenied, KeysUnavailable, DatabaseUnavailable.
        """
        connection = context.peer()
        try:
            if self._allowed_sans:
                check_peer(context.auth_context(), self._allowed_sans)
            if is_public(method):
                self._peers.meet(connection)
                return Identity(connection, _STRANGERS, ((connection, OF_STRANGER),), "strangers")
            principal = await self._authenticator.authenticate_headers(
                _presented(context.invocation_metadata()),
                read_only=readable_by_share_link(method),
                operation=operation_of(method),
            )
        except (Unauthenticated, PermissionDenied):
            self._peers.meet(connection)
            raise
        self._peers.identify(connection, principal)
        return begin_call(principal)

    async def look(self, connection: str, metadata: Metadata) -> None:
        """Look at a connection's first call before its turn: a caller need not wait among strangers, and a
        connection without one is met."""
        presented = _presented(metadata)
        async with self._looks:
            on_behalf_of.set(_LOOKS)
            try:
                caller = await self._authenticator.recognise(presented)
            except HubError:
                return
        if caller is None:
            self._peers.meet(connection)
        else:
            self._peers.identify(connection, caller)


def _presented(metadata: Metadata | None) -> list[str]:
    """The values of a call's authorization."""
    return [str(value) for key, value in metadata or () if key == "authorization"]


def refused(context: Context) -> Counted:
    """Where a call that is refused is counted."""
    return ((context.peer(), OF_STRANGER), *REFUSED)
