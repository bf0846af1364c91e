"""A caller that waits for a connection gets the first that is made, also one that another caller left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from server.db.connector import Connector
from tests.support.hand_clock import turns, until


class _Connection:
    def __init__(self, number: int) -> None:
        self.number, self.dropped = number, False

    def is_closed(self) -> bool:
        return self.dropped

    def terminate(self) -> None:
        self.dropped = True

    def add_termination_listener(self, listener: Callable[[Any], None]) -> None:
        """Nobody ends it here."""


class _Server:
    """Answers attempts by hand. attempts: a future for each."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[_Connection]] = []
        self.settings: list[dict[str, str]] = []

    async def connect(self, *, server_settings: dict[str, str], **_: Any) -> _Connection:
        self.settings.append(server_settings)
        self.attempts.append(asyncio.get_running_loop().create_future())
        return await self.attempts[-1]

    def answer(self, number: int) -> _Connection:
        connection = _Connection(number)
        self.attempts[number].set_result(connection)
        return connection


def _asked(connector: Connector) -> asyncio.Task[_Connection]:
    return asyncio.create_task(connector(server_settings={}, statement_cache_size=0))


async def _left(connector: Connector) -> None:
    """Ask for a connection, and leave before there is one."""
    asked = _asked(connector)
    await turns()
    asked.cancel()
    await turns()


async def test_an_attempt_goes_on_for_the_next_one_when_who_asked_has_left() -> None:
    server = _Server()
    connector = Connector(pooled=True, connect=server.connect)
    await _left(connector)
    asked = _asked(connector)
    await turns()
    assert len(server.attempts) == 2
    server.answer(0)
    assert (await asked).number == 0
    # The attempt that is not needed any more is given up.
    await turns()
    assert server.attempts[1].cancelled()


async def test_an_attempt_without_an_answer_gets_another_one_beside_it() -> None:
    server = _Server()
    asked = _asked(Connector(pooled=True, connect=server.connect))
    await until(lambda: len(server.attempts) == 2)
    server.answer(1)
    assert (await asked).number == 1
    await turns()
    assert server.attempts[0].cancelled()


async def test_a_refusal_is_not_kept_back_by_an_attempt_that_was_left() -> None:
    server = _Server()
    connector = Connector(pooled=True, connect=server.connect)
    await _left(connector)
    asked = _asked(connector)
    await turns()
    server.attempts[1].set_exception(ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        await asked


async def test_a_connection_that_nobody_waits_for_any_more_is_dropped() -> None:
    server = _Server()
    connector = Connector(pooled=True, connect=server.connect)
    await _left(connector)
    made = server.answer(0)
    await turns()
    connector.close()
    await turns()
    assert made.dropped


async def test_a_left_attempt_that_fails_is_not_what_the_next_one_gets() -> None:
    server = _Server()
    connector = Connector(pooled=True, connect=server.connect)
    await _left(connector)
    server.attempts[0].set_exception(TimeoutError())
    asked = _asked(connector)
    await turns()
    server.answer(1)
    assert (await asked).number == 1
