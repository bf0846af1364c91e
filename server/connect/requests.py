"""The requests of calls: protocol, deadline and message."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from litestar.datastructures import Headers
from litestar.types import Receive

from server.connect.errors import compressed_request, method_not_allowed, unsupported_media_type
from server.connect.methods import Method
from server.connect.protocols import GRPC_WEB, PROTOCOLS, Protocol, protocol_of, protocol_of_get
from server.domain.access.refused_bytes import RefusedBytes
from server.domain.errors import InvalidArgument, TooLarge
from server.domain.model import Principal
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.grpc.interceptors import parse_request
from server.http.connection import ClientGone
from server.http.json_io import parse_json, parse_large_json
from server.wire.event_forms import JSON
from server.wire.json_requests import message_of_json

#: Largest message of a request in bytes, as over gRPC.
MAX_MESSAGE_BYTES = 4 << 20
#: Parameters of a GET; the protocol has five.
_MAX_PARAMETERS = 16
_MILLISECONDS = re.compile(r"[0-9]{1,10}")
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_IDENTITY = ("", "identity")


def parameters_of_get(method: Method, http_method: str, query: bytes) -> dict[str, bytes] | None:
    """The parameters of a call by GET, of several with one name the last; None for another call. Raises
    InvalidArgument."""
    if http_method != "GET" or not method.only_reads:
        return None
    try:
        found = parse_qs(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise InvalidArgument({"query": f"must have at most {_MAX_PARAMETERS} parameters"}) from None
    return {name.decode("latin-1"): values[-1] for name, values in found.items()}


def protocol_of_call(
    method: Method, http_method: str, headers: Headers, parameters: Mapping[str, bytes] | None
) -> Protocol:
    """The protocol of a call. parameters: those of a GET. Raises ProtocolError, InvalidArgument."""
    if parameters is not None:
        protocol = protocol_of_get(parameters.get("encoding", b"").decode("latin-1"))
        if protocol is None:
            raise InvalidArgument({"encoding": "must be json or proto"})
        return protocol
    if http_method != "POST":
        raise method_not_allowed("GET, POST" if method.only_reads else "POST")
    protocol = protocol_of(headers.get("content-type", ""))
    if protocol is None or not protocol.serves(streaming=method.streaming):
        served = [name for name, each in PROTOCOLS.items() if each.serves(streaming=method.streaming)]
        raise unsupported_media_type(", ".join(served))
    return protocol


def check_headers(protocol: Protocol, headers: Headers) -> None:
    """Raises ProtocolError for a compressed request, InvalidArgument for another version of Connect."""
    if headers.get(protocol.encoding_header, "") not in _IDENTITY:
        raise compressed_request()
    if headers.get("connect-protocol-version", "1") != "1":
        raise InvalidArgument({"Connect-Protocol-Version": "must be 1"})


def deadline_of(protocol: Protocol, headers: Headers) -> float | None:
    """The seconds that the caller gives its call; None without a limit. Raises InvalidArgument."""
    if protocol.name == GRPC_WEB:
        text = headers.get("grpc-timeout")
        if text is None:
            return None
        found = _GRPC_TIMEOUT.fullmatch(text)
        if found is None:
            raise InvalidArgument({"Grpc-Timeout": "must be 1 to 8 digits and one of H, M, S, m, u, n"})
        return int(found[1]) * _SECONDS[found[2]]
    text = headers.get("connect-timeout-ms")
    if text is None:
        return None
    if not _MILLISECONDS.fullmatch(text):
        raise InvalidArgument({"Connect-Timeout-Ms": "must be 1 to 10 digits"})
    return int(text) / 1000


async def message_of_body(protocol: Protocol, receive: Receive) -> bytes:
    """The bytes of the message in the request's body. Raises TooLarge, InvalidArgument, ClientGone."""
    max_bytes = protocol.body_bytes(MAX_MESSAGE_BYTES)
    parts: list[bytes] = []
    size = 0
    while True:
        received: Any = await receive()
        if received["type"] == "http.disconnect":
            raise ClientGone
        part = received.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise TooLarge(f"a request's message must have at most {MAX_MESSAGE_BYTES} bytes")
        parts.append(part)
        if not received.get("more_body", False):
            return protocol.request(b"".join(parts))


def message_of_get(parameters: Mapping[str, bytes]) -> bytes:
    """The bytes of the message in the parameters of a GET. Raises ProtocolError, InvalidArgument."""
    if parameters.get("connect", b"v1") != b"v1":
        raise InvalidArgument({"connect": "must be v1"})
    if parameters.get("compression", b"").decode("latin-1") not in _IDENTITY:
        raise compressed_request()
    message = parameters.get("message", b"")
    if parameters.get("base64", b"0") != b"1":
        return message
    try:
        return b64decode(message + b"=" * (-len(message) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidArgument({"message": "must be URL-safe base64"}) from None


class RequestParser:
    """Parses the messages of requests. Large ones in JSON are parsed off the event loop, and counted when
    they are refused (`RefusedBytes`)."""

    def __init__(self, refused_bytes: RefusedBytes) -> None:
        self._refused_bytes = refused_bytes

    async def parse(self, method: Method, protocol: Protocol, raw: bytes, caller: Principal) -> Any:
        """The message. Raises InvalidArgument, LimitReached."""
        if protocol.form is not JSON:
            return parse_request(method.request.FromString, raw)
        if len(raw) <= SMALL_BYTES:
            return message_of_json(method.request, parse_json(raw))
        self._refused_bytes.check(caller.user_id)
        try:
            return await REQUESTS.run(_parse_large, method, raw)
        except InvalidArgument:
            self._refused_bytes.count(caller.user_id, len(raw))
            raise


def _parse_large(method: Method, raw: bytes) -> Any:
    return message_of_json(method.request, parse_large_json(raw))
