"""The method that describes the server."""

from __future__ import annotations

from ide_orchestrator.v1.info_pb2_grpc import InfoServiceServicer
from server.domain.server_info import ServerInfo
from server.grpc.authentication import Context
from server.wire import messages as m
from server.wire.server_info import server_info_message


class InfoServicer(InfoServiceServicer):
    """The server's version, features and limits (contract: InfoService)."""

    def __init__(self, info: ServerInfo) -> None:
        self._info = info

    async def GetServerInfo(
        self, request: m.GetServerInfoRequest, context: Context
    ) -> m.GetServerInfoResponse:
        """Contract: GetServerInfo."""
        return m.GetServerInfoResponse(info=server_info_message(self._info))
