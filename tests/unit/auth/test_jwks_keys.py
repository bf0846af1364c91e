"""Which keys of a JWK Set are taken, which one a token names, and that no document is too odd to read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from server.auth.claims import Header
from server.auth.jwks import MAX_LISTED_KEYS, BadKeySet, key_for, keys_in
from server.domain.errors import Unauthenticated
from tests.unit.auth.issuer import new_ec, new_ed, new_rsa, public_jwk

RSA, EC, ED = new_rsa(), new_ec(), new_ed()


def taken(*jwks: Any) -> list[tuple[str | None, str]]:
    """Kid and algorithm of the keys that are taken; a key for the rest to lean on is left out."""
    document = json.dumps({"keys": [*jwks, public_jwk(EC, kid="sure")]}).encode()
    return [(key.kid, key.algorithm) for key in keys_in(document) if key.kid != "sure"]


@pytest.mark.parametrize(("key", "name"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
def test_the_key_decides_the_algorithm(key: Any, name: str) -> None:
    assert taken(public_jwk(key, kid="a")) == [("a", name)]
    assert taken(public_jwk(key, kid="a", use="sig", alg=name, key_ops=["verify"])) == [("a", name)]
    assert taken(public_jwk(key)) == [(None, name)]


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"use": ["sig"]},
        {"use": None},
        {"key_ops": []},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "HS256"},
        {"alg": "PS256"},
        {"alg": "none"},
        {"alg": None},
        {"kid": 1},
        {"kty": "oct"},
        {"kty": None},
        {"n": 5},
        {"n": "!"},
        {"e": None},
    ],
    ids=str,
)
def test_a_key_for_another_purpose_is_ignored(members: dict[str, Any]) -> None:
    assert taken(public_jwk(RSA, kid="a") | members) == []


@pytest.mark.parametrize(
    "members",
    [{"crv": "P-384"}, {"crv": "secp256k1"}, {"crv": None}, {"x": "AAAA"}, {"y": "A" * 43}],
    ids=str,
)
def test_a_key_on_another_curve_is_ignored(members: dict[str, Any]) -> None:
    assert taken(public_jwk(EC, kid="a") | members) == []


def test_small_and_huge_keys_are_ignored() -> None:
    assert taken(public_jwk(new_rsa(1024), kid="a")) == []
    huge = public_jwk(RSA, kid="a") | {"n": "_" * 1400}
    assert taken(huge) == []


def test_a_published_private_key_is_only_a_public_key() -> None:
    private: Any = ECAlgorithm.to_jwk(EC, as_dict=True)
    private.pop("key_ops", None)
    document = json.dumps({"keys": [private | {"kid": "a"}]}).encode()
    (key,) = keys_in(document)
    assert isinstance(key.jwk.key, ec.EllipticCurvePublicKey)


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"{}", b'{"keys": []}', b'{"keys": {}}', b"[" * 100_000]
)
def test_a_document_without_a_usable_key_is_an_error(document: bytes) -> None:
    with pytest.raises(BadKeySet):
        keys_in(document)


def test_a_token_without_a_kid_means_the_only_key_of_its_algorithm() -> None:
    keys = keys_in(json.dumps({"keys": [public_jwk(EC, kid="a"), public_jwk(ED, kid="b")]}).encode())
    found = key_for(Header("ES256", None), keys)
    assert found is not None
    assert found.kid == "a"
    assert key_for(Header("RS256", None), keys) is None
    assert key_for(Header("ES256", "b"), keys) is None


@pytest.mark.parametrize("kids", [("a", "b"), ("a", "a"), (None, None)])
def test_several_keys_that_match_are_an_error(kids: tuple[str | None, str | None]) -> None:
    published = [public_jwk(new_ec(), **({"kid": kid} if kid else {})) for kid in kids]
    keys = keys_in(json.dumps({"keys": published}).encode())
    with pytest.raises(Unauthenticated):
        key_for(Header("ES256", "a" if kids == ("a", "a") else None), keys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = ["kty", "kid", "use", "alg", "key_ops", "crv", "x", "y", "n", "e", "d", "k"]


@given(st.lists(JSON | st.dictionaries(st.sampled_from(MEMBERS), JSON), max_size=5))
def test_any_document_gives_keys_or_an_error(listed: list[Any]) -> None:
    with contextlib.suppress(BadKeySet):
        keys_in(json.dumps({"keys": listed}).encode())


@given(st.sampled_from([RSA, EC, ED]), st.sampled_from(MEMBERS), JSON)
def test_a_key_with_one_odd_member_is_used_or_ignored(key: Any, member: str, value: Any) -> None:
    for _, name in taken(public_jwk(key, kid="a") | {member: value}):
        assert name in ("RS256", "ES256", "EdDSA")


def test_only_the_beginning_of_a_long_list_is_looked_at() -> None:
    """Each key that cannot be used takes time, too."""
    usable = [public_jwk(EC, kid="a")]
    weak = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}

    def document(number: int) -> bytes:
        return json.dumps({"keys": [*[weak] * number, *usable]}).encode()

    assert len(keys_in(document(MAX_LISTED_KEYS - 1))) == 1
    with pytest.raises(BadKeySet):
        keys_in(document(MAX_LISTED_KEYS))
