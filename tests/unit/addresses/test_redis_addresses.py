"""Addresses of Redis-protocol servers: whatever passes the check, the library takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from server.addresses.postgres_parameters import AddressError
from server.addresses.redis import check_redis_address


@pytest.mark.parametrize(
    "address",
    [
        "redis://h",
        "redis://h:6379/0",
        "redis://:k%23ngfisher@h:1/2?health_check_interval=5",
        "redis://ann:x@[::1]/0?socket_keepalive=true",
        "rediss://h/0?ssl_cert_reqs=none&ssl_check_hostname=false",
        "redis://h/?db=3&username=ann&password=x",
    ],
)
def test_what_passes_the_check_the_library_takes(address: str) -> None:
    check_redis_address(address)
    Redis.from_url(address).connection_pool.make_connection()


@pytest.mark.parametrize(
    "address",
    [
        "http://h",
        "redis://",
        "redis://h:many",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/name",
        "redis://h?db=one",
        "redis://h?socket_timeout=soon",
        "redis://h?timeout=3",
        "redis://h?nonsense=1",
        "redis://h?ssl_cert_reqs=none",
        "rediss://h?ssl_cert_reqs=maybe",
        "redis://:k#ngfisher@h",
        "redis://:k/ngfisher@h",
        "redis://:k?ngfisher@h",
        "redis://:k@ngfisher@h",
        "redis://[h",
    ],
)
def test_what_the_library_would_not_take_is_refused_without_its_value(address: str) -> None:
    with pytest.raises(AddressError) as refused:
        check_redis_address(address)
    assert "ngfisher" not in str(refused.value)


@given(st.text(max_size=40))
def test_any_text_is_an_address_that_the_library_takes_or_is_refused(text: str) -> None:
    for address in (
        text,
        f"redis://{text}",
        f"redis://h/{text}",
        f"redis://h?{text}",
        f"rediss://h?db={text}",
    ):
        try:
            check_redis_address(address)
        except AddressError:
            continue
        Redis.from_url(address).connection_pool.make_connection()
