"""Routes of `ideo dev` alone: a developer sees how a client bears a restart, and the end of its token.

They exist where the hub is opened with controls, which only `ideo dev` does. `/openapi.json` does not have
them; `GET /api/info` names the feature `development_controls` where they exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Protocol

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from pydantic import Field

from server.domain.model import Principal
from server.http.json_io import MAX_BODY_BYTES, HubRequest
from server.wire.validation import WHOLE_NUMBER, RequestModel

#: The longest time for which a token is issued here, in seconds.
MAX_VALID_S = 600


class DevelopmentControls(Protocol):
    """What a developer may do to the hub."""

    @property
    def recordings(self) -> Sequence[str]:
        """The recorded runs that a prompt may choose; none unless the runtime replays them."""
        ...

    def restart(self) -> None:
        """Stop the hub, as a deployment does, and start it again at the same addresses. Returns at once."""
        ...

    def issue_token(self, caller: Principal, valid_for: timedelta) -> tuple[str, datetime]:
        """A token of the caller's, and when the hub stops accepting it."""
        ...


class IssueTokenRequest(RequestModel):
    """A token to issue."""

    valid_for_s: Annotated[int, Field(ge=1, le=MAX_VALID_S), WHOLE_NUMBER]


class IssuedToken(msgspec.Struct):
    """A token of the caller's. The hub accepts it until `valid_until`, and ends its streams then."""

    token: str
    valid_until: datetime


class Recordings(msgspec.Struct):
    """The names of recorded runs, the default first."""

    items: list[str]


class Restarting(msgspec.Struct):
    """The hub stops and starts again."""

    status: str = "restarting"


def development_routes(controls: DevelopmentControls) -> list[HTTPRouteHandler]:
    """The routes of the controls."""

    @post("/api/development/restart", include_in_schema=False, status_code=202)
    async def restart_hub(request: HubRequest) -> Restarting:
        """Restart the hub."""
        controls.restart()
        return Restarting()

    @post(
        "/api/development/tokens",
        include_in_schema=False,
        request_max_body_size=MAX_BODY_BYTES,
    )
    async def issue_token(request: HubRequest, data: JSONBody[IssueTokenRequest]) -> IssuedToken:
        """Issue a token that ends soon."""
        return IssuedToken(*controls.issue_token(request.user, timedelta(seconds=data.valid_for_s)))

    @get("/api/development/recordings", include_in_schema=False)
    async def list_recordings() -> Recordings:
        """The recorded runs that a prompt may choose."""
        return Recordings(list(controls.recordings))

    return [restart_hub, issue_token, list_recordings]
