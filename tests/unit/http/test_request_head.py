from __future__ import annotations

import pytest

from server.http.request_head import MAX_HEAD_BYTES, MAX_HEADERS, HeadSize, check_head

HOST = (b"host", b"hub.example.com")


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [HOST]),
        ("1.1", [(b"accept", b"*/*"), HOST]),
        ("1.1", [(b"host", b"")]),
        ("1.0", []),
        ("1.0", [HOST]),
    ],
)
def test_a_head_with_one_host_is_accepted(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    check_head(version, headers)


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", []),
        ("1.1", [HOST, HOST]),
        ("1.1", [HOST, (b"host", b"evil.example")]),
        ("1.0", [HOST, HOST]),
        ("0.9", []),
        ("0.9", [HOST]),
        ("2.0", [HOST]),
        ("1.2", [HOST]),
        ("3.0", [HOST]),
    ],
)
def test_other_versions_and_other_numbers_of_hosts_are_refused(
    version: str, headers: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(ValueError, match=r"Host|version"):
        check_head(version, headers)


def test_a_head_is_counted_as_it_arrives() -> None:
    size = HeadSize()
    size.add(MAX_HEAD_BYTES - 8)
    size.add_header(8)
    with pytest.raises(ValueError, match="large"):
        size.add_header(1)
    many = HeadSize()
    for _ in range(MAX_HEADERS):
        many.add_header(1)
    with pytest.raises(ValueError, match="many"):
        many.add_header(1)
