"""The gRPC face: the services of the contract, health, and reflection in development."""

from __future__ import annotations

from dataclasses import dataclass

import grpc.aio
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from ide_orchestrator.v1 import access_pb2, proposal_pb2, refinement_pb2, workflow_pb2
from ide_orchestrator.v1.access_pb2_grpc import add_AccessServiceServicer_to_server
from ide_orchestrator.v1.proposal_pb2_grpc import add_ProposalServiceServicer_to_server
from ide_orchestrator.v1.refinement_pb2_grpc import add_RefinementServiceServicer_to_server
from ide_orchestrator.v1.workflow_pb2_grpc import add_WorkflowServiceServicer_to_server
from server.auth.authenticator import Authenticator
from server.domain.access.sharing import ProposalAccess
from server.domain.proposals.service import ProposalService
from server.domain.refinements import Refinements
from server.domain.streams.observer import ReaderObserver
from server.domain.workflows import WorkflowService
from server.grpc.health import Health
from server.grpc.interceptors import OPEN_SERVICES, AsGeneratorInterceptor, Authentication, ErrorInterceptor
from server.grpc.servicers import AccessServicer, ProposalServicer, RefinementServicer, WorkflowServicer
from server.grpc.watch import WatchRegistry

#: The contract's services.
SERVICES = tuple(
    str(service.full_name)
    for file in (each.DESCRIPTOR for each in (refinement_pb2, proposal_pb2, access_pb2, workflow_pb2))
    for service in file.services_by_name.values()
)


@dataclass(frozen=True, slots=True)
class GrpcServices:
    """What the face calls, ready to use."""

    refinements: Refinements
    proposals: ProposalService
    access: ProposalAccess
    workflows: WorkflowService
    authenticator: Authenticator
    readers: ReaderObserver


@dataclass(frozen=True, slots=True)
class GrpcFace:
    """The face: bind `server` to addresses, then start, drain, stop."""

    server: grpc.aio.Server
    health: Health
    watches: WatchRegistry

    async def start(self) -> None:
        """Take calls and say SERVING."""
        await self.server.start()
        await self.health.serving()

    async def drain(self) -> None:
        """Say NOT_SERVING; calls are still taken, since not everybody looks at once."""
        await self.health.not_serving()

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, end the watches with SHUTTING_DOWN, and cut what is left after `grace_s`."""
        self.watches.end()
        await self.server.stop(grace_s)


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What clients may take. receive_bytes: largest request. write_s: longest wait for a watch's reader to
    take a message. calls: most at a time on this replica, and streams: on one connection.
    connection_age_s: after which a connection is asked to go, for clients to spread over replicas; its calls
    have `connection_grace_s` to end."""

    receive_bytes: int = 4 << 20
    write_s: float = 30.0
    calls: int = 10_000
    streams: int = 2_000
    connection_age_s: float = 3600.0
    connection_grace_s: float = 600.0


DEFAULT_LIMITS = GrpcLimits()


def _traced() -> grpc.aio.ServerInterceptor:
    """A span for each call; the library has no types."""
    made: grpc.aio.ServerInterceptor = aio_server_interceptor()  # type: ignore[no-untyped-call]
    return made


def server_options(limits: GrpcLimits, *, reuse_port: bool) -> list[tuple[str, int]]:
    """The channel arguments of grpc: limits, keepalive, and how a port is taken.

    Without `reuse_port` a second hub on the port fails to bind, instead of sharing it silently.
    """
    return [
        ("grpc.max_receive_message_length", limits.receive_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_connection_age_ms", round(limits.connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", round(limits.connection_grace_s * 1000)),
        # Nobody needs more than a token and a trace.
        ("grpc.max_metadata_size", 16 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        # A connection whose other end is gone is found out within 45 s, watches or not.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 15_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # By default a client that pings every 10 s on a quiet watch is cut off for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    ]


def create_grpc_server(
    services: GrpcServices,
    *,
    dev: bool,
    limits: GrpcLimits = DEFAULT_LIMITS,
    peers: frozenset[str] = frozenset(),
    traced: bool = False,
    reuse_port: bool = False,
) -> GrpcFace:
    """The face, not yet bound to an address.

    dev: with reflection. limits: grpc itself refuses what is above them, with RESOURCE_EXHAUSTED. peers:
    names of certificates that may call, empty for all. traced: with a span for each call.
    """
    server = grpc.aio.server(
        interceptors=(
            *((_traced(), AsGeneratorInterceptor()) if traced else ()),
            ErrorInterceptor(peers),
            Authentication(services.authenticator),
        ),
        options=server_options(limits, reuse_port=reuse_port),
        maximum_concurrent_rpcs=limits.calls,
    )
    watches = WatchRegistry(services.refinements, services.readers, write_s=limits.write_s)
    add_RefinementServiceServicer_to_server(RefinementServicer(services.refinements, watches), server)
    add_ProposalServiceServicer_to_server(ProposalServicer(services.proposals), server)
    add_AccessServiceServicer_to_server(AccessServicer(services.access), server)
    add_WorkflowServiceServicer_to_server(WorkflowServicer(services.workflows), server)
    health = Health(SERVICES)
    health.add_to(server)
    if dev:
        reflection.enable_server_reflection((*SERVICES, *sorted(OPEN_SERVICES)), server)
    return GrpcFace(server, health, watches)
