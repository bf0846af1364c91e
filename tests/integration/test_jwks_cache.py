"""The cache of an issuer's keys against a real server that rotates, fails and lies, by a hand-moved clock."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from server.auth.keyset import COOLDOWN_S, KEEP_S, MAX_RESPONSE_BYTES, REFRESH_S, KeySet
from server.bounded_http import MAX_ANSWER_LINES
from server.domain.access.stream_authorization import LEEWAY
from server.domain.errors import KeysUnavailable, Unauthenticated
from tests.support.hand_clock import HandClock, retried, until
from tests.unit.auth.issuer import (
    AUDIENCE,
    ISSUER,
    Behaviour,
    Issuer,
    JwksServer,
    answer,
    jwks_server,
    new_ec,
    public_jwk,
)

OLD, NEW = "key-0", "key-1"
#: Real seconds for a fetch: on a busy machine, too, a good answer comes in time.
FETCH_S = 3.0


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def by() -> Issuer:
    return Issuer({OLD: new_ec()})


@pytest_asyncio.fixture
async def server(by: Issuer) -> AsyncIterator[JwksServer]:
    async with jwks_server(answer(by.document())) as serving:
        yield serving


@pytest_asyncio.fixture
async def keys(server: JwksServer, clock: HandClock) -> AsyncIterator[KeySet]:
    made = _key_set(server, clock)
    async with made.running():
        yield made


def _key_set(server: JwksServer, clock: HandClock) -> KeySet:
    return KeySet(server.url, issuer=ISSUER, audience=AUDIENCE, clock=clock, fetch_s=FETCH_S)


async def _refused(keys: KeySet, token: str) -> type[Exception]:
    with pytest.raises((Unauthenticated, KeysUnavailable)) as caught:
        await keys.verify(token)
    return caught.type


async def test_keys_rotate_under_load_without_a_failure(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    current, over = OLD, False
    done, failures = 0, []

    async def caller() -> None:
        nonlocal done
        while not over:
            try:
                await keys.verify(by.token(current, clock.now()))
            except Exception as error:
                failures.append(repr(error))
            done += 1
            await asyncio.sleep(0)

    async def more(count: int = 200) -> None:
        aim = done + count
        await until(lambda: done >= aim)

    callers = [asyncio.create_task(caller()) for _ in range(50)]
    await more()
    for number in range(1, 6):
        # Without a day on which both are published: the first token of the new key makes it known.
        kid = f"key-{number}"
        by.keys[kid] = new_ec()
        by.published = [public_jwk(by.keys[kid], kid=kid)]
        server.behave = answer(by.document())
        clock.move(COOLDOWN_S)
        asked, current = len(server.paths), kid
        await more()
        assert len(server.paths) == asked + 1
    over = True
    await asyncio.gather(*callers)
    print(f"\n5 rotations under 50 callers: {done} verifications, {len(failures)} failures")
    assert failures == []
    assert await _refused(keys, by.token(OLD, clock.now())) is Unauthenticated


async def test_an_issuer_that_is_down_for_ten_minutes_causes_no_failure(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    await server.down()
    done = 0
    for _ in range(120):
        clock.move(5)
        for _ in range(5):
            await keys.verify(by.token(OLD, clock.now()))
            done += 1
            await asyncio.sleep(0)
    print(f"\ndown for 600 s: {done} verifications, 0 failures")
    assert server.answered == 1
    assert keys.ready
    by.keys[NEW] = new_ec()
    token = by.token(NEW, clock.now())
    assert await _refused(keys, token) is KeysUnavailable, "a new key's token may be good"
    by.published = [public_jwk(by.keys[NEW], kid=NEW)]
    server.behave = answer(by.document())
    await server.up()
    clock.move(COOLDOWN_S)
    await keys.verify(token)


async def test_keys_without_a_successful_fetch_for_a_day_are_not_used(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    await server.down()
    clock.move(KEEP_S - 1)
    await keys.verify(by.token(OLD, clock.now()))
    clock.move(1)
    assert not keys.ready
    assert await _refused(keys, by.token(OLD, clock.now())) is KeysUnavailable
    await server.up()
    clock.move(COOLDOWN_S)
    await until(lambda: keys.ready)
    await keys.verify(by.token(OLD, clock.now()))


async def test_a_token_that_was_accepted_is_refused_once_it_has_expired(
    keys: KeySet, by: Issuer, clock: HandClock
) -> None:
    token = by.token(OLD, clock.now(), exp=int(clock.now().timestamp()) + 60)
    accepted = await keys.verify(token)
    assert await keys.verify(token) == accepted
    clock.move(60 + LEEWAY.total_seconds() - 1)
    await keys.verify(token)
    clock.move(1)
    assert await _refused(keys, token) is Unauthenticated


@pytest.mark.parametrize("kid", [NEW, OLD], ids=["withdrawn", "another key under its kid"])
async def test_a_token_that_was_accepted_is_refused_once_its_key_is_replaced(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock, kid: str
) -> None:
    token = by.token(OLD, clock.now())
    await keys.verify(token)
    by.keys[kid] = new_ec()
    by.published = [public_jwk(by.keys[kid], kid=kid)]
    server.behave = answer(by.document())
    asked = len(server.paths)
    clock.move(REFRESH_S)
    await until(lambda: len(server.paths) > asked)
    # The answer may be on its way.
    await retried(partial(keys.verify, by.token(kid, clock.now())), Unauthenticated)
    assert await _refused(keys, token) is Unauthenticated


async def test_a_token_that_was_accepted_is_refused_once_the_keys_are_too_old(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    token = by.token(OLD, clock.now(), exp=int(clock.now().timestamp() + 2 * KEEP_S))
    await keys.verify(token)
    await server.down()
    clock.move(KEEP_S)
    assert await _refused(keys, token) is KeysUnavailable


async def test_a_thousand_unknown_kids_cause_one_fetch_in_thirty_seconds(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    good = by.token(OLD, clock.now())
    unknown = [by.token(OLD, clock.now(), header={"kid": f"unknown-{number}"}) for number in range(1000)]
    at_start = len(server.paths)
    outcomes = await asyncio.gather(*(keys.verify(token) for token in unknown), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unauthenticated}
    assert len(server.paths) - at_start == 1
    fetched_at: list[float] = []
    for number in range(1000):
        clock.move(0.2)
        before = len(server.paths)
        assert await _refused(keys, unknown[number]) is Unauthenticated
        await keys.verify(good)
        fetched_at += [clock.monotonic()] * (len(server.paths) - before)
    between = [later - earlier for earlier, later in itertools.pairwise(fetched_at)]
    print(f"\n1,000 unknown kids at once: 1 fetch; 1,000 over 200 s: {len(fetched_at)} fetches")
    print(f"{min(between):.1f} s apart at least")
    assert min(between) >= COOLDOWN_S - 1e-6
    assert 1 <= len(fetched_at) <= 200 / COOLDOWN_S


async def test_tokens_that_cannot_be_valid_cause_no_fetch(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    asked = len(server.paths)
    for header in ({"alg": "HS256", "kid": "x"}, {"alg": "none"}, {"kid": "x", "crit": ["a"]}):
        assert await _refused(keys, by.token(OLD, clock.now(), header=header)) is Unauthenticated
    assert len(server.paths) == asked


async def test_a_caller_that_gives_up_waiting_does_not_end_the_fetch_for_others(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    by.keys[NEW] = new_ec()
    by.published.append(public_jwk(by.keys[NEW], kid=NEW))
    going_on, fresh = asyncio.Event(), answer(by.document())

    async def held(writer: asyncio.StreamWriter) -> None:
        await going_on.wait()
        await fresh(writer)

    server.behave = held
    asked, token = len(server.paths), by.token(NEW, clock.now())
    first, second = (asyncio.create_task(keys.verify(token)) for _ in range(2))
    await until(lambda: len(server.paths) == asked + 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    going_on.set()
    assert (await second).subject == "ann"


async def test_a_withdrawn_key_is_refused_after_the_next_refresh(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    by.keys[NEW] = new_ec()
    by.published = [public_jwk(by.keys[NEW], kid=NEW)]
    server.behave = answer(by.document())
    token, answered = by.token(OLD, clock.now()), server.answered
    # The refresh waits for the clock from now on, whatever it did until now.
    await asyncio.sleep(0)
    clock.move(REFRESH_S)
    await until(lambda: server.answered > answered)
    clock.move(COOLDOWN_S)
    assert await _refused(keys, token) is Unauthenticated


async def _hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()


async def _interim(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
        await writer.drain()


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"keys": [')


async def _nothing(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def _bad_answers() -> dict[str, Behaviour]:
    """Answers that would bring a stranger's key, were they taken."""
    stranger = Issuer({OLD: new_ec(), NEW: new_ec()}).document()
    secret = {"kty": "oct", "kid": OLD, "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA"}
    return {
        "500 with keys": answer(stranger, status="500 Internal Server Error"),
        "404 with keys": answer(stranger, status="404 Not Found"),
        "204": answer(b"", status="204 No Content"),
        "206 with keys": answer(stranger, status="206 Partial Content"),
        "a redirect": answer(stranger, status="302 Found", Location="/evil"),
        "a permanent redirect": answer(stranger, status="308 Permanent Redirect", Location="/evil"),
        "more lines than are read": answer(stranger, **{f"x-{n}": "" for n in range(MAX_ANSWER_LINES)}),
        "packed": answer(gzip.compress(stranger), Content_Encoding="gzip"),
        "HTML": answer(b"<html>sign in</html>"),
        "nothing in it": answer(b""),
        "no UTF-8": answer(b"\xff\xfe\x00"),
        "a list": answer(b"[]"),
        "null": answer(b"null"),
        "no keys": answer(b'{"keys": []}'),
        "keys no list": answer(b'{"keys": {"kty": "RSA"}}'),
        "keys that are none": answer(b'{"keys": [1, null, "x", [], {}, {"kty": ["RSA"]}]}'),
        "a symmetric key": answer(json.dumps({"keys": [secret]}).encode()),
        "deep": answer(b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "too large, with keys": answer(stranger + b" " * MAX_RESPONSE_BYTES),
        "endless": _endless,
        "interim answers": _interim,
        "cut": _cut,
        "silent": _hang,
        "slow": _drip,
        "closed at once": _nothing,
    }


@pytest.mark.parametrize("name", _bad_answers())
async def test_a_bad_response_does_not_change_the_keys(
    keys: KeySet, by: Issuer, server: JwksServer, clock: HandClock, name: str
) -> None:
    server.behave = _bad_answers()[name]
    unknown = by.token(OLD, clock.now(), header={"kid": "unknown"})
    # The fetch that this asks for is over when it is refused: it failed, so nobody knows.
    assert await _refused(keys, unknown) is KeysUnavailable
    await keys.verify(by.token(OLD, clock.now()))
    assert set(server.paths) == {"/jwks"}
    server.behave = answer(by.document())
    clock.move(COOLDOWN_S)
    assert await _refused(keys, unknown) is Unauthenticated


async def test_an_issuer_that_is_unreachable_at_the_start_is_tried_again(
    by: Issuer, server: JwksServer, clock: HandClock
) -> None:
    await server.down()
    keys, token = _key_set(server, clock), by.token(OLD, clock.now())
    async with keys.running():
        assert not keys.ready
        with pytest.raises(KeysUnavailable) as caught:
            await keys.verify(token)
        assert 1 <= (caught.value.retry_after_s or 0) <= COOLDOWN_S + 1
        await server.up()
        # One failure: the next try is due after a second.
        await asyncio.sleep(0)
        clock.move(1)
        await until(lambda: keys.ready)
        assert (await keys.verify(token)).subject == "ann"


async def test_only_the_first_keys_of_a_large_set_are_kept(server: JwksServer, clock: HandClock) -> None:
    many = Issuer({f"key-{number}": new_ec() for number in range(70)})
    server.behave = answer(many.document())
    keys = _key_set(server, clock)
    async with keys.running():
        await keys.verify(many.token("key-63", clock.now()))
        assert await _refused(keys, many.token("key-64", clock.now())) is Unauthenticated
