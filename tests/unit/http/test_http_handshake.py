from __future__ import annotations

import pytest

from server.http.handshake import Form, form_of, origin_allowed, token_of


@pytest.mark.parametrize(
    ("offered", "form"),
    [
        ([], Form.LEGACY),
        (["ideo.v1"], Form.JSON),
        (["ideo.v1.proto"], Form.PROTO),
        (["ideo.v1.proto", "ideo.v1"], Form.PROTO),
        (["ideo.v1", "ideo.v1.proto"], Form.JSON),
        (["bearer.a.b.c"], Form.LEGACY),
        (["bearer.a.b.c", "ideo.v1"], Form.JSON),
        (["ideo.v2", "chat"], Form.LEGACY),
        (["ideo.v2", "ideo.v1"], Form.JSON),
        (["IDEO.V1"], Form.LEGACY),
        (["ideo.legacy", "bearer.a.b.c"], Form.LEGACY),
        (["ideo.legacy", "ideo.v1"], Form.LEGACY),
    ],
)
def test_the_first_known_subprotocol_counts(offered: list[str], form: Form) -> None:
    chosen, name = form_of(offered)
    assert chosen is form
    assert name is None or name in offered


@pytest.mark.parametrize(
    ("query", "header", "offered", "token"),
    [
        (None, None, [], None),
        ("q", "Bearer h", ["bearer.p.q.r"], "p.q.r"),
        ("q", "Bearer h", ["ideo.v1"], "h"),
        ("q", None, [], "q"),
        ("q", "Basic eA==", [], "q"),
        (None, "bearer  h ", [], "h"),
        (None, None, ["bearer.YS5iLmM"], "a.b.c"),
        (None, None, ["bearer.YS5iLmM="], "a.b.c"),
        (None, None, ["bearer.%%%"], ""),
        (None, None, ["bearer.gICA"], "gICA"),
        (None, None, ["ideo.v1", "bearer.a.b-c_d"], "a.b-c_d"),
        (None, None, ["bearer."], ""),
    ],
)
def test_the_token_is_looked_for_in_the_subprotocol_then_the_header_then_the_query(
    query: str | None, header: str | None, offered: list[str], token: str | None
) -> None:
    assert token_of(query, header, offered) == token


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
    assert origin_allowed([origin], ALLOWED)


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
    assert not origin_allowed([origin], ALLOWED)


def test_a_request_without_an_origin_is_not_a_page_and_two_origins_are_refused() -> None:
    assert origin_allowed([], ALLOWED)
    assert not origin_allowed([ALLOWED[0], ALLOWED[0]], ALLOWED)
