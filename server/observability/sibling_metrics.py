"""The metrics of processes that share their ports: whichever is scraped answers for all of them.

Every series has the label `process`, so that a counter belongs to one process and never jumps to another's
value. Processes ask each other over sockets of this machine, whose names only they know.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from server.observability.metrics import PREFIX, PROCESS_UP

#: Seconds that a process has to answer another one.
ANSWER_S = 1.0
#: Bytes of an answer at most: that of a process with many thousands of series.
MAX_ANSWER_BYTES = 16 << 20

#: Where one family of an exposition ends and the next one begins.
_FAMILY = re.compile(r"^(?=# HELP )", re.MULTILINE)
#: The start of a sample: its name, and the brace before its labels if it has any.
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?", re.MULTILINE)

_Exposition = Callable[[], Awaitable[tuple[bytes, str]]]


@dataclass(frozen=True, slots=True)
class Place:
    """A process's place among those that share its ports. number: from 1 to `count`. group: the secret name
    that they have in common."""

    number: int
    count: int
    group: str


class SiblingMetrics:
    """The metrics of this process and of its siblings. own: those of this process, with their media type."""

    def __init__(self, own: _Exposition, place: Place) -> None:
        self._own, self._place = own, place
        self._asking: asyncio.Task[tuple[bytes, str]] | None = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer the siblings until the block ends."""
        server = await asyncio.start_unix_server(self._answer, _address(self._place, self._place.number))
        try:
            yield
        finally:
            server.close()

    async def exposition(self) -> tuple[bytes, str]:
        """The text of a scrape and its media type. Scrapes at the same time share their answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._all())
        return await asyncio.shield(self._asking)

    async def _all(self) -> tuple[bytes, str]:
        numbers = [number for number in range(1, self._place.count + 1) if number != self._place.number]
        answers = await asyncio.gather(*map(self._of, numbers))
        own, media_type = await self._own()
        expositions = {self._place.number: own.decode(), **dict(zip(numbers, answers, strict=True))}
        return merged(dict(sorted(expositions.items()))).encode(), media_type

    async def _of(self, number: int) -> str | None:
        """A sibling's metrics; none if it does not answer."""
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(sock=_connected(self._place, number))
                try:
                    size = int.from_bytes(await reader.readexactly(4), "big")
                    if size <= MAX_ANSWER_BYTES:
                        return (await reader.readexactly(size)).decode()
                finally:
                    writer.close()
        return None

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = (await self._own())[0]
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                writer.write(len(text).to_bytes(4, "big") + text)
                await writer.drain()
        writer.close()


def _connected(place: Place, number: int) -> socket.socket:
    """A socket that is connected to a process's. uvloop cannot connect to such an address, but the kernel
    does so at once. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.setblocking(False)
        connection.connect(_address(place, number))
    except OSError:
        connection.close()
        raise
    return connection


def _address(place: Place, number: int) -> str:
    """The address of a process: a name that is in no folder, so that nothing is left of it (Linux)."""
    return f"\0ideo-{place.group}-{number}"


def _labelled(number: int, sample: re.Match[str]) -> str:
    """The start of the sample with the label `process`."""
    name, has_labels = sample.groups()
    return f'{name}{{process="{number}"' + ("," if has_labels else "}")


def merged(expositions: Mapping[int, str | None]) -> str:
    """One exposition of those of several processes, by their numbers: each family once, and each sample with
    the number as the label `process`. A process without an exposition does not answer."""
    families: dict[str, list[str]] = {}
    for number, text in expositions.items():
        for family in _FAMILY.split(text or ""):
            lines = family.splitlines(keepends=True)
            head = "".join(line for line in lines if line.startswith("#"))
            samples = "".join(line for line in lines if not line.startswith("#"))
            families.setdefault(head, []).append(_SAMPLE.sub(partial(_labelled, number), samples))
    name, help_text = PREFIX + PROCESS_UP[0], PROCESS_UP[1]
    up = [f'{name}{{process="{number}"}} {int(text is not None)}\n' for number, text in expositions.items()]
    families[f"# HELP {name} {help_text}\n# TYPE {name} gauge\n"] = up
    return "".join(head + "".join(samples) for head, samples in families.items())
