"""What clients can ask before they use the server: its version, its features and the limits of one caller."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from server.domain.access.quotas import QuotaLimits
from server.domain.drafts.busy import WhenBusy


class Feature(StrEnum):
    """What a server may offer. Clients rely on the values."""

    #: Only with `ideo dev`: its callers may restart the server, and get tokens that end soon.
    DEVELOPMENT_CONTROLS = "development_controls"
    DRAFT_QUEUE = "draft_queue"
    FILE_HISTORY = "file_history"
    #: Only where the runtime can continue a run that has asked a person: the published one cannot.
    INPUT_REPLIES = "input_replies"
    REVIEWS = "reviews"
    #: Only where the runtime stops a run that is cancelled or whose time is over: the published one goes on.
    RUNTIME_CANCEL = "runtime_cancel"
    #: Only where the runtime repeats a run to a connection that comes late, also once the run has ended: a
    #: break between the hub and the runtime costs nothing.
    RUNTIME_REPLAY = "runtime_replay"
    USER_SEARCH = "user_search"
    WEBHOOKS = "webhooks"


@dataclass(frozen=True, slots=True)
class GrpcEndpoint:
    """Where a server is reached over gRPC. host: empty for the host of the HTTP address."""

    host: str
    port: int
    tls: bool


@dataclass(slots=True)
class ServerInfo:
    """A server. when_busy: what a start does by default while another refinement of its draft has not
    ended. grpc: None until its port is bound."""

    version: str
    features: Collection[Feature]
    when_busy: WhenBusy
    limits: QuotaLimits
    grpc: GrpcEndpoint | None = None
