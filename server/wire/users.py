"""Users on the wire: the query that finds them, the contract's message, the JSON of the HTTP interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

import msgspec
from pydantic import Field

from server.domain.access import users as domain
from server.domain.model import Principal
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.limits import limits_of
from server.wire.text import model_of
from server.wire.validation import STORABLE, QueryModel

#: Longest address: 64 characters, an @, and a domain of 255 (RFC 5321).
MAX_EMAIL = limits_of(m.FindUsersRequest, "email").max_characters


class UsersQuery(QueryModel):
    """Which users to find."""

    email: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_EMAIL,
            description="The whole e-mail address, in upper or lower case.",
        ),
        STORABLE,
    ]


def users_query(request: m.FindUsersRequest) -> UsersQuery:
    """The query of a message. Raises InvalidArgument."""
    return UsersQuery.model_validate({"email": request.email})


def caller_of(principal: Principal) -> domain.User:
    """The caller as a user, with the token's address."""
    return domain.User(principal.user_id, principal.email)


def user_message(user: domain.User) -> m.User:
    """A user (contract: User)."""
    message = m.User(user_id=str(user.user_id))
    if user.email is not None:
        message.email = replace_surrogates(user.email)
    return message


def users_message(users: Sequence[domain.User]) -> m.FindUsersResponse:
    """The users that were found."""
    return m.FindUsersResponse(users=map(user_message, users))


class User(msgspec.Struct):
    """A person or a service. `email` is from the latest call whose token had one that its issuer vouches for;
    null when there is none."""

    user_id: UUID
    email: str | None

    @classmethod
    def of(cls, user: domain.User) -> Self:
        """The JSON of a record."""
        return model_of(cls, user)


class Users(msgspec.Struct):
    """The users that were found: mostly none or one."""

    items: list[User]

    @classmethod
    def of(cls, users: Sequence[domain.User]) -> Self:
        """The JSON of records."""
        return cls([User.of(user) for user in users])
