"""The hub over gRPC: every call of the contract, and refinements followed across restarts.

Needs the extra `grpc`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from ssl import SSLContext
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

from google.protobuf.message import Message

try:
    import grpc
    import grpc.aio
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'gRPC is not installed: pip install "ide-orchestrator-client[grpc]"', name="grpc"
    ) from None

from ide_orchestrator.client import following, streams
from ide_orchestrator.client.errors import Fault, Unavailable
from ide_orchestrator.client.following import Heard, OnRetry, events_of
from ide_orchestrator.client.grpc_address import grpc_address, grpc_address_of
from ide_orchestrator.client.grpc_errors import error_of
from ide_orchestrator.client.hub import Hub
from ide_orchestrator.client.pages import Pages
from ide_orchestrator.client.resources import ActionDecision
from ide_orchestrator.client.retrying import MAX_PAUSE_S, Credentials, Token, repeated
from ide_orchestrator.v1.access_pb2_grpc import AccessServiceStub
from ide_orchestrator.v1.draft_pb2_grpc import DraftServiceStub
from ide_orchestrator.v1.event_pb2 import Event
from ide_orchestrator.v1.info_pb2_grpc import InfoServiceStub
from ide_orchestrator.v1.proposal_pb2_grpc import ProposalServiceStub
from ide_orchestrator.v1.quarantine_pb2_grpc import QuarantineServiceStub
from ide_orchestrator.v1.refinement_pb2 import ActionDecision as ActionDecisionMessage
from ide_orchestrator.v1.refinement_pb2 import (
    ReadEventRequest,
    ReadEventResponse,
    Refinement,
    ReplyToInputRequest,
    StartRefinementRequest,
    WatchRefinementRequest,
    WatchRefinementResponse,
)
from ide_orchestrator.v1.refinement_pb2_grpc import RefinementServiceStub
from ide_orchestrator.v1.review_pb2_grpc import ReviewServiceStub
from ide_orchestrator.v1.user_pb2_grpc import UserServiceStub
from ide_orchestrator.v1.webhook_pb2_grpc import WebhookServiceStub
from ide_orchestrator.v1.workflow_pb2_grpc import WorkflowServiceStub

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

#: Seconds for a call. A start waits for the runtime.
CALL_S = 90.0
_OPTIONS = (
    # A connection whose pings have no answer is dead, and its calls fail. The hub allows a ping every 10 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The channel's own pauses; calls fail at once in between. By default they grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", int(MAX_PAUSE_S * 1000)),
)


class GrpcHub:
    """A client of one hub over gRPC, for one token. An asynchronous context manager, which closes its
    channel.

    target: the hub's address, as `ide.example.com:50051`, with or without `http://`; `https://` for a port
    with TLS. token: as of `Hub`. credentials: of a secure channel; None for a port without TLS, and with
    `https://` for the authorities that grpc trusts. The services' stubs are attributes; `call` and `read`
    send the token with them, and raise HubError.
    """

    def __init__(
        self,
        target: str,
        token: Token,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        silence_s: float = following.SILENCE_S,
    ) -> None:
        self._target, tls = grpc_address_of(target)
        self._tls = credentials or (grpc.ssl_channel_credentials() if tls else None)
        self._options = (*_OPTIONS, *options)
        self._credentials, self._silence_s = Credentials(token), silence_s
        self.channel = self._new_channel()
        self.workflows = WorkflowServiceStub(self.channel)
        self.drafts = DraftServiceStub(self.channel)
        self.refinements = RefinementServiceStub(self.channel)
        self.proposals = ProposalServiceStub(self.channel)
        self.reviews = ReviewServiceStub(self.channel)
        self.access = AccessServiceStub(self.channel)
        self.users = UserServiceStub(self.channel)
        self.webhooks = WebhookServiceStub(self.channel)
        self.info = InfoServiceStub(self.channel)
        self.quarantine = QuarantineServiceStub(self.channel)

    @classmethod
    async def discover(
        cls,
        url: str,
        token: Token,
        *,
        ssl: SSLContext | None = None,
        trust_env: bool = True,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        silence_s: float = following.SILENCE_S,
        trusted_hosts: Collection[str] = (),
    ) -> GrpcHub:
        """A client of the hub with this HTTP address, which says where gRPC is.

        url, token, ssl, trust_env: as of `Hub`. credentials: of a port with TLS; None for the authorities
        that grpc trusts. options, silence_s: as of the class. trusted_hosts: hosts, other than that of `url`,
        that may get the token. Raises HubError.
        """
        async with Hub(url, token, ssl=ssl, trust_env=trust_env) as hub:
            target, tls = await grpc_address(hub, trusted_hosts)
        secure = (credentials or grpc.ssl_channel_credentials()) if tls else None
        return cls(target, token, credentials=secure, options=options, silence_s=silence_s)

    async def __aenter__(self) -> GrpcHub:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the channel, and cancel the calls on it."""
        await self.channel.close()

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout: float = CALL_S,
    ) -> Response:
        """Make a call of a stub's method; timeout in seconds. Raises HubError.

        A request that has a `request_id` gets one unless it is set. It then takes effect once, and is
        repeated for up to 30 s while the hub is unavailable.
        """
        once = "request_id" in request.DESCRIPTOR.fields_by_name
        if once:
            named: Any = request
            named.request_id = named.request_id or str(uuid4())

        async def _attempt(token: str) -> Response:
            try:
                return await method(request, metadata=_metadata(token), timeout=timeout)
            except grpc.aio.AioRpcError as error:
                raise error_of(error) from error

        if once:
            return await repeated(lambda: self._credentials.with_token(_attempt))
        return await self._credentials.with_token(_attempt)

    async def read(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """The responses of a streaming method, such as ReadFile and ReadArchive. Raises HubError."""
        call = method(request, metadata=_metadata(await self._credentials.token()))
        try:
            while True:
                async with timeout(CALL_S):
                    response: Any = await call.read()
                if response is grpc.aio.EOF:
                    return
                yield response
        except asyncio.TimeoutError:
            raise Unavailable(f"the hub at {self._target} sent nothing for {CALL_S:g} s") from None
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error
        finally:
            call.cancel()

    async def items(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        field: str,
    ) -> AsyncGenerator[Any, None]:
        """The items of all pages of a list, which are read one after the other.

        field: the items' field of the response, such as `proposals`. Raises HubError, also for a list that
        does not end.
        """
        asked: Any = type(request).FromString(request.SerializeToString())
        pages = Pages(self._target)
        while True:
            page: Any = await self.call(method, asked)
            items = getattr(page, field)
            for item in items:
                yield item
            token = pages.next_cursor(page.next_page_token, len(items))
            if token is None:
                return
            asked.page_token = token

    async def start(self, workflow_id: str, user_prompt: str, **more: Any) -> Refinement:
        """Start one refinement, even if responses are lost. more: other fields of StartRefinementRequest."""
        request = StartRefinementRequest(workflow_id=workflow_id, user_prompt=user_prompt, **more)
        return (await self.call(self.refinements.StartRefinement, request)).refinement

    async def reply(
        self, thread_id: str, seq: int, decisions: Sequence[ActionDecision], *, request_id: str = ""
    ) -> Refinement:
        """As `reply` of `Hub`."""
        request = ReplyToInputRequest(
            thread_id=thread_id,
            seq=seq,
            decisions=[ActionDecisionMessage(**each) for each in decisions],
            request_id=request_id,
        )
        return (await self.call(self.refinements.ReplyToInput, request)).refinement

    def follow(self, thread_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """As `follow` of `Hub`."""
        return events_of(self.watch(thread_id, after))

    def watch(
        self, thread_id: str, after: int = 0, *, on_retry: OnRetry | None = None
    ) -> AsyncGenerator[WatchRefinementResponse, None]:
        """As `watch` of `Hub`."""
        return following.watch(
            lambda cursor, heard: self._connect(thread_id, cursor, heard),
            after,
            self._credentials,
            silence_s=self._silence_s,
            on_retry=on_retry,
        )

    async def _connect(
        self, thread_id: str, after: int, heard: Heard
    ) -> AsyncGenerator[WatchRefinementResponse, None]:
        """The messages of one call, with whole events: those above a client's default limit are read apart.

        Its connection is its own: a dead one is not used again.
        """
        request = WatchRefinementRequest(thread_id=thread_id, after_seq=after)
        async with self._new_channel(("grpc.use_local_subchannel_pool", 1)) as channel:
            refinements = RefinementServiceStub(channel)
            async with aclosing(self.read(refinements.WatchRefinement, request)) as messages:
                async for message in messages:
                    for event in message.batch.events:
                        if event.omitted_bytes:
                            asked = ReadEventRequest(thread_id=thread_id, seq=event.seq)
                            event.ParseFromString(await self._whole(refinements.ReadEvent, asked, heard))
                    yield message

    async def _whole(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[ReadEventRequest, ReadEventResponse],
        request: ReadEventRequest,
        heard: Heard,
    ) -> bytes:
        whole = bytearray()
        async with aclosing(self.read(method, request)) as pieces:
            async for piece in pieces:
                heard()
                whole += piece.data
                if len(whole) > streams.MAX_MESSAGE_BYTES:
                    raise Fault(
                        f"{self._target} does not answer as the hub does: event {request.seq} does not end"
                    )
        return bytes(whole)

    def _new_channel(self, *more: tuple[str, Any]) -> grpc.aio.Channel:
        options = (*self._options, *more)
        if self._tls is None:
            return grpc.aio.insecure_channel(self._target, options=options)
        return grpc.aio.secure_channel(self._target, self._tls, options=options)


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)
