"""JSON Web Keys (RFC 7517, RFC 8037): the usable keys of an issuer, and the key that a token names. Pure.

The key decides the algorithm. Only public members are read, so a private key that was published by mistake
works as a public key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from server.auth.claims import Header
from server.domain.errors import Unauthenticated

#: Maximum number of keys that are taken from a set, and of those that are looked at: each takes time, and
#: many together would hold the event loop.
MAX_KEYS, MAX_LISTED_KEYS = 64, 256
#: Size of RSA keys, in bits: smaller keys are weak (RFC 7518 section 3.3), larger ones are slow.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192


class BadKeySet(ValueError):
    """The issuer's document has no usable key."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A supported kind of keys: its algorithm, its curve if it has one, and its public members."""

    algorithm: str
    curve: str | None
    members: tuple[str, ...]


_KINDS = {
    "RSA": _Kind("RS256", None, ("kty", "n", "e")),
    "EC": _Kind("ES256", "P-256", ("kty", "crv", "x", "y")),
    "OKP": _Kind("EdDSA", "Ed25519", ("kty", "crv", "x")),
}
#: All algorithms that a key can have.
ALGORITHMS = frozenset(kind.algorithm for kind in _KINDS.values())


@dataclass(frozen=True, slots=True)
class Key:
    """A key that verifies tokens."""

    kid: str | None
    algorithm: str
    jwk: jwt.PyJWK


def keys_in(document: bytes) -> tuple[Key, ...]:
    """The usable keys of a JWK Set, at most MAX_KEYS, in its order. Raises BadKeySet when there is none among
    the first MAX_LISTED_KEYS.

    Keys of another kind, size or purpose are ignored (RFC 7517 section 5).
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        raise BadKeySet("it is not JSON") from None
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise BadKeySet("it is not a JWK Set")
    usable = tuple(key for _, key in zip(range(MAX_KEYS), _usable(listed[:MAX_LISTED_KEYS]), strict=False))
    if not usable:
        raise BadKeySet("it has no usable key")
    return usable


def key_for(header: Header, keys: Sequence[Key]) -> Key | None:
    """The key that a token's header names; None when no key matches.

    A token without a kid matches all keys of its algorithm. Raises Unauthenticated when several keys match.
    """
    matching = [key for key in keys if key.algorithm == header.algorithm]
    if header.kid is not None:
        matching = [key for key in matching if key.kid == header.kid]
    if len(matching) > 1:
        raise Unauthenticated("the token does not say which key signed it")
    return matching[0] if matching else None


def _usable(listed: Sequence[Any]) -> Iterator[Key]:
    for jwk in listed:
        key = _usable_key(jwk) if isinstance(jwk, dict) else None
        if key is not None:
            yield key


def _usable_key(jwk: Mapping[str, Any]) -> Key | None:
    """The key of a JWK; None if tokens cannot be verified with it."""
    kind, kid = _kind_of(jwk), jwk.get("kid")
    if kind is None or not isinstance(kid, str | None) or not _verifies_signatures(jwk, kind):
        return None
    public_key = _public_key(jwk, kind)
    return None if public_key is None else Key(kid, kind.algorithm, public_key)


def _kind_of(jwk: Mapping[str, Any]) -> _Kind | None:
    """The kind of a JWK, by its type and its curve; None if it is not supported."""
    name = jwk.get("kty")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None or (kind.curve is not None and jwk.get("crv") != kind.curve):
        return None
    return kind


def _verifies_signatures(jwk: Mapping[str, Any], kind: _Kind) -> bool:
    """Whether the JWK may be used to verify signatures with its kind's algorithm; absent members allow it."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("alg", kind.algorithm) == kind.algorithm
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _public_key(jwk: Mapping[str, Any], kind: _Kind) -> jwt.PyJWK | None:
    """The public key of a JWK; None if it is malformed, too small or too large."""
    members = {name: jwk.get(name) for name in kind.members}
    if not all(isinstance(value, str) for value in members.values()):
        return None
    try:
        parsed = jwt.PyJWK(members, kind.algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if isinstance(parsed.key, RSAPublicKey) and not MIN_RSA_BITS <= parsed.key.key_size <= MAX_RSA_BITS:
        return None
    return parsed
