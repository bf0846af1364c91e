"""Lists by page, with a link to the next one."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import urlencode

from server.http.json_io import HubRequest, JsonResponse
from server.http.openapi import header
from server.wire.proposals import ProposalPage
from server.wire.workflows import WorkflowPage

LINK = header("Link", 'The next page, as `rel="next"`; absent on the last one.')

P = TypeVar("P", WorkflowPage, ProposalPage)


def list_response(request: HubRequest, page: P) -> JsonResponse[P]:
    """A page, with the address of the next one in `Link`."""
    headers = {}
    if page.next_cursor is not None:
        members = urlencode({**dict(request.query_params), "cursor": page.next_cursor})
        headers["Link"] = f'<{request.url.path}?{members}>; rel="next"'
    return JsonResponse(page, headers=headers)
