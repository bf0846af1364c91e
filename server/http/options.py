"""The options of the HTTP face."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """allowed_origins: scheme, host and port of each origin whose pages may call. query_token: whether a
    WebSocket's address may hold the token. dev: log the texts of internal errors."""

    allowed_origins: tuple[str, ...]
    query_token: bool
    dev: bool = False
