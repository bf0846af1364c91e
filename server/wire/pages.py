"""Pages of lists: the query that requests one."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import ConfigDict, Field

from server.wire import messages as m
from server.wire.limits import limits_of
from server.wire.validation import DIGITS, QueryModel

MAX_PAGE, DEFAULT_PAGE = limits_of(m.ListProposalsRequest, "page_size").max, 50

#: What page tokens look like: base64url of 25 bytes, or 21 for versions, the first of which names the list.
_CURSOR = "^{}[A-Za-z0-9_-]{{31}}[AQgw]$"
WORKFLOWS_CURSOR = {"pattern": _CURSOR.format("d[w-z0-9_-]")}
PROPOSALS_CURSOR = {"pattern": _CURSOR.format("c[A-P]")}
WEBHOOKS_CURSOR = {"pattern": _CURSOR.format("a[A-P]")}
DELIVERIES_CURSOR = {"pattern": _CURSOR.format("Z[A-P]")}
VERSIONS_CURSOR = {"pattern": "^d[g-v][A-Za-z0-9_-]{26}$"}
SHAPES_CURSOR = {"pattern": "^c[w-z0-9_-][A-Za-z0-9_-]{20}[AEIMQUYcgkosw048]$"}
FRAMES_CURSOR = {"pattern": "^c[Q-Za-f][A-Za-z0-9_-]{26}$"}
SCAN_CURSOR = {"pattern": "^d[A-P][A-Za-z0-9_-]{26}$"}
CURSOR_TEXT = "`next_cursor` of the previous page; opaque."
#: The contract's names of a page's members.
PAGE_NAMES = {"limit": "page_size", "cursor": "page_token"}


class PageQuery(QueryModel):
    """Which page of a list. Unknown members are refused: a filter with a spelling mistake would show
    everything."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[
        int, Field(ge=0, le=MAX_PAGE, description="Maximum number of items; 0 for the default."), DIGITS
    ] = DEFAULT_PAGE
    cursor: str | None = None

    @property
    def size(self) -> int:
        """Maximum number of items, at least 1."""
        return self.limit or DEFAULT_PAGE


class PageRequest(Protocol):
    """A message that requests a page."""

    page_size: int
    page_token: str


def page_values(request: PageRequest) -> dict[str, object]:
    """The members of a `PageQuery` in a message."""
    return {"limit": request.page_size, "cursor": request.page_token or None}
