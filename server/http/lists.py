"""Lists by page, with a link to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlencode

from server.http.json_io import HubRequest
from server.http.large_answers import JsonText
from server.http.openapi import header
from server.wire.text import dumps

LINK = header("Link", 'The next page, as `rel="next"`; absent on the last one.')

_NO_HEADERS: Mapping[str, str] = {}


class JsonPage(Protocol):
    """A page as a model of JSON. `next_cursor` is None on the last page."""

    next_cursor: str | None


def list_text(request: HubRequest, page: JsonPage, headers: Mapping[str, str] = _NO_HEADERS) -> JsonText:
    """A page, with the address of the next one in `Link`, and other headers."""
    return page_text(request, dumps(page), page.next_cursor, headers)


def page_text(
    request: HubRequest, text: bytes, next_cursor: str | None, headers: Mapping[str, str] = _NO_HEADERS
) -> JsonText:
    """The same of a page that is text already."""
    headers = dict(headers)
    if next_cursor is not None:
        members = urlencode({**dict(request.query_params), "cursor": next_cursor})
        headers["Link"] = f'<{request.url.path}?{members}>; rel="next"'
    return JsonText(text, headers)
