"""The server's description on the wire: the contract's message, the JSON of the HTTP interface."""

from __future__ import annotations

from typing import Self

import msgspec

from server.domain import server_info as domain
from server.domain.drafts.busy import WhenBusy
from server.wire import messages as m
from server.wire.event_queries import MAX_EVENTS
from server.wire.pages import MAX_PAGE
from server.wire.refinements import MAX_PROMPT, WHEN_BUSY_NUMBERS


class ServerLimits(msgspec.Struct):
    """Limits of requests and of one caller; 0 for no limit."""

    max_prompt_characters: int
    max_page_size: int
    max_events_page_size: int
    max_active_runs: int
    max_creates_per_minute: int
    max_streams: int


class GrpcEndpoint(msgspec.Struct):
    """Where a server is reached over gRPC. `host` is null for the host of the HTTP address."""

    host: str | None
    port: int
    tls: bool


class ServerInfo(msgspec.Struct):
    """A server. Without `input_replies` among the `features`, an agent's questions cannot be answered. Ignore
    unknown features. `when_busy`: what a start without one does while its draft is busy. `grpc`: where gRPC
    is reached; null when the server does not say."""

    server_version: str
    features: list[str]
    when_busy: WhenBusy
    limits: ServerLimits
    grpc: GrpcEndpoint | None

    @classmethod
    def of(cls, info: domain.ServerInfo) -> Self:
        """The JSON of a server."""
        quotas = info.limits
        limits = ServerLimits(
            max_prompt_characters=MAX_PROMPT,
            max_page_size=MAX_PAGE,
            max_events_page_size=MAX_EVENTS,
            max_active_runs=quotas.max_active_runs,
            max_creates_per_minute=quotas.max_creates_per_minute,
            max_streams=quotas.max_streams,
        )
        where = info.grpc
        grpc = None if where is None else GrpcEndpoint(where.host or None, where.port, where.tls)
        return cls(info.version, sorted(info.features), info.when_busy, limits, grpc)


def server_info_message(info: domain.ServerInfo) -> m.ServerInfo:
    """A server (contract: ServerInfo)."""
    shown = ServerInfo.of(info)
    message = m.ServerInfo(
        server_version=shown.server_version,
        features=shown.features,
        when_busy=WHEN_BUSY_NUMBERS[info.when_busy],
        limits=m.ServerLimits(**msgspec.structs.asdict(shown.limits)),
    )
    if info.grpc is not None:
        where = info.grpc
        message.grpc.CopyFrom(m.GrpcEndpoint(host=where.host, port=where.port, tls=where.tls))
    return message
