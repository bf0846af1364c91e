"""A hub whose HTTP port has TLS, as an ingress gives it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Authority, write
from tests.support.servers import tcp_server


@dataclass(frozen=True)
class Front:
    """http: the address. ca_file: the certificate of the authority that signed its own."""

    http: str
    ca_file: Path

    def trusting(self) -> ssl.SSLContext:
        """What trusts it."""
        return ssl.create_default_context(cafile=self.ca_file)


@asynccontextmanager
async def tls_in_front_of(http: str, folder: Path, name: str = "localhost") -> AsyncIterator[Front]:
    """TLS in front of an HTTP address. name: that of its certificate; it is reached as `localhost`."""
    authority = Authority()
    certificate, key = write(folder, authority.pair(name))
    ca_file = folder / "authority.pem"
    ca_file.write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, _, port = http.removeprefix("http://").rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_hub, to_hub = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(pump(reader, to_hub), pump(from_hub, writer))
        finally:
            to_hub.close()

    async with tcp_server(forward, ssl=context) as place:
        yield Front(f"https://localhost:{place}", ca_file)
