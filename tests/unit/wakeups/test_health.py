"""The health of a carrier: a nonce has to come back."""

from __future__ import annotations

import pytest

from server.wakeups.health import CarrierHealth


def health() -> CarrierHealth:
    return CarrierHealth(answer_s=0.01, max_retry_s=0.01)


async def test_a_carrier_is_healthy_once_its_nonce_came_back() -> None:
    of_carrier = health()

    async def echo(nonce: str) -> None:
        assert of_carrier.on_nonce(nonce)

    assert not of_carrier.healthy
    assert await of_carrier.self_test(echo)
    assert of_carrier.healthy


async def test_another_nonce_and_an_earlier_one_do_not_count() -> None:
    of_carrier = health()
    sent: list[str] = []

    async def remember(nonce: str) -> None:
        sent.append(nonce)
        assert not of_carrier.on_nonce("of another process")
        if len(sent) > 1:
            assert not of_carrier.on_nonce(sent[-2])

    assert not await of_carrier.self_test(remember)
    assert not await of_carrier.self_test(remember)
    assert not of_carrier.healthy


async def test_sessions_start_again_until_they_are_stopped_and_a_failed_one_is_unhealthy() -> None:
    class Stopped(Exception):
        """The test has seen enough."""

    of_carrier = health()
    seen: list[bool] = []

    async def echo(nonce: str) -> None:
        of_carrier.on_nonce(nonce)

    async def session() -> str:
        seen.append(of_carrier.healthy)
        await of_carrier.self_test(echo)
        assert of_carrier.healthy
        if len(seen) == 1:
            return "the connection was lost"
        if len(seen) == 2:
            raise OSError
        raise Stopped

    with pytest.raises(Stopped):
        await of_carrier.run_sessions(session, (OSError,))
    assert seen == [False, False, False]
