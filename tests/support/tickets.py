"""A TLS server that sends session tickets without end: many in a record, which cost it next to nothing."""

from __future__ import annotations

import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

#: A ticket of one byte, valid for an hour, without extensions (RFC 8446 section 4.6.1), and how many fit in a
#: record.
_TICKET = b"\x04\x00\x00\x0e" + b"\x00\x00\x0e\x10" + bytes(4) + b"\x00" + b"\x00\x01t" + b"\x00\x00"
_PER_RECORD = (16 << 10) // len(_TICKET)


class TicketServer:
    """Serves connections: reads a request, and answers with tickets alone. `certificate`, `key`: its
    files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        #: Requests that were read.
        self.requests = 0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, until the client leaves."""
        with TemporaryDirectory() as folder:
            keys = Path(folder) / "keys"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._files)
            context.minimum_version, context.num_tickets = ssl.TLSVersion.TLSv1_3, 0
            context.keylog_filename = str(keys)
            await _read_request(context, reader, writer)
            lines = [line.split() for line in keys.read_text().splitlines() if line[:1] != "#"]
        self.requests += 1
        secret = next(bytes.fromhex(words[2]) for words in lines if words[0] == "SERVER_TRAFFIC_SECRET_0")
        for record in _records(secret):
            writer.write(record)
            await writer.drain()


async def _read_request(context: ssl.SSLContext, reader: StreamReader, writer: StreamWriter) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    request, shaken = b"", False
    while b"\r\n\r\n" not in request:
        try:
            if not shaken:
                tls.do_handshake()
                shaken = True
            request += tls.read(1 << 16)
            continue
        except ssl.SSLWantReadError:
            pass
        writer.write(outgoing.read())
        await writer.drain()
        data = await reader.read(1 << 16)
        if not data:
            raise EOFError
        incoming.write(data)


def _records(secret: bytes) -> Iterator[bytes]:
    """Encrypted records of tickets, the first ones of a server with this secret."""
    cipher, vector = (
        AESGCM(_expanded(secret, b"key", 32)),
        int.from_bytes(_expanded(secret, b"iv", 12), "big"),
    )
    content = _TICKET * _PER_RECORD + b"\x16"
    head = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2, "big")
    number = 0
    while True:
        nonce = (vector ^ number).to_bytes(12, "big")
        yield head + cipher.encrypt(nonce, content, head)
        number += 1


def _expanded(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 for TLS_AES_256_GCM_SHA384, which OpenSSL prefers."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\x00"
    return HKDFExpand(SHA384(), length, info).derive(secret)
