"""uvicorn's protocol of HTTP/1.1 with limits on what a client sends, and how long it takes for it (ADR 0018).

1. A head must arrive within a deadline, whatever comes before it, and so must the rest of a request.
2. Everything is counted as it arrives: heads, trailers, requests with their framing, and what a client sends
   while it waits for an answer.
3. The rest of a request that is answered already is read and dropped, so that its client, which may still be
   sending, receives the answer and can use the connection again. Callers take turns in this: so much is
   dropped in a turn of the event loop (ADR 0083).
4. Streams learn when their client is gone.
5. A request waits for its turn (`server.http.admission`), unless it is a probe on a new connection.
"""

from __future__ import annotations

import asyncio
import logging

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.domain.access.cut_offs import CALLS, CONNECTIONS, FLOOD, LARGE_REQUEST, LATE_REQUEST
from server.domain.errors import ClientTooSlow, HubError, InvalidArgument, LimitReached
from server.http.admission import SMALL_BYTES, credentials_of
from server.http.connection import EXTENSION, PROGRESS_BYTES, Connection
from server.http.probes import PROBES
from server.http.request_head import MAX_HEAD_BYTES, SEPARATOR_BYTES, HeadSize, check_head
from server.http.websocket_protocol import hub_config, refusal

#: Maximum bytes of one request, with the framing of its chunks and its trailers: more than the largest body,
#: which is a message of 4 MiB in base64 (`server.connect.requests`).
MAX_REQUEST_BYTES = 6 << 20
#: Pieces in which a body may arrive: a call of Python each, which takes a microsecond.
MAX_PIECES = 16_384
#: Bytes that a client may send while it waits for an answer.
MAX_UNREAD_BYTES = 64 << 10
#: Bytes of blank lines before a request, and after the last one.
MAX_BLANK_BYTES = 1 << 10
#: Bytes of requests that are answered already which are dropped in a turn of the loop, and for which those of
#: one connection count at least: what it has sent by its next turn may be more.
DROPPED_PER_TURN, MIN_DROPPED_BYTES = 256 << 10, 64 << 10
#: Requests that may wait behind the one that is being answered. Browsers and libraries send none.
MAX_PIPELINED = 16
#: Seconds for which the answer to a request that is not read any more can be taken, before the connection is
#: reset.
LINGER_S = 1.0
#: Seconds within which a connection too many must ask, and after which a refused client may try again.
GUEST_DEADLINE_S, CONNECTIONS_RETRY_S = 1.0, 5

# uvicorn warns of each request that is not valid HTTP: strangers could fill the log.
_errors_only = logging.getLogger("server.http.uvicorn.requests")
_errors_only.setLevel(logging.ERROR)


class HubHttpProtocol(HttpToolsProtocol):
    """One connection of a client."""

    stream: Connection
    _head: HeadSize
    #: Whether a request's head, or any part of a request, is arriving.
    _in_head = _in_request = False
    #: Bytes of the request, bytes that came during an answer, and bytes since then that began no request.
    _request_bytes = _unread_bytes = _blank_bytes = 0
    _pieces = 0
    #: What has arrived of a request that waits for its turn; None while none waits.
    _held: bytes | None = None
    #: Whether the next request that begins had its turn.
    _has_turn = False
    #: The number of the connection's last turn; 0 before its first request.
    last_turn = 0
    #: The request that is being answered: the first of those that were sent at once.
    _answered: RequestResponseCycle | None = None
    #: Whether there are too many connections: only probes are answered.
    _guest = False
    #: Whether nothing more is read.
    _cut = False
    _deadline: asyncio.TimerHandle | None = None
    #: The next look at what the client has not taken of an answer.
    _unsent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        self.logger = _errors_only
        super().connection_made(transport)
        config, flow = hub_config(self.config), self.flow
        self.stream = Connection(
            transport,
            writable=lambda: not flow.write_paused,
            wait=flow.drain,
            deadline_s=config.send_deadline_s,
            endings=config.endings,
            admission=config.admission,
        )
        self._guest = not config.connection_limit.enter(self, len(self.connections))
        self._expect_within(GUEST_DEADLINE_S if self._guest else config.head_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._give_up_answer()
        self._arrived()
        hub_config(self.config).connection_limit.leave(self)
        self._take_held()
        hub_config(self.config).admission.leave(self)
        if self._unsent is not None:
            self._unsent.cancel()
        self.stream.lost()

    def make_room(self) -> None:
        """Other connections need the place of this one, which has sent no request."""
        self._too_many()

    def begin(self) -> None:
        """It is the turn of this connection's request: it is read."""
        held = self._take_held()
        if held and not self.transport.is_closing():
            self._expect_within(hub_config(self.config).head_deadline_s)
            self.flow.resume_reading()
            self._has_turn = True
            self._read(held)

    # --- What arrives ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._cut:
            return
        if self._held is not None:
            self._hold(data)
        elif self._in_request or self._answering or data.isspace() or self._enter(data):
            self._read(data)

    def _read(self, data: bytes) -> None:
        if self._in_request:
            self._request_bytes += len(data)
            if self._in_head and self._request_bytes > MAX_HEAD_BYTES:
                self.send_400_response("the head is too large")
                return
            if self._request_bytes > MAX_REQUEST_BYTES:
                self._cut_off(LARGE_REQUEST)
                return
        if self._answering:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self._cut_off(FLOOD)
                return
        elif not self._in_request:
            self._blank_bytes += len(data)
            if self._deadline is None:
                # Blank lines do not begin a request, and no other time runs.
                self._expect_within(hub_config(self.config).head_deadline_s)
        super().data_received(data)
        if self._blank_bytes > MAX_BLANK_BYTES:
            self._cut_off(FLOOD)
        elif self._in_request and self._is_answered:
            self._drop_in_turn(len(data))

    @property
    def _is_answered(self) -> bool:
        """Whether the request that arrives is answered already."""
        return not self._in_head and self.cycle is not None and self.cycle.response_complete

    def _drop_in_turn(self, size_bytes: int) -> None:
        """So much of an answered request was read: more is read now, or when it is its caller's turn."""
        turns, size_bytes = hub_config(self.config).dropped, max(size_bytes, MIN_DROPPED_BYTES)
        if not turns.take_now(size_bytes):
            self.flow.pause_reading()
            caller = self.stream.caller or id(self)
            turns.later(caller, size_bytes).add_done_callback(self._go_on_dropping)

    def _go_on_dropping(self, _: object) -> None:
        if not self._cut and not self.transport.is_closing():
            self.flow.resume_reading()

    def _enter(self, data: bytes) -> bool:
        """Whether the request that begins with these bytes may be read now. Otherwise they are kept."""
        admission, stream = hub_config(self.config).admission, self.stream
        stream.credentials = credentials_of(data)
        stream.caller = admission.caller_of(stream.credentials)
        if self._guest or (not self.last_turn and _is_probe(data)):
            self._has_turn, self.last_turn = True, 1
        else:
            presented = stream.credentials or hash(data.partition(b"\r\n")[0])
            self._has_turn = admission.enter(self, stream.caller, presented)
        if not self._has_turn:
            self._unset_keepalive_if_required()
            self._expect_within(hub_config(self.config).head_deadline_s)
            self._hold(data)
        return self._has_turn

    def _hold(self, data: bytes) -> None:
        """Keep bytes of a request that waits: few, or more while there is room for them."""
        before, self._held = len(self._held or b""), (self._held or b"") + data
        if before:
            # A client may send its head and its body one after the other; of more there is no need yet.
            self.flow.pause_reading()
        larger_by = _large_bytes(len(self._held)) - _large_bytes(before)
        if larger_by and not hub_config(self.config).admission.hold(larger_by):
            self._held = self._held[:before]
            self._refuse_for_now()

    def _take_held(self) -> bytes | None:
        held, self._held = self._held, None
        if held is not None:
            hub_config(self.config).admission.give_back(_large_bytes(len(held)))
        return held

    @property
    def _answering(self) -> bool:
        """Whether a complete request is being answered."""
        return not self._in_request and self.cycle is not None and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._has_turn:
            self._has_turn = False
        else:
            # What it presents is not looked at: it may be anybody's.
            self.stream.credentials = None
            hub_config(self.config).admission.count(self.stream.caller)
        if self._deadline is None:
            self._expect_within(hub_config(self.config).head_deadline_s)
        self._in_head = self._in_request = True
        self._request_bytes, self._blank_bytes, self._pieces, self._head = 0, 0, 0, HeadSize()
        self.scope["extensions"] = {EXTENSION: self.stream}  # type: ignore[dict-item]

    def on_url(self, url: bytes) -> None:
        """A part of the address arrived."""
        # The parser's callbacks refuse by raising; the answer is 400.
        self._head.add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body, arrived."""
        self._head.add_header(len(name) + len(value) + SEPARATOR_BYTES)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request's head has arrived."""
        check_head(self.parser.get_http_version(), self.headers)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests wait")
        self._in_head = False
        if self._guest and self.url.partition(b"?")[0] not in PROBES:
            self._too_many()
            return
        self._expect_within(hub_config(self.config).body_deadline_s)
        super().on_headers_complete()
        if self.cycle is not None and (self._guest or self.parser.should_upgrade()):
            # After an upgrade that the hub does not know, nothing else can be read.
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body arrived."""
        self._pieces += 1
        if self._pieces > MAX_PIECES:
            raise ValueError("the body has too many pieces")
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has arrived completely, or its HTTP part before an upgrade."""
        self._in_request = False
        self._arrived()
        if self.transport.is_closing():
            return
        super().on_message_complete()
        if self._answering:
            hub_config(self.config).connection_limit.busy(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """A request is to be answered."""
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _give_up_answer(self) -> None:
        """Nothing more can be written. uvicorn says so to the last of the requests that were sent at once;
        the first would find out by an error, which is logged."""
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()

    def on_response_complete(self) -> None:
        """A request is answered."""
        self._unread_bytes = 0
        super().on_response_complete()
        if not self.pipeline and not self._answering:
            hub_config(self.config).connection_limit.idle(self)
        # What the client has not yet taken is under the readers' deadline.
        if self._unsent is None and self.stream.waiting_bytes:
            self._look_again()

    def _look_again(self) -> None:
        self._unsent = self.loop.call_later(
            hub_config(self.config).send_deadline_s, self._check_unsent, self.cycle, self.stream.waiting_bytes
        )

    def _check_unsent(self, cycle: object, waiting_before: int) -> None:
        self._unsent = None
        waiting = self.stream.waiting_bytes
        # Once another answer is being written, the figures cannot be compared.
        if waiting and self.cycle is cycle and waiting > waiting_before - PROGRESS_BYTES:
            self.stream.abort()
        elif waiting:
            self._look_again()

    def handle_websocket_upgrade(self) -> None:
        """Pass the connection to the WebSocket protocol."""
        self._arrived()
        hub_config(self.config).connection_limit.leave(self)
        super().handle_websocket_upgrade()
        # It holds this object's methods: without a cycle, both are freed at once.
        self.parser = None  # type: ignore[assignment]

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: strangers could fill the log."""

    # --- Refusals --------------------------------------------------------------------------------

    def _expect_within(self, seconds: float) -> None:
        self._arrived()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        """Close the connection, and ignore the part of the request that has arrived."""
        if self._guest:
            self._too_many()
        elif self._held is not None:
            self._refuse_for_now()
        elif not self.transport.is_closing():
            hub_config(self.config).on_cut_off(LATE_REQUEST)
            self._refuse(ClientTooSlow("the request took too long to arrive"))

    def _refuse_for_now(self) -> None:
        """Others come before the request that waits."""
        if not self.transport.is_closing():
            hub_config(self.config).on_cut_off(CALLS)
            self._refuse(LimitReached("too many calls in a short time", retry_after_s=1))

    def _too_many(self) -> None:
        if not self.transport.is_closing():
            hub_config(self.config).on_cut_off(CONNECTIONS)
            message = "this replica has reached its limit of connections"
            self._refuse(LimitReached(message, retry_after_s=CONNECTIONS_RETRY_S))

    def _cut_off(self, reason: str) -> None:
        """Read no more. An answer that is written already can still be taken for a short time."""
        self._cut = True
        self._arrived()
        hub_config(self.config).on_cut_off(reason)
        self.flow.pause_reading()
        self.stream.lost()
        self._deadline = self.loop.call_later(LINGER_S, self.stream.abort)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not valid HTTP, and close the connection."""
        self._arrived()
        wrong = "the request line or the headers are malformed, or too large"
        self._refuse(InvalidArgument({"request": wrong}))

    def _refuse(self, error: HubError) -> None:
        """Close the connection, with an answer if none is under way or has been given to this request."""
        cycle = self.cycle
        asked_again = self._in_head or self._held is not None
        if cycle is None or not cycle.response_started or (asked_again and cycle.response_complete):
            self.transport.write(refusal(error))
        self.transport.close()
        self._give_up_answer()

    def shutdown(self) -> None:
        """The server stops: the current answer is the last, and a stream ends itself."""
        super().shutdown()
        self.stream.stop()


def _large_bytes(held_bytes: int) -> int:
    """How many bytes of a request that waits need room among those of all larger ones."""
    return max(held_bytes - SMALL_BYTES, 0)


def _is_probe(first_bytes: bytes) -> bool:
    """Whether a connection begins with a probe."""
    method, _, rest = first_bytes[:256].partition(b" ")
    return method in (b"GET", b"HEAD") and rest.partition(b" ")[0].partition(b"?")[0] in PROBES
