"""Host names for which the name service has no answer: they delay nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from server.addresses.host_names import MAX_LOOKUPS, HostNames, HubLoop
from tests.support.servers import tcp_server


class NameService:
    """A name service that is silent about names in `.silent` until `answering` is set, and knows no other
    name than that of this machine."""

    def __init__(self) -> None:
        self.answering = threading.Event()
        self.asked: list[str] = []

    def look_up(self, host: str, port: int, *kinds: int) -> list[tuple[Any, ...]]:
        """As socket.getaddrinfo."""
        self.asked.append(host)
        if host.endswith(".silent"):
            assert self.answering.wait(60)
        elif host != "here":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return socket.getaddrinfo("127.0.0.1", port, *kinds)


@pytest.fixture
def names() -> Any:
    service = NameService()
    yield service
    service.answering.set()


def run(names: NameService, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on the hub's event loop."""
    with asyncio.Runner(loop_factory=lambda: HubLoop(names.look_up)) as runner:
        runner.run(asyncio.wait_for(main(), 30))


async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server's side of a connection."""
    writer.close()


def test_names_without_an_answer_delay_no_other_name(names: NameService) -> None:
    async def main() -> None:
        async with tcp_server(leaves) as port:
            waiting = [
                asyncio.ensure_future(asyncio.open_connection(f"{number}.silent", port))
                for number in range(MAX_LOOKUPS - 1)
            ]
            await asyncio.sleep(0)
            _, writer = await asyncio.open_connection("here", port)
            writer.close()
            assert not any(each.done() for each in waiting)
            names.answering.set()
            for _, opened in await asyncio.gather(*waiting):
                opened.close()

    run(names, main)


def test_those_who_ask_for_the_same_name_wait_for_one_lookup(names: NameService) -> None:
    async def main() -> None:
        async with tcp_server(leaves) as port:
            asking = [asyncio.ensure_future(asyncio.open_connection("a.silent", port)) for _ in range(100)]
            await asyncio.sleep(0)
            asking[0].cancel()
            names.answering.set()
            for _, opened in await asyncio.gather(*asking[1:]):
                opened.close()
        assert names.asked == ["a.silent"]

    run(names, main)


def test_a_name_is_looked_up_again_after_its_answer(names: NameService) -> None:
    async def main() -> None:
        for _ in range(2):
            with pytest.raises(socket.gaierror):
                await asyncio.open_connection("unknown", 1)
        assert names.asked == ["unknown"] * 2

    run(names, main)


def test_too_many_lookups_at_a_time_are_refused(names: NameService) -> None:
    async def main() -> None:
        lookups = HostNames(names.look_up)
        asking = [
            asyncio.ensure_future(lookups.addresses(f"{number}.silent", 1)) for number in range(MAX_LOOKUPS)
        ]
        await asyncio.sleep(0)
        with pytest.raises(socket.gaierror):
            await lookups.addresses("here", 1)
        names.answering.set()
        await asyncio.gather(*asking)
        assert await lookups.addresses("here", 1)

    run(names, main)


def test_an_address_is_not_looked_up(names: NameService) -> None:
    async def main() -> None:
        async with tcp_server(leaves) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        assert names.asked == []

    run(names, main)


def test_a_process_ends_while_a_name_is_looked_up(names: NameService) -> None:
    async def main() -> None:
        asking = asyncio.ensure_future(asyncio.open_connection("a.silent", 1))
        await asyncio.sleep(0)
        asking.cancel()

    run(names, main)
    assert not names.answering.is_set()
