"""JSON in and out. Errors name the place in a body, never its content."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from litestar import Request, Response
from litestar.datastructures import Headers
from litestar.datastructures.headers import Accept
from litestar.exceptions import InternalServerException
from litestar.types import Empty, Scope

from server.domain.access.refused_bytes import RefusedBytes
from server.domain.errors import InvalidArgument
from server.domain.fair_budget import REQUEST_COPIES, WAIT_S, FairBudget, Reservation
from server.domain.model import Principal
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.encoding.structure import JSON, exceeds
from server.wire.text import dumps

#: Largest body of a workflow with its files, and of any other request, in bytes.
MAX_WORKFLOW_BYTES = 2_621_440
MAX_BODY_BYTES = 256 << 10
#: Maximum number of values in a body, and of members in one of its objects: a definition of the largest size
#: has fewer, and so do files.
MAX_VALUES = 150_000
#: The names in the application's state under which requests find the budgets for refused ones, and the
#: memory for large bodies.
REFUSED_BYTES, INCOMING = "refused_bytes", "incoming"

T = TypeVar("T")


def _refuse_constant(name: str) -> None:
    raise ValueError("a number must be finite")


def parse_json(raw: bytes) -> object:
    """The value of a JSON text in UTF-8; strings may hold lone surrogates. Raises InvalidArgument."""
    if not raw:
        raise InvalidArgument({"body": "is missing: it must be a JSON object"})
    try:
        return json.loads(raw.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as wrong:
        raise InvalidArgument({"body": f"is not UTF-8 at byte {wrong.start}"}) from None
    except json.JSONDecodeError as wrong:
        place = f"line {wrong.lineno}, column {wrong.colno}"
        raise InvalidArgument({"body": f"is not JSON at {place}"}) from None
    except RecursionError:
        raise InvalidArgument({"body": "is nested too deeply"}) from None
    except ValueError:
        raise InvalidArgument({"body": "holds a number that is not finite or too long"}) from None


def parse_large_json(raw: bytes) -> object:
    """As `parse_json`; a body of too many values is refused without being read."""
    if exceeds(raw, JSON, max_values=MAX_VALUES, max_members=MAX_VALUES):
        raise InvalidArgument({"body": f"must hold at most {MAX_VALUES} values"})
    return parse_json(raw)


#: Characters of an `Accept` that is read: browsers send some 150, and each type in it takes time.
_MAX_ACCEPT_CHARS = 1024


def prefers_to_json(headers: Headers, media_type: str) -> bool:
    """Whether a request prefers an answer of this media type to one in JSON."""
    accept = headers.get("accept", "*/*")
    if len(accept) > _MAX_ACCEPT_CHARS:
        return False
    with suppress(OverflowError):
        # Of an infinite weight.
        return Accept(accept).best_match(["application/json", media_type]) == media_type
    return False


class HubRequest(Request[Principal, Any, Any]):
    """A request with a JSON body, whatever its content type. `user` is the caller (`Authenticate`)."""

    def joined_header(self, name: str) -> str | None:
        """The values of a header as one list; None without any."""
        values = self.headers.getall(name, [])
        return ", ".join(values) if values else None

    async def body(self) -> bytes:
        """The body, which is kept until `json` takes it. A large one is read once there is room for it.

        Raises InvalidArgument when the client cut it off; nobody gets that answer. Raises LimitReached;
        Litestar raises for a body that is too large.
        """
        if self._body is Empty:
            parts: list[bytes] = []
            size = 0
            try:
                async for part in self.stream():
                    parts.append(part)
                    size += len(part)
                    await self._make_room(size)
            except InternalServerException:
                raise InvalidArgument({"body": "is incomplete"}) from None
            if size > SMALL_BYTES:
                # The error's handler has the request as another object, of the same state.
                self.state.large_bytes = size
            # Not in the state of the connection, which keeps it as long as its stream.
            self._body = b"".join(parts)
        return self._body

    async def json(self) -> Any:
        """The body, parsed; a large one off the event loop. It can be read once. Raises as `body`, and
        InvalidArgument."""
        raw, self._body = await self.body(), Empty
        if len(raw) <= SMALL_BYTES:
            return parse_json(raw)
        return await REQUESTS.run(parse_large_json, raw)

    async def _make_room(self, arrived_bytes: int) -> None:
        """Wait for room for the body, and for what is made of it, if it is large, or its end has yet to come:
        clients may keep that back."""
        size_bytes = self.content_length
        if size_bytes is None:
            most = self.route_handler.resolve_request_max_body_size() or arrived_bytes
            size_bytes = SMALL_BYTES if arrived_bytes <= SMALL_BYTES else most
        if size_bytes <= min(arrived_bytes, SMALL_BYTES):
            return
        extensions = _extensions_of(self.scope)
        room: Reservation | None = extensions.get(INCOMING)
        if room is None:
            budget: FairBudget = self.app.state[INCOMING]
            room = extensions[INCOMING] = Reservation(budget, self.user.memory_id, wait_s=WAIT_S)
        if room.asked_bytes < size_bytes * REQUEST_COPIES:
            if size_bytes > SMALL_BYTES:
                self._refused_bytes.check(self.user.user_id)
            await room.resize(size_bytes * REQUEST_COPIES)

    def note_refusal(self) -> None:
        """Count the body, if it is a large one that was read: the request is refused for it."""
        large_bytes = self.state.get("large_bytes")
        if large_bytes is not None:
            self._refused_bytes.count(self.user.user_id, large_bytes)

    @property
    def _refused_bytes(self) -> RefusedBytes:
        found: RefusedBytes = self.app.state[REFUSED_BYTES]
        return found


def give_back_room(scope: Scope) -> None:
    """What was made of the request's body is no longer in memory. May be called twice."""
    room: Reservation | None = _extensions_of(scope).pop(INCOMING, None)
    if room is not None:
        room.close()


def _extensions_of(scope: Scope) -> dict[str, Any]:
    return scope.setdefault("extensions", {})  # type: ignore[return-value]


class JsonResponse(Response[T]):
    """An answer in JSON: a model, or bytes that are JSON already."""

    def render(self, content: Any, media_type: str, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
        """The body."""
        return content if isinstance(content, bytes) else dumps(content)
