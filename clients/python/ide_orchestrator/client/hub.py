"""The hub over HTTP: workflows, refinements and their events, proposals and their review."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from ssl import SSLContext
from typing import Literal

from ide_orchestrator.client import following, streams
from ide_orchestrator.client.following import Heard, OnRetry, events_of
from ide_orchestrator.client.http_calls import address, present, with_query
from ide_orchestrator.client.proposals import ProposalCalls
from ide_orchestrator.client.resources import (
    ActionDecision,
    FileAt,
    Refinement,
    ServerInfo,
    StartedRefinement,
    Ticket,
    WhenBusy,
)
from ide_orchestrator.client.retrying import Token
from ide_orchestrator.client.workflows import WorkflowCalls
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.refinement_pb2 import WatchRefinementResponse

#: How events arrive: `websocket` as binary messages, `websocket-json` and `sse` (server-sent events) as JSON.
#: The events are the same. Some proxies let only the last one pass.
Transport = Literal["websocket", "websocket-json", "sse"]


class Hub(WorkflowCalls, ProposalCalls):
    """A client of one hub, for one token. An asynchronous context manager, which closes its connections.

    Every method raises HubError. Calls with a `request_id` (by default a random one) take effect once, and
    are repeated for up to 30 s while the hub is unavailable. Lists read their pages one after the other.
    Arguments are those of `HttpCalls`; silence_s: seconds without a message after which a stream's connection
    counts as dead.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        ssl: SSLContext | None = None,
        trust_env: bool = True,
        silence_s: float = following.SILENCE_S,
    ) -> None:
        super().__init__(url, token, ssl=ssl, trust_env=trust_env)
        self._silence_s = silence_s

    async def start(
        self,
        workflow_id: str,
        user_prompt: str,
        *,
        context_file_path: str | None = None,
        context_selection: str | None = None,
        when_busy: WhenBusy | None = None,
        request_id: str | None = None,
    ) -> StartedRefinement:
        """Start one refinement, even if responses are lost. context_selection: as `lines 10-25`."""
        body = {
            "user_prompt": user_prompt,
            "context_file_path": context_file_path,
            "context_selection": context_selection,
            "when_busy": when_busy,
        }
        path = f"{address('workflows', workflow_id)}/refinements"
        started: StartedRefinement = await self.call_once("POST", path, present(body), key=request_id)
        return started

    async def refinement(self, thread_id: str) -> Refinement:
        """A refinement's status."""
        found: Refinement = await self.call("GET", address("refinements", thread_id))
        return found

    async def cancel(self, thread_id: str) -> Refinement:
        """Cancel a run. Does nothing if it has ended."""
        found: Refinement = await self.call("POST", f"{address('refinements', thread_id)}/cancel")
        return found

    async def reply(
        self, thread_id: str, seq: int, decisions: Sequence[ActionDecision], *, request_id: str | None = None
    ) -> Refinement:
        """Answer the agent's question in the event `seq`, with a decision about each of its actions, in their
        order. The run continues."""
        body = {"seq": seq, "decisions": list(decisions)}
        path = f"{address('refinements', thread_id)}/reply"
        found: Refinement = await self.call_once("POST", path, body, key=request_id)
        return found

    def follow(
        self, thread_id: str, after: int = 0, *, transport: Transport = "websocket"
    ) -> AsyncGenerator[Event, None]:
        """Each event after a cursor once, in order, until the terminal event.

        after: the last seq that the caller has. Reconnects by itself; cancelling the task, or closing the
        generator, ends it. Raises HubError when the hub refuses, or 20 connections in a row brought no event.
        """
        return events_of(self.watch(thread_id, after, transport=transport))

    def watch(
        self,
        thread_id: str,
        after: int = 0,
        *,
        transport: Transport = "websocket",
        on_retry: OnRetry | None = None,
    ) -> AsyncGenerator[WatchRefinementResponse, None]:
        """As `follow`, but all messages of the stream: also the heartbeats with the run's progress.

        on_retry: is called with the reason, and with the seconds until the next connection, when one is lost.
        """

        async def _connect(cursor: int, heard: Heard) -> AsyncGenerator[WatchRefinementResponse, None]:
            token = await self._credentials.token()
            opened: AsyncGenerator[WatchRefinementResponse, None]
            if transport == "sse":
                url = f"{self.url}{address('refinements', thread_id)}/events"
                opened = streams.over_sse(
                    self._http, with_query(url, {"after": cursor}), token, cursor, heard=heard
                )
            else:
                url = f"{self.url}{address('ws/refinements', thread_id)}"
                opened = streams.over_websocket(
                    with_query(url, {"max_message_bytes": streams.MAX_MESSAGE_BYTES, "after": cursor}),
                    token,
                    subprotocol=streams.BINARY if transport == "websocket" else streams.JSON,
                    ssl=self._ssl,
                    use_proxy=self._trust_env,
                    heard=heard,
                )
            async with aclosing(opened):
                async for message in opened:
                    yield message

        return following.watch(
            _connect, after, self._credentials, silence_s=self._silence_s, on_retry=on_retry
        )

    def files_at(self, thread_id: str, seq: int = 0) -> AsyncGenerator[FileAt, None]:
        """The files as they were after an event, without contents; 0 for the newest event."""
        return self.items(f"{address('refinements', thread_id)}/files", seq=seq)

    async def info(self) -> ServerInfo:
        """The hub's version, what it offers, the limits of one caller, and where gRPC is."""
        found: ServerInfo = await self.call("GET", "/api/info")
        return found

    async def ticket(self, thread_id: str) -> Ticket:
        """A ticket with which a browser opens one stream of the refinement."""
        made: Ticket = await self.call("POST", "/api/ws/tickets", {"thread_id": thread_id})
        return made
