"""The gRPC interface: the services of the contract, health, and reflection in development."""

from __future__ import annotations

from dataclasses import dataclass

import grpc.aio
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from server.grpc.admission import MAX_WAIT_S, MAX_WAITING, Admission
from server.grpc.answers import Answers
from server.grpc.authentication import PUBLIC_SERVICES, Authentication
from server.grpc.fair_server import MAX_PENDING, fair_server
from server.grpc.health import Health
from server.grpc.interceptors import AsGeneratorInterceptor, CallInterceptor
from server.grpc.peers import Peers
from server.grpc.public_streams import PublicStreams
from server.grpc.services import SERVICES, add_services
from server.grpc.threads import let_loop_go_on
from server.grpc.unread_calls import REQUEST_DEADLINE_S, UnreadCalls
from server.grpc.watch import WatchStreams
from server.grpc.writing import GrpcWriter
from server.use_cases import UseCases


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """The interface: bind `server` to addresses, then start, drain, stop."""

    server: grpc.aio.Server
    health: Health
    watches: WatchStreams

    async def start(self) -> None:
        """Accept calls and report SERVING."""
        await self.server.start()
        let_loop_go_on()
        self.health.serving()

    async def drain(self) -> None:
        """Report NOT_SERVING. Calls are still accepted, because clients notice with a delay."""
        self.health.not_serving()

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, end the watches with SHUTTING_DOWN, and cut the others after `grace_s`."""
        self.watches.end()
        await self.server.stop(grace_s)


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """Limits for clients. max_request_bytes: largest request. request_s: time within which it must arrive.
    write_s: longest wait until a stream's reader takes a message. A client that acknowledges nothing for
    `keepalive_s` gets a ping, and is disconnected when it does not answer within `ping_timeout_s`. max_calls:
    concurrent calls on this replica; max_streams: on one connection. connection_age_s: age at which a
    connection is asked to close, so that clients spread over replicas; its calls have `connection_grace_s` to
    end. max_connections: concurrent connections; further ones are closed. handshake_s: time within which a
    new connection must speak HTTP/2, after TLS. connection_idle_s: time without a call after which a
    connection is asked to close. turn_s: longest wait for a call's turn, of a client that makes many."""

    max_request_bytes: int = 4 << 20
    request_s: float = REQUEST_DEADLINE_S
    write_s: float = 30.0
    keepalive_s: float = 30.0
    ping_timeout_s: float = 15.0
    max_calls: int = 10_000
    max_streams: int = 1_000
    connection_age_s: float = 3600.0
    connection_grace_s: float = 600.0
    max_connections: int = 10_000
    handshake_s: float = 10.0
    connection_idle_s: float = 20.0
    turn_s: float = MAX_WAIT_S


DEFAULT_LIMITS = GrpcLimits()


def _tracing() -> grpc.aio.ServerInterceptor:
    """The interceptor that makes a span for each call. The library has no types."""
    interceptor: grpc.aio.ServerInterceptor = aio_server_interceptor()  # type: ignore[no-untyped-call]
    return interceptor


def server_options(limits: GrpcLimits, *, reuse_port: bool) -> list[tuple[str, int]]:
    """The channel arguments for grpc: limits, keepalive, and how to bind the port.

    Without `reuse_port` a second hub fails to bind to the same port, instead of sharing it silently.
    """
    return [
        ("grpc.max_receive_message_length", limits.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.max_concurrent_streams", limits.max_streams),
        ("grpc.max_connection_age_ms", round(limits.connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", round(limits.connection_grace_s * 1000)),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.server_handshake_timeout_ms", round(limits.handshake_s * 1000)),
        ("grpc.max_connection_idle_ms", round(limits.connection_idle_s * 1000)),
        # By default grpc refuses some of the calls that it has not handed out when there are a thousand of
        # them, other callers' too. It does so at random between the first limit and the second.
        ("grpc.server.max_pending_requests", MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING),
        # Identity alone: a message may not grow when it is read.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        # With its probe, grpc takes up to the largest message of each call before anybody reads it; without,
        # 64 KiB, and the rest of the message that is being read.
        ("grpc.http2.bdp_probe", 0),
        # Enough for a token and a trace.
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        # Detects a lost connection, with or without watches.
        ("grpc.keepalive_time_ms", round(limits.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.ping_timeout_s * 1000)),
        # The wait for the answer to a ping, by default a minute; the limit above is for any data.
        ("grpc.http2.ping_timeout_ms", round(limits.ping_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # By default grpc closes the connection of a client that pings every 10 s on a quiet watch.
        ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    ]


def create_grpc_server(
    use_cases: UseCases,
    *,
    dev: bool,
    limits: GrpcLimits = DEFAULT_LIMITS,
    allowed_sans: frozenset[str] = frozenset(),
    traced: bool = False,
    reuse_port: bool = False,
) -> GrpcServer:
    """The interface, not yet bound to an address.

    dev: with reflection. limits: grpc itself refuses what exceeds them, with RESOURCE_EXHAUSTED.
    allowed_sans: names of the certificates that may call, empty for all. traced: with a span for each call.
    """
    writer = GrpcWriter(use_cases.readers, write_s=limits.write_s)
    peers = Peers(use_cases.cut_offs)
    authentication = Authentication(use_cases.authenticator, peers, allowed_sans)
    server = fair_server(
        interceptors=(
            *((_tracing(), AsGeneratorInterceptor()) if traced else ()),
            CallInterceptor(
                authentication,
                peers,
                Admission(use_cases.cut_offs, max_calls=limits.max_calls, max_wait_s=limits.turn_s),
                UnreadCalls(use_cases.cut_offs, deadline_s=limits.request_s),
                PublicStreams(use_cases.cut_offs),
                use_cases.incoming,
            ),
            Answers(use_cases.outgoing, writer),
        ),
        options=server_options(limits, reuse_port=reuse_port),
        maximum_concurrent_rpcs=limits.max_calls + MAX_WAITING,
        peers=peers,
        look=authentication.look,
    )
    watches = add_services(use_cases, writer, server)
    health = Health(SERVICES, writer)
    health.add_to(server)
    if dev:
        reflection.enable_server_reflection((*SERVICES, *sorted(PUBLIC_SERVICES)), server)
    return GrpcServer(server, health, watches)
