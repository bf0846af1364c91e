"""Looking up host names so that one which gets no answer delays no other.

uvloop looks names up in two threads that all names share: while the name service is silent about the
runtime's host, nobody could connect to the database's. Here each name has a thread of its own, and all who
ask for the same name wait for the same lookup.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeAlias

import uvloop

#: What `socket.getaddrinfo` returns.
Addresses: TypeAlias = list[tuple[Any, ...]]
#: The arguments of `socket.getaddrinfo`.
_Query: TypeAlias = tuple[Any, ...]

#: Lookups at a time, by default. The names come from the settings: they are few.
MAX_LOOKUPS = 32


class HostNames:
    """The lookups of one event loop, at most `max_lookups` at a time. `look_up`: a function such as
    `socket.getaddrinfo`, which blocks its thread."""

    def __init__(
        self, look_up: Callable[..., Addresses] = socket.getaddrinfo, *, max_lookups: int = MAX_LOOKUPS
    ) -> None:
        self._look_up, self._max_lookups = look_up, max_lookups
        self._running: dict[_Query, asyncio.Future[Addresses]] = {}

    async def addresses(self, *query: Any) -> Addresses:
        """The answer to a query. Raises socket.gaierror, UnicodeError for what cannot be a name."""
        answer = self._running.get(query)
        if answer is None:
            if len(self._running) >= self._max_lookups:
                raise socket.gaierror(socket.EAI_AGAIN, "too many host names are being looked up")
            answer = self._start(query)
        # A caller that is cancelled does not cancel the lookup, for which others may wait.
        return await asyncio.shield(answer)

    def _start(self, query: _Query) -> asyncio.Future[Addresses]:
        loop = asyncio.get_running_loop()
        answer = self._running[query] = loop.create_future()

        def end(found: Addresses | Exception) -> None:
            del self._running[query]
            if isinstance(found, Exception):
                answer.set_exception(found)
                # Nobody may be waiting any more.
                answer.exception()
            else:
                answer.set_result(found)

        def look_up() -> None:
            found: Addresses | Exception
            try:
                found = self._look_up(*query)
            except Exception as error:
                found = error
            # The loop may have closed meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(end, found)

        # A daemon thread: the process does not wait for it at its end.
        threading.Thread(target=look_up, name="host-name", daemon=True).start()
        return answer


class HubLoop(uvloop.Loop):
    """uvloop's event loop, with these lookups. `look_up`: as for `HostNames`."""

    def __init__(self, look_up: Callable[..., Addresses] = socket.getaddrinfo) -> None:
        super().__init__()
        self._host_names = HostNames(look_up)

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
        """As asyncio's."""
        if not _is_name(host):
            return await super().getaddrinfo(host, port, **options)
        kinds = [options.get(name, 0) for name in ("family", "type", "proto", "flags")]
        return await self._host_names.addresses(host, port, *kinds)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """As asyncio's: to the first address of the name at which a server answers."""
        if not _is_name(host):
            return await super().create_connection(protocol_factory, host, port, **options)
        if options.get("ssl"):
            options = {"server_hostname": host} | options
        kind = {name: options.pop(name) for name in ("family", "proto", "flags") if name in options}
        refused: OSError | None = None
        for *_, address in await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **kind):
            try:
                return await super().create_connection(protocol_factory, *address[:2], **options)
            except OSError as error:
                refused = error
        assert refused is not None, "a name has an address, or getaddrinfo raises"
        raise refused


def _is_name(host: Any) -> bool:
    """Whether a host has to be looked up."""
    if not host or not isinstance(host, str):
        return False
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False
