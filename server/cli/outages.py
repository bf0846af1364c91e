"""What a command says while a stream of the hub is interrupted: a line for each outage."""

from __future__ import annotations

from collections.abc import Mapping

from ide_orchestrator.client import HubError
from server.cli.exit_codes import notice


class Outages:
    """reached: whether the hub has answered the command before; otherwise nothing is tried again until it
    has."""

    def __init__(self, *, reached: bool) -> None:
        self.reached, self._lasts = reached, False

    def lost(self, why: HubError, _pause_s: float) -> None:
        """Say why a connection was lost, for the first one of an outage. Raises the error when it was the
        first connection of all."""
        if not (self.reached or why.code):
            raise why
        if not self._lasts:
            notice(f"{why}; trying again")
        self._lasts = True

    def received(self, message: Mapping[str, object]) -> None:
        """Note a message of the stream. After a `hello` alone, the next connection may fail as the last one
        did."""
        self.reached = True
        self._lasts = self._lasts and "hello" in message
