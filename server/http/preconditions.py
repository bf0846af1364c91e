"""Headers with which a request depends on the state of what it reads or writes, or is done only once."""

from __future__ import annotations

from typing import Annotated

from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter

from server.domain.etags import IfMatch
from server.http.json_io import HubRequest
from server.http.large_answers import JsonText
from server.http.openapi import header
from server.wire import etags
from server.wire.validation import idempotency_key

REPLAYED = header("Idempotency-Replayed", "`true` when an earlier request with this key did it.")

IfMatchHeader = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The etag of what is written. Needed: 428 without it, 412 when it has another.",
    ),
]
IfNoneMatchHeader = Annotated[
    str | None,
    HeaderParameter(
        name="If-None-Match", description="An etag that the caller has: 304 if what is read still has it."
    ),
]
KeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Names the request: sent again with the same key, it does nothing twice. Valid for "
        "24 hours.",
        schema_extra={"pattern": "^[!-~]{1,255}$"},
    ),
]

#: What a read that has If-None-Match may answer.
NOT_MODIFIED = {304: ResponseSpec(None, description="What is read still has the etag of `If-None-Match`")}


def if_match(request: HubRequest) -> IfMatch | None:
    """The etags of which a write needs one to be the resource's; None when the request has none."""
    return etags.if_match(request.joined_header("if-match"))


def not_modified(request: HubRequest, etag: str) -> JsonText | None:
    """The answer to a caller who has what it reads: this etag is one of its `If-None-Match`; None for
    others."""
    if not etags.none_match(request.joined_header("if-none-match"), etag):
        return None
    return JsonText(None, {"ETag": etags.quoted(etag)}, 304)


def request_key(request: HubRequest) -> str | None:
    """The idempotency key; None without one. Raises InvalidArgument.

    Repeated headers are joined into one list, which is not a valid key.
    """
    return idempotency_key(request.joined_header("idempotency-key"), "Idempotency-Key")


def headers_of_write(etag: str, *, replayed: bool = False) -> dict[str, str]:
    """The headers of a write's answer."""
    return {"ETag": etags.quoted(etag)} | headers_of_replay(replayed)


def headers_of_replay(replayed: bool) -> dict[str, str]:
    """The headers that say whether an earlier request with the same key did it."""
    return {"Idempotency-Replayed": "true"} if replayed else {}
