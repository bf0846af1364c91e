"""What a WebSocket's upgrade request asks for: which form, by whom, from where. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

#: Subprotocols that carry a token instead of naming a form; never echoed.
BEARER_PREFIX = "bearer."


class Form(Enum):
    """The form of a socket's messages; the value is its subprotocol, None for the seed's frames."""

    SEED = None
    JSON = "ideo.v1"
    PROTO = "ideo.v1.proto"


_FORMS = {form.value: form for form in (Form.JSON, Form.PROTO)}


def form_of(offered: Sequence[str]) -> Form:
    """The first subprotocol that is known; the seed's frames when none is."""
    return next((_FORMS[name] for name in offered if name in _FORMS), Form.SEED)


def token_of(query_token: str | None, authorization: str | None, offered: Sequence[str]) -> str | None:
    """The token: of the query (seed), else of the `Authorization` header, else of a subprotocol."""
    if query_token:
        return query_token
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    for name in offered:
        if name.startswith(BEARER_PREFIX):
            return name.removeprefix(BEARER_PREFIX)
    return None


def origin_allowed(origins: Sequence[str], allowed: Collection[str]) -> bool:
    """Whether the request's `Origin` headers are one of the allowed origins, or absent.

    Scheme, host and port must be equal; scheme and host in any case. Only browsers send an origin, and
    they always do: what comes without one is no page of somebody else's.
    """
    if not origins:
        return True
    if len(origins) > 1 or not origins[0].isascii():
        return False
    return origins[0].lower() in {each.lower() for each in allowed}
