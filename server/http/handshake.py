"""What a WebSocket's upgrade request contains: the form of messages, the token. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Sequence
from enum import Enum

from server.domain.access.sharing import SHARE_PREFIX

#: Starts a subprotocol that holds a token instead of naming a form; never echoed.
BEARER_PREFIX = "bearer."

#: Legacy frames by name, for browsers that offer a token: they need a subprotocol in the answer.
LEGACY_PROTOCOL = "ideo.legacy"


class Form(Enum):
    """The form of a socket's messages."""

    LEGACY = "legacy"
    JSON = "json"
    PROTO = "proto"

    #: Enum's own one is Python code, and each message is found by its form.
    __hash__ = object.__hash__


#: The forms, by their subprotocols.
FORMS = {LEGACY_PROTOCOL: Form.LEGACY, "ideo.v1": Form.JSON, "ideo.v1.proto": Form.PROTO}


def form_of(offered: Sequence[str]) -> tuple[Form, str | None]:
    """The form of the first known subprotocol, and its name; legacy frames and None without one."""
    return next(((FORMS[name], name) for name in offered if name in FORMS), (Form.LEGACY, None))


def token_of(query_token: str | None, header_token: str | None, offered: Sequence[str]) -> str | None:
    """The token: from a subprotocol, plain or in base64url, else from the `Authorization` header, else from
    the query."""
    for name in offered:
        if name.startswith(BEARER_PREFIX):
            return _unwrapped(name.removeprefix(BEARER_PREFIX))
    return query_token if header_token is None else header_token


def _unwrapped(text: str) -> str:
    """A token in base64url without padding (recognised because it has no dots), decoded; any other text, and
    a share link's secret, unchanged."""
    if "." in text or text.startswith(SHARE_PREFIX):
        return text
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except ValueError:
        return text
