"""The hub of `ideo dev`, which its callers may restart while the database and the runtime keep running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from server.auth.tokens import SharedSecret
from server.compose import open_hub
from server.domain.access.stream_authorization import LEEWAY
from server.domain.model import Principal
from server.lifecycle import Hub
from server.settings.settings import Settings


class RestartableHub:
    """The running hub: its addresses stay the same. `failed` is done when a part of it failed, or when it
    could not start again; it holds the failure. say: shows a person what happens. recordings: those that the
    runtime replays.

    It is what the routes of development call (`server.http.development_routes`).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dsn: str,
        runtime_url: str,
        verifier: SharedSecret,
        say: Callable[[str], None],
        recordings: Sequence[str] = (),
    ) -> None:
        self.recordings = recordings
        self._settings, self._dsn, self._runtime_url = settings, dsn, runtime_url
        self._verifier, self._say = verifier, say
        self._asked, self._stopping = asyncio.Event(), False
        self._hub: Hub | None = None
        self.started = asyncio.Event()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def http_address(self) -> str:
        """As `http://127.0.0.1:8080`."""
        return self._current.http_address

    @property
    def grpc_address(self) -> str:
        """As `127.0.0.1:50051`."""
        return self._current.grpc_address

    @property
    def _current(self) -> Hub:
        assert self._hub is not None, "the hub has not started"
        return self._hub

    def restart(self) -> None:
        """Stop the hub in order and start it again, on the same ports. Returns at once."""
        self._asked.set()

    def issue_token(self, caller: Principal, valid_for: timedelta) -> tuple[str, datetime]:
        """A token of the caller's, and when the hub stops accepting it.

        That is the tolerance between clocks after the token's own end, which may have passed already.
        """
        # A token's times are whole seconds.
        now = datetime.now(UTC).replace(microsecond=0)
        token = self._verifier.issue(
            subject=caller.subject, email=caller.email, lifetime=valid_for - LEEWAY, now=now
        )
        return token, now + valid_for

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """The hub, listening. When the block ends it stops in order. Raises StartError, before any work has
        begun."""
        serving = asyncio.create_task(self._serve(), name="hub")
        started = asyncio.create_task(self.started.wait(), name="start")
        try:
            await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            serving.add_done_callback(lambda task: _report(task, self.failed))
            yield self
        finally:
            started.cancel()
            if self.started.is_set():
                self._stopping = True
                self._asked.set()
            else:
                serving.cancel()
            await asyncio.wait({serving})

    async def _serve(self) -> None:
        """Run hubs, one after another, until the block of `running` ends. Raises StartError, and the failure
        of a part."""
        while not self._stopping:
            self._asked.clear()
            async with open_hub(
                self._settings,
                dsn=self._dsn,
                runtime_url=self._runtime_url,
                verifier=self._verifier,
                development=self,
            ) as hub:
                self._keep_addresses(hub)
                asked = asyncio.create_task(self._asked.wait(), name="restart")
                ends: set[asyncio.Future[Any]] = {hub.failed, asked}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                if hub.failed.done():
                    hub.failed.result()
                if not self._stopping:
                    self._say("Stopping the hub and starting it again")

    def _keep_addresses(self, hub: Hub) -> None:
        """The next hub listens where this one does, also where the settings leave the port open."""
        self._hub = hub
        ports = {
            "http_port": int(hub.http_address.rpartition(":")[2]),
            "grpc_port": int(hub.grpc_address.rpartition(":")[2]),
        }
        self._settings = self._settings.model_copy(update=ports)
        self.started.set()


def _report(serving: asyncio.Task[None], failed: asyncio.Future[None]) -> None:
    """Set the failure that ended the hub."""
    fault = None if serving.cancelled() else serving.exception()
    if fault is not None and not failed.done():
        failed.set_exception(fault)
