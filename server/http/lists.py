"""Lists by page, with a link to the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode

from server.http.json_io import HubRequest
from server.http.large_answers import JsonText
from server.http.openapi import header
from server.wire.diffs import DiffPage
from server.wire.drafts import DraftVersionPage
from server.wire.file_history import FileAtPage
from server.wire.proposals import ProposalPage
from server.wire.text import dumps
from server.wire.webhooks import WebhookDeliveryPage, WebhookPage
from server.wire.workflows import WorkflowPage

LINK = header("Link", 'The next page, as `rel="next"`; absent on the last one.')

_NO_HEADERS: Mapping[str, str] = {}

P = TypeVar(
    "P",
    WorkflowPage,
    ProposalPage,
    DraftVersionPage,
    DiffPage,
    FileAtPage,
    WebhookPage,
    WebhookDeliveryPage,
)


def list_text(request: HubRequest, page: P, headers: Mapping[str, str] = _NO_HEADERS) -> JsonText:
    """A page, with the address of the next one in `Link`, and other headers."""
    headers = dict(headers)
    if page.next_cursor is not None:
        members = urlencode({**dict(request.query_params), "cursor": page.next_cursor})
        headers["Link"] = f'<{request.url.path}?{members}>; rel="next"'
    return JsonText(dumps(page), headers)
