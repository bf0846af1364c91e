from __future__ import annotations

import pytest

from server.http.handshake import Form, form_of, token_of


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
        ("q", "h", ["bearer.p.q.r"], "p.q.r"),
        ("q", "h", ["ideo.v1"], "h"),
        ("q", None, [], "q"),
        ("q", "", [], ""),
        (None, "h", [], "h"),
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
