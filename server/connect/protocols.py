"""The protocols that calls of the contract speak on the HTTP port: Connect and gRPC-Web. Pure.

A content type names the protocol, the form of the messages, and whether these are in envelopes: one byte of
flags, four of length, the message (ADR 0039).
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from google.rpc import status_pb2

from server.connect.errors import connect_error, unpadded_base64
from server.domain.errors import InvalidArgument
from server.wire.event_forms import JSON, PROTO, MessageForm
from server.wire.text import dumps

#: What each of them calls itself in metrics.
CONNECT, GRPC_WEB = "connect", "grpc-web"
_ENVELOPE = struct.Struct(">BI")
#: Flags of an envelope: its message is compressed; it is the end of a Connect stream, or of gRPC-Web's.
_COMPRESSED, _END_OF_STREAM, _TRAILERS = 0x01, 0x02, 0x80
#: Characters that `grpc-message` has as they are: visible ASCII without the percent sign.
_PRINTABLE = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a call's messages are sent. text: in base64."""

    name: str
    content_type: str
    form: MessageForm
    enveloped: bool = True
    text: bool = False

    @property
    def encoding_header(self) -> str:
        """The header that names the compression of a request."""
        if self.name == GRPC_WEB:
            return "grpc-encoding"
        return "connect-content-encoding" if self.enveloped else "content-encoding"

    def serves(self, *, streaming: bool) -> bool:
        """Whether a method can be called by it: Connect has one form for streams and one for all others."""
        return self.name == GRPC_WEB or self.enveloped == streaming

    def body_bytes(self, message_bytes: int) -> int:
        """The size of the body that has a message of that size."""
        size = message_bytes + (_ENVELOPE.size if self.enveloped else 0)
        return (size + 2) // 3 * 4 if self.text else size

    def request(self, body: bytes) -> bytes:
        """The message of a request's body. Raises InvalidArgument."""
        if self.text:
            try:
                body = b64decode(body, validate=True)
            except binascii.Error:
                raise InvalidArgument({"body": "must be base64"}) from None
        if not self.enveloped:
            return body
        if len(body) < _ENVELOPE.size:
            raise InvalidArgument({"body": "must be one message in its envelope"})
        flags, size = _ENVELOPE.unpack_from(body)
        if flags & _COMPRESSED:
            raise InvalidArgument({"body": "must not be compressed"})
        if flags:
            raise InvalidArgument({"body": "has flags that are not those of a message"})
        if size != len(body) - _ENVELOPE.size:
            raise InvalidArgument({"body": "must be one message with as many bytes as its envelope says"})
        return body[_ENVELOPE.size :]

    def message(self, message: bytes) -> bytes:
        """A message of an answer as it is sent."""
        return self._envelope(0, message) if self.enveloped else message

    def end(self, trailers: Mapping[str, str], status: status_pb2.Status | None = None) -> bytes:
        """The end of an answer in envelopes. status: of the error that ends it."""
        if self.name == GRPC_WEB:
            ended = _grpc_trailers(trailers, status)
            lines = "".join(f"{name}: {value}\r\n" for name, value in ended.items())
            return self._envelope(_TRAILERS, lines.encode())
        end: dict[str, object] = {} if status is None else {"error": connect_error(status)}
        if trailers:
            end["metadata"] = {name: [value] for name, value in trailers.items()}
        return self._envelope(_END_OF_STREAM, dumps(end))

    def _envelope(self, flags: int, message: bytes) -> bytes:
        enveloped = _ENVELOPE.pack(flags, len(message)) + message
        return b64encode(enveloped) if self.text else enveloped


def _grpc_trailers(trailers: Mapping[str, str], status: status_pb2.Status | None) -> dict[str, str]:
    if status is None:
        return {**trailers, "grpc-status": "0"}
    return {
        **trailers,
        "grpc-status": str(status.code),
        "grpc-message": quote(status.message, safe=_PRINTABLE),
        "grpc-status-details-bin": unpadded_base64(status.SerializeToString()),
    }


_FORMS: dict[str, MessageForm] = {"json": JSON, "proto": PROTO}
#: By media type.
PROTOCOLS = {
    each.content_type: each
    for each in (
        *(Protocol(CONNECT, f"application/{name}", form, enveloped=False) for name, form in _FORMS.items()),
        *(Protocol(CONNECT, f"application/connect+{name}", form) for name, form in _FORMS.items()),
        *(Protocol(GRPC_WEB, f"application/grpc-web+{name}", form) for name, form in _FORMS.items()),
        Protocol(GRPC_WEB, "application/grpc-web", PROTO),
        Protocol(GRPC_WEB, "application/grpc-web-text", PROTO, text=True),
        Protocol(GRPC_WEB, "application/grpc-web-text+proto", PROTO, text=True),
    )
}


def protocol_of(content_type: str) -> Protocol | None:
    """The protocol of a `Content-Type`; None for another one."""
    return PROTOCOLS.get(content_type.partition(";")[0].strip().lower())


def protocol_of_get(encoding: str) -> Protocol | None:
    """The protocol of a GET, whose query names the encoding of its message."""
    return PROTOCOLS.get(f"application/{encoding}") if encoding in _FORMS else None
