"""The options of the HTTP interface."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.http.development_routes import DevelopmentControls
from server.http.multicast import SendToAll, send_to_all
from server.http.origin_log import OriginLog
from server.http.origins import Origins


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """origins: whose pages may call. query_token: whether a stream's address may hold the token. dev: log the
    texts of internal errors. workbench: whether `/` is the workbench. development: what callers of `ideo dev`
    may do to the hub. send_to_all: how the same bytes are sent to many sockets."""

    origins: Origins
    query_token: bool
    dev: bool = False
    workbench: bool = False
    development: DevelopmentControls | None = None
    send_to_all: SendToAll = send_to_all
    origin_log: OriginLog = field(init=False, default_factory=OriginLog)
