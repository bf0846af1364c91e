"""Tokens of development, user ids, and that no token is too odd to refuse."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.claims import header_of
from server.auth.tokens import AUDIENCE, ISSUER, SharedSecret
from server.domain.errors import Unauthenticated
from tests.support.tokens import SECRET
from tests.unit.auth.issuer import compact


def shared(**claims: Any) -> str:
    now = int(datetime.now(UTC).timestamp())
    return jwt.encode({"sub": "ann", "exp": now + 60, **claims}, SECRET, algorithm="HS256")


async def test_what_is_issued_is_accepted() -> None:
    for verifier in (SharedSecret(SECRET), SharedSecret(SECRET, "me", "hub")):
        token = verifier.issue(email="ann@example.com", lifetime=timedelta(minutes=5), now=datetime.now(UTC))
        principal = await verifier.verify(token)
        assert (principal.subject, principal.email) == ("ann@example.com", "ann@example.com")
        assert verifier.ready


def test_a_short_shared_key_is_refused() -> None:
    SharedSecret("x" * 32)
    for short in ("", "x" * 31):
        with pytest.raises(ValueError, match="at least 32 bytes"):
            SharedSecret(short)


async def test_issuer_and_audience_are_required_where_they_are_set() -> None:
    verifier = SharedSecret(SECRET, "me", "hub")
    assert (await verifier.verify(shared(iss="me", aud="hub"))).subject == "ann"
    for claims in ({}, {"iss": "me"}, {"aud": "hub"}, {"iss": "you", "aud": "hub"}):
        with pytest.raises(Unauthenticated):
            await verifier.verify(shared(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another service"},
        {"aud": ["another service", "a third"]},
        {"aud": []},
        {"aud": ""},
        {"aud": None},
        {"aud": {"ide-orchestrator": 1}},
        {"aud": [["ide-orchestrator"]]},
        {"aud": ["ide-orchestrator", 1]},
        {"aud": ["ide-orchestrator", None]},
        {"aud": "ide-orchestrator-2"},
        {"aud": 1},
        {"iss": "https://login.example.com"},
        {"iss": ["ide-orchestrator"]},
        {"iss": None},
        {"iss": ""},
        {"iss": "ide-orchestrator", "aud": "another service"},
    ],
    ids=str,
)
async def test_a_token_for_others_is_refused_where_no_audience_is_set(claims: dict[str, Any]) -> None:
    token = compact({"alg": "HS256"}, {"sub": "ann", "exp": 4_000_000_000, **claims}, _sign)
    with pytest.raises(Unauthenticated):
        await SharedSecret(SECRET).verify(token)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": AUDIENCE},
        {"aud": ["another service", AUDIENCE]},
        {"iss": ISSUER},
        {"iss": ISSUER, "aud": [AUDIENCE]},
    ],
    ids=str,
)
async def test_a_token_that_is_made_by_hand_may_name_the_hub_or_nobody(claims: dict[str, Any]) -> None:
    assert (await SharedSecret(SECRET).verify(shared(**claims))).subject == "ann"


async def test_a_development_token_names_its_issuer_and_audience() -> None:
    issued = SharedSecret(SECRET).issue(email="a@b", lifetime=timedelta(minutes=5), now=datetime.now(UTC))
    claims = jwt.decode(issued, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"]) == (ISSUER, AUDIENCE)
    # Another hub with the same key refuses it.
    for other in (SharedSecret(SECRET, "me"), SharedSecret(SECRET, None, "hub")):
        with pytest.raises(Unauthenticated):
            await other.verify(issued)


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({"email": "a@b"}, "a@b"),
        ({"email": "a@b", "email_verified": True}, "a@b"),
        ({"email": "a@b", "email_verified": False}, None),
        ({"email": "a@b", "email_verified": "true"}, "a@b"),
        ({"email": "a@b", "email_verified": "false"}, None),
        ({"email": "a@b", "email_verified": "False"}, None),
        ({"email": "a@b", "email_verified": "no"}, None),
        ({"email": "a@b", "email_verified": None}, None),
        ({"email": "a@b", "email_verified": 0}, None),
        ({"email": "a@b", "email_verified": 1}, None),
        ({"email": "a@b", "email_verified": []}, None),
        ({"email": "a@b", "email_verified": {"value": True}}, None),
        ({"email": "ab"}, None),
        ({"email": ["a@b"]}, None),
        ({}, None),
    ],
    ids=str,
)
async def test_an_email_counts_unless_its_issuer_did_not_verify_it(
    claims: dict[str, Any], email: str | None
) -> None:
    assert (await SharedSecret(SECRET).verify(shared(**claims))).email == email


@pytest.mark.parametrize("exp", [10**12, 10**40, -(10**40), 1e308, "4000000000", True], ids=str)
async def test_an_invalid_time_is_refused(exp: Any) -> None:
    with pytest.raises(Unauthenticated):
        await SharedSecret(SECRET).verify(compact({"alg": "HS256"}, {"sub": "ann", "exp": exp}, _sign))


def _sign(data: bytes) -> bytes:
    return jwt.get_algorithm_by_name("HS256").sign(data, SECRET.encode())


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
def test_any_text_is_a_header_or_refused(token: str) -> None:
    with contextlib.suppress(Unauthenticated):
        header_of(token)
