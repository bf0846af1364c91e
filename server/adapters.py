"""The adapters and limits that the settings ask for.

Adapters that need the Redis client are imported only when they are used: the import takes a sixth of the
start-up time, and most hubs do not need it.
"""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg

from server.agent_server.client import AgentServer
from server.auth.keyset import KeySet
from server.auth.tokens import SharedSecret, TokenVerifier
from server.clock import SystemClock
from server.db.wakeup_key import read_wakeup_key
from server.domain.access.quotas import QuotaLimits
from server.domain.runs.limits import SWEEP_S, RunLimits
from server.domain.server_info import GrpcEndpoint
from server.domain.streams.wakeups import Wakeups
from server.grpc.transport import Tls
from server.observability.metrics import Metrics
from server.runtime.client import DeepagentsRuntime
from server.runtime.websocket import FindMessages
from server.settings.loading import SettingsError
from server.settings.settings import Settings
from server.wakeups.postgres import PostgresWakeups

#: The adapters of a runtime.
HubRuntime: TypeAlias = DeepagentsRuntime | AgentServer


def run_limits(settings: Settings) -> RunLimits:
    """The limits of runs that the settings ask for."""
    return RunLimits(
        max_duration_s=settings.run_max_duration_s,
        idle_s=settings.run_idle_s,
        silent_s=settings.run_silent_s,
        empty_result_grace_s=settings.empty_result_grace_s,
        renew_s=settings.lease_ttl_s / 3,
        # A run that is handed over waits for the next sweep.
        sweep_s=min(SWEEP_S, settings.lease_ttl_s / 3),
        # A LangGraph server repeats the events of a run.
        profile="full" if settings.runtime_kind == "langgraph-server" else settings.runtime_profile,
    )


def quota_limits(settings: Settings) -> QuotaLimits:
    """The limits of one caller that the settings ask for."""
    return QuotaLimits(
        max_active_runs=settings.max_active_runs,
        max_creates_per_minute=settings.max_creates_per_minute,
        max_streams=settings.max_streams,
    )


def create_runtime(
    settings: Settings, runtime_url: str, metrics: Metrics, find_messages: FindMessages
) -> HubRuntime:
    """The runtime that the settings ask for (ADR 0052), with the source of its frames (ADR 0013).
    find_messages: in a stream over a WebSocket."""
    if settings.runtime_kind == "langgraph-server":
        api_key = settings.langgraph_api_key
        return AgentServer(
            runtime_url,
            settings.langgraph_assistant,
            api_key=api_key.get_secret_value() if api_key is not None else "",
            on_answer=metrics.answered,
        )
    if settings.runtime_events_url is not None:
        from server.runtime.channel import ChannelRuntime

        events_url = settings.runtime_events_url.get_secret_value()
        return ChannelRuntime(
            runtime_url, events_url, can_resume=settings.runtime_can_resume, on_answer=metrics.answered
        )
    return DeepagentsRuntime(
        runtime_url,
        can_resume=settings.runtime_can_resume,
        find_messages=find_messages,
        on_answer=metrics.answered,
    )


def create_wakeups(settings: Settings, pool: asyncpg.Pool, direct_dsn: str) -> Wakeups:
    """The carrier of wake-ups that the settings ask for (ADR 0011)."""
    if settings.wakeup_url is not None:
        from server.wakeups.redis import RedisWakeups

        return RedisWakeups(settings.wakeup_url.get_secret_value(), lambda: read_wakeup_key(pool))
    return PostgresWakeups(pool, direct_dsn)


def create_verifier(settings: Settings) -> TokenVerifier:
    """The verifier that the settings ask for. Raises SettingsError when they ask for none, or for two."""
    if settings.jwks_url and settings.jwt_secret is not None:
        raise SettingsError(["IDEO_JWKS_URL: works only without IDEO_JWT_SECRET"])
    if settings.jwks_url:
        return KeySet(
            settings.jwks_url,
            issuer=settings.jwt_issuer or "",
            audience=settings.jwt_audience or "",
            clock=SystemClock(),
        )
    if settings.jwt_secret is not None:
        return SharedSecret(
            settings.jwt_secret.get_secret_value(), settings.jwt_issuer, settings.jwt_audience
        )
    raise SettingsError(["IDEO_JWKS_URL: is required, or IDEO_JWT_SECRET with IDEO_ENV=dev"])


def tls_files(settings: Settings) -> Tls | None:
    """The gRPC port's TLS that the settings ask for."""
    if settings.grpc_certificate is None or settings.grpc_key is None:
        return None
    return Tls(settings.grpc_certificate, settings.grpc_key, settings.grpc_client_ca)


def grpc_endpoint(settings: Settings, port: int) -> GrpcEndpoint:
    """Where clients reach gRPC. port: the one that the hub listens on."""
    if settings.grpc_public_url is None:
        return GrpcEndpoint("", port, tls=settings.grpc_certificate is not None)
    address = urlsplit(settings.grpc_public_url)
    tls = address.scheme == "https"
    return GrpcEndpoint(address.hostname or "", address.port or (443 if tls else 80), tls)
