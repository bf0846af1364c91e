"""Etags on the wire: `If-Match` and `If-None-Match` over HTTP (RFC 9110 section 13.1), `etag` over gRPC."""

from __future__ import annotations

import re

from server.domain.etags import IfMatch

#: An entity tag of a list, weak or strong; also without its quotes, as the JSON has it.
_TAG = re.compile(r'\s*(?P<weak>W/)?(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s",]+))\s*(?:,|$)')


def quoted(etag: str) -> str:
    """The header `ETag` of an etag: a strong one."""
    return f'"{etag}"'


def if_match(text: str | None) -> IfMatch | None:
    """The etags of which a write needs one to be the resource's; None when the request has none.

    Weak etags never match, and what is not an etag does not either.
    """
    if not text or not text.strip():
        return None
    if text.strip() == "*":
        return IfMatch(any_state=True)
    return IfMatch(frozenset(etag for weak, etag in _tags(text) if not weak))


def none_match(text: str | None, etag: str) -> bool:
    """Whether the sender of this `If-None-Match` already has the resource with the etag."""
    if not text:
        return False
    return text.strip() == "*" or etag in etags_of(text)


def etags_of(text: str) -> list[str]:
    """The etags of an `If-None-Match`, strong and weak ones."""
    return [etag for _, etag in _tags(text)]


def _tags(text: str) -> list[tuple[bool, str]]:
    """The etags of a list, with whether each is weak; those before the first that is malformed."""
    found = []
    at = 0
    while (tag := _TAG.match(text, at)) is not None:
        found.append((tag["weak"] is not None, tag["quoted"] if tag["quoted"] is not None else tag["bare"]))
        at = tag.end()
    return found
