"""What a WebSocket's upgrade request asks for: which form, by whom, from where. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Collection, Sequence
from enum import Enum

from server.domain.access.sharing import SHARE_PREFIX

#: Subprotocols that carry a token instead of naming a form; never echoed.
BEARER_PREFIX = "bearer."


#: The seed's frames by name, for a browser that offers a token: it takes no answer without a subprotocol.
SEED_PROTOCOL = "ideo.legacy"


class Form(Enum):
    """The form of a socket's messages."""

    SEED = "seed"
    JSON = "json"
    PROTO = "proto"


_FORMS = {SEED_PROTOCOL: Form.SEED, "ideo.v1": Form.JSON, "ideo.v1.proto": Form.PROTO}


def form_of(offered: Sequence[str]) -> tuple[Form, str | None]:
    """The form of the first subprotocol that is known, and its name; the seed's, unnamed, when none is."""
    return next(((_FORMS[name], name) for name in offered if name in _FORMS), (Form.SEED, None))


def token_of(query_token: str | None, authorization: str | None, offered: Sequence[str]) -> str | None:
    """The token: of a subprotocol, as it is or in base64url, else of the `Authorization` header, else of
    the query (seed)."""
    for name in offered:
        if name.startswith(BEARER_PREFIX):
            return _unwrapped(name.removeprefix(BEARER_PREFIX))
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return query_token


def _unwrapped(text: str) -> str:
    """A token out of base64url without padding, in which it has no dots; any other, and a share link's
    secret, as it is."""
    if "." in text or text.startswith(SHARE_PREFIX):
        return text
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except ValueError:
        return text


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
