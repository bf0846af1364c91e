"""Users: the caller, and others to grant access to."""

from __future__ import annotations

from litestar import get
from litestar.di import NamedDependency

from server.http.dependencies import Cases, query_dependency
from server.http.json_io import HubRequest
from server.http.openapi import operation
from server.wire.users import User, Users, UsersQuery, caller_of


@get("/api/me", **operation("getMe", "users", (403,), response_description="The caller"))
async def get_me(request: HubRequest) -> User:
    """Who the token belongs to, with the token's email. Others need the id to share a proposal with its
    user."""
    return User.of(caller_of(request.user))


@get(
    "/api/users",
    **operation(
        "findUsers",
        "users",
        (400, 403),
        response_description="The users",
        dependencies=query_dependency(UsersQuery),
    ),
)
async def find_users(request: HubRequest, use_cases: Cases, params: NamedDependency[UsersQuery]) -> Users:
    """Users by e-mail address, as far as the caller may find them: the caller, users of the same domain if
    the operator allows that, and users whose email the caller sees as an owner of a proposal. Otherwise
    none, whether or not there is such a user."""
    return Users.of(await use_cases.directory.find(request.user, params.email))


USER_ROUTES = [get_me, find_users]
