"""The methods of users: check the fields, call the use case, make the answer."""

from __future__ import annotations

from ide_orchestrator.v1.user_pb2_grpc import UserServiceServicer
from server.domain.access.users import Directory
from server.grpc.authentication import Context, caller
from server.wire import messages as m
from server.wire.users import caller_of, user_message, users_message, users_query


class UserServicer(UserServiceServicer):
    """Who the caller is, and whom it finds (contract: UserService)."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def GetMe(self, request: m.GetMeRequest, context: Context) -> m.GetMeResponse:
        """Contract: GetMe."""
        return m.GetMeResponse(user=user_message(caller_of(caller())))

    async def FindUsers(self, request: m.FindUsersRequest, context: Context) -> m.FindUsersResponse:
        """Contract: FindUsers."""
        query = users_query(request)
        return users_message(await self._directory.find(caller(), query.email))
