"""Client of the IDE Orchestrator.

`Hub` speaks HTTP; `ide_orchestrator.client.grpc.GrpcHub` speaks gRPC and needs the extra `grpc`.
"""

from ide_orchestrator.client.errors import (
    Changed,
    Fault,
    HubError,
    NotAuthenticated,
    NotTrusted,
    Refused,
    Unavailable,
    Uncertain,
)
from ide_orchestrator.client.hub import Hub
from ide_orchestrator.v1.event_pb2 import Event

__all__ = [
    "Changed",
    "Event",
    "Fault",
    "Hub",
    "HubError",
    "NotAuthenticated",
    "NotTrusted",
    "Refused",
    "Unavailable",
    "Uncertain",
]
