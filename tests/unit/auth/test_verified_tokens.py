from __future__ import annotations

from datetime import UTC, datetime, timedelta

from server.auth.verified_tokens import VerifiedTokens
from server.domain.access.users import TokenClaims

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLAIMS = TokenClaims("ann", "issuer", None, NOW + timedelta(hours=1))


def test_the_oldest_tokens_are_forgotten_first_and_no_more_than_the_limit_are_remembered() -> None:
    verified, keys = VerifiedTokens(max_tokens=2), object()
    for token in "abc":
        verified.add(token, keys, CLAIMS)
    assert [verified.find(token, keys, NOW) for token in "abc"] == [None, CLAIMS, CLAIMS]


def test_a_token_is_known_only_under_the_keys_that_verified_it() -> None:
    verified, before, after = VerifiedTokens(), object(), object()
    verified.add("a", before, CLAIMS)
    assert verified.find("a", after, NOW) is None
    verified.add("b", after, CLAIMS)
    assert verified.find("a", after, NOW) is None
    assert verified.find("b", after, NOW) == CLAIMS


def test_a_token_with_other_claims_and_the_same_signature_is_unknown() -> None:
    verified, keys = VerifiedTokens(), object()
    verified.add("header.ann.signature", keys, CLAIMS)
    assert verified.find("header.bob.signature", keys, NOW) is None
