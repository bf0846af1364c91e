"""Connections to receivers of webhooks, which may send anything: as much of it is read as an answer needs, a
little at a time."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpcore
from typing_extensions import override

#: Bytes that are read at a time, and of one answer: its head, interim answers, and the beginning of its body.
#: What is read at a time is parsed in one turn of the event loop, and may be made of very small parts.
READ_BYTES, MAX_ANSWER_BYTES = 1 << 10, 64 << 10


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection whose answers have MAX_ANSWER_BYTES at most."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MAX_ANSWER_BYTES

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore's. Raises ReadError for an answer that does not end."""
        # What is waiting already is read without a pause, and others must have their turn.
        await asyncio.sleep(0)
        data = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._left -= len(data)
        if self._left < 0:
            raise httpcore.ReadError("the answer does not end")
        return data

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As httpcore's. What comes afterwards is another answer."""
        self._left = MAX_ANSWER_BYTES
        await self._stream.write(buffer, timeout)

    @override
    async def aclose(self) -> None:
        """As httpcore's."""
        await self._stream.aclose()

    @override
    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As httpcore's."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    @override
    def get_extra_info(self, info: str) -> Any:
        """As httpcore's."""
        return self._stream.get_extra_info(info)
