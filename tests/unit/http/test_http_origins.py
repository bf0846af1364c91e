from __future__ import annotations

import pytest

from server.http.origins import Origins

ALLOWED = ("https://ide.bizmatters.com", "http://localhost:8080", "https://Mixed.Example")


@pytest.mark.parametrize(
    "origin",
    [
        "https://ide.bizmatters.com",
        "https://IDE.BizMatters.com",
        "HTTPS://ide.bizmatters.com",
        "http://localhost:8080",
        "https://mixed.example",
    ],
)
def test_an_allowed_origin_may_connect(origin: str) -> None:
    assert Origins(ALLOWED).allow_request([origin])


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "http://ide.bizmatters.com",
        "https://ide.bizmatters.com:8443",
        "https://ide.bizmatters.com/",
        "https://ide.bizmatters.com.evil.example",
        "https://evil-ide.bizmatters.com",
        "https://bizmatters.com",
        "https://a.ide.bizmatters.com",
        "https://ide.bizmatters.com@evil.example",
        "https://user@ide.bizmatters.com",
        "https://ide.bizmatters.com#x",
        "https://ide.bizmatters.com?x",
        "https://ide.bizmatters.com.",
        " https://ide.bizmatters.com",
        "https://ide.bizmatters.com\t",
        "https://\u0131de.bizmatters.com",
        "https://xn--de-iga.bizmatters.com",
        "http://localhost",
        "http://localhost:80800",
        "file://",
        "ide.bizmatters.com",
        "//ide.bizmatters.com",
    ],
)
def test_every_other_origin_is_refused(origin: str) -> None:
    assert not Origins(ALLOWED).allow_request([origin])


def test_a_request_without_an_origin_is_not_a_page_and_two_origins_are_refused() -> None:
    assert Origins(ALLOWED).allow_request([])
    assert not Origins(ALLOWED).allow_request([ALLOWED[0], ALLOWED[0]])


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:5173",
        "http://localhost",
        "https://localhost:3000",
        "http://127.0.0.1:65535",
        "http://[::1]:4200",
        "HTTP://LOCALHOST:1",
    ],
)
def test_every_port_of_this_machine_may_connect_in_development_alone(origin: str) -> None:
    assert Origins((), loopback=True).allow_request([origin])
    assert not Origins(()).allow_request([origin])


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://localhost.evil.example:3000",
        "http://localhost:3000.evil.example",
        "http://localhost:3000@evil.example",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.10:3000",
        "http://0.0.0.0:3000",
        "http://[::1",
        "http://localhost:123456",
        "http://localhost:",
        "http://localhost:3000/",
        "http://localhost:3000\n",
        "http://loc\u0430lhost:3000",
        "file://localhost",
        "ftp://localhost:3000",
    ],
)
def test_what_only_resembles_this_machine_is_refused(origin: str) -> None:
    assert not Origins((), loopback=True).allow_request([origin])
