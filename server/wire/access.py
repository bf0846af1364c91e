"""Access on the wire: requests to grant and share, the contract's messages, JSON of the HTTP interface."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

import msgspec
from pydantic import Field

from server.domain.access import sharing
from server.domain.access.sharing import MAX_SHARE_LIFETIME, SHARE_LIFETIME, AccessType
from server.domain.errors import InvalidArgument
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.addresses import events_url, proposal_url, websocket_url
from server.wire.text import model_of, set_time
from server.wire.validation import MAX_SEQ, WHOLE_NUMBER, RequestModel, renamed_fields

MIN_SHARE_S = 60
MAX_SHARE_S, DEFAULT_SHARE_S = (
    round(lifetime.total_seconds()) for lifetime in (MAX_SHARE_LIFETIME, SHARE_LIFETIME)
)

_ACCESS_NUMBERS = {each: m.AccessType.Value(f"ACCESS_TYPE_{each.name}") for each in AccessType}
#: The domain's type of access by the contract's number; the unspecified one has none.
ACCESS_BY_NUMBER = {int(number): each for each, number in _ACCESS_NUMBERS.items()}


# --- Requests --------------------------------------------------------------------------------


class GrantAccessRequest(RequestModel):
    """Which access to grant."""

    access_type: Annotated[AccessType, Field(strict=False)]


class CreateShareLinkRequest(RequestModel):
    """A share link to create."""

    after_seq: Annotated[
        Annotated[int, Field(ge=0, le=MAX_SEQ), WHOLE_NUMBER] | None,
        Field(description="The link shows only the events after this one."),
    ] = 0
    expires_in_s: Annotated[
        Annotated[int, Field(ge=MIN_SHARE_S, le=MAX_SHARE_S), WHOLE_NUMBER] | None,
        Field(description="Seconds for which the link is valid."),
    ] = DEFAULT_SHARE_S

    @property
    def after(self) -> int:
        """The seq after which the link shows events."""
        return self.after_seq or 0

    @property
    def lifetime(self) -> timedelta:
        """How long the link is valid."""
        return timedelta(seconds=self.expires_in_s or DEFAULT_SHARE_S)


def grant_access(request: m.GrantAccessRequest) -> AccessType:
    """Which access a message grants. Raises InvalidArgument."""
    found = ACCESS_BY_NUMBER.get(request.access_type)
    if found is None:
        raise InvalidArgument({"access_type": "must be a known type of access"})
    return found


def create_share_link(request: m.CreateShareLinkRequest) -> CreateShareLinkRequest:
    """The link of a message. Raises InvalidArgument."""
    values = {"after_seq": request.after_seq, "expires_in_s": request.expires_in_seconds or None}
    with renamed_fields({"expires_in_s": "expires_in_seconds"}):
        return CreateShareLinkRequest.model_validate(values)


# --- Messages --------------------------------------------------------------------------------


def grant_message(grant: sharing.Grant) -> m.Grant:
    """One user's access (contract: Grant)."""
    message = m.Grant(
        proposal_id=str(grant.proposal_id),
        user_id=str(grant.user_id),
        access_type=_ACCESS_NUMBERS[grant.access_type],
    )
    if grant.email is not None:
        message.email = replace_surrogates(grant.email)
    set_time(message.grant_time, grant.granted_at)
    return message


def grants_message(grants: Sequence[sharing.Grant]) -> m.ListGrantsResponse:
    """Who has access."""
    return m.ListGrantsResponse(grants=map(grant_message, grants))


def share_link_message(link: sharing.ShareLink) -> m.ShareLink:
    """A share link, with its secret if the record has it (contract: ShareLink)."""
    message = m.ShareLink(
        id=str(link.id),
        proposal_id=str(link.proposal_id),
        thread_id=str(link.thread_id),
        after_seq=link.after_seq,
        created_by_user_id=str(link.created_by_user_id),
    )
    if link.secret is not None:
        message.secret = link.secret
    set_time(message.create_time, link.created_at)
    set_time(message.expire_time, link.expires_at)
    return message


def share_links_message(links: Sequence[sharing.ShareLink]) -> m.ListShareLinksResponse:
    """The valid links of a proposal."""
    return m.ListShareLinksResponse(share_links=map(share_link_message, links))


# --- JSON ------------------------------------------------------------------------------------


class Grant(msgspec.Struct):
    """One user's access to a proposal. `email` is null until the user accepts it, except for the user who
    started the refinement and for the caller."""

    proposal_id: UUID
    user_id: UUID
    access_type: AccessType
    email: str | None
    granted_at: datetime

    @classmethod
    def of(cls, grant: sharing.Grant) -> Self:
        """The JSON of a record."""
        return model_of(cls, grant)


class Grants(msgspec.Struct):
    """Who has access, owners first."""

    items: list[Grant]

    @classmethod
    def of(cls, grants: Sequence[sharing.Grant]) -> Self:
        """The JSON of records."""
        return cls([Grant.of(grant) for grant in grants])


class ShareLink(msgspec.Struct):
    """Shows a proposal, and its events after `after_seq`, to anyone who sends `secret` as a bearer token.
    `secret` is shown once, when the link is created; otherwise it is null."""

    id: UUID
    proposal_id: UUID
    thread_id: UUID
    after_seq: int
    created_by_user_id: UUID
    created_at: datetime
    expires_at: datetime
    secret: str | None
    proposal_url: str
    websocket_url: str
    events_url: str

    @classmethod
    def of(cls, link: sharing.ShareLink) -> Self:
        """The JSON of a record."""
        return model_of(
            cls,
            link,
            proposal_url=proposal_url(link.proposal_id),
            websocket_url=websocket_url(link.thread_id),
            events_url=events_url(link.thread_id),
        )


class ShareLinks(msgspec.Struct):
    """The valid links, newest first."""

    items: list[ShareLink]

    @classmethod
    def of(cls, links: Sequence[sharing.ShareLink]) -> Self:
        """The JSON of records."""
        return cls([ShareLink.of(link) for link in links])
