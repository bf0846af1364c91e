"""JSON Web Keys (RFC 7517, RFC 8037): which of an issuer's keys are taken, and which a token names. Pure.

The key decides the algorithm. Of a key only its public members are read; one that carries its private half
by mistake is used as the public key that it also is.
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

#: Most keys that are kept of a set.
MAX_KEYS = 64
#: Sizes of RSA keys that are taken, in bits: below it is weak (RFC 7518 section 3.3), above it is slow.
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192


class BadKeySet(ValueError):
    """What the issuer published holds no key that can be used."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of keys: its algorithm, its curve if it has one, and the members of its public half."""

    algorithm: str
    curve: str | None
    members: tuple[str, ...]


_KINDS = {
    "RSA": _Kind("RS256", None, ("kty", "n", "e")),
    "EC": _Kind("ES256", "P-256", ("kty", "crv", "x", "y")),
    "OKP": _Kind("EdDSA", "Ed25519", ("kty", "crv", "x")),
}
#: Every algorithm that a key can have.
ALGORITHMS = frozenset(kind.algorithm for kind in _KINDS.values())


@dataclass(frozen=True, slots=True)
class Key:
    """A key that signs tokens."""

    kid: str | None
    algorithm: str
    jwk: jwt.PyJWK


def keys_in(document: bytes) -> tuple[Key, ...]:
    """The usable keys of a JWK Set, at most MAX_KEYS, in its order. Raises BadKeySet when it has none.

    A key that cannot be used is passed over (RFC 7517 section 5): one of another kind, size or purpose.
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError):
        raise BadKeySet("it is no JSON") from None
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise BadKeySet("it is no JWK Set")
    usable = tuple(key for _, key in zip(range(MAX_KEYS), _usable(listed), strict=False))
    if not usable:
        raise BadKeySet("it has no usable key")
    return usable


def key_for(header: Header, keys: Sequence[Key]) -> Key | None:
    """The key that a token's header names, None when there is none such.

    A token without a kid means the only key of its algorithm. Raises Unauthenticated when several fit.
    """
    fitting = [key for key in keys if key.algorithm == header.algorithm]
    if header.kid is not None:
        fitting = [key for key in fitting if key.kid == header.kid]
    if len(fitting) > 1:
        raise Unauthenticated("the token does not say which key signed it")
    return fitting[0] if fitting else None


def _usable(listed: Sequence[Any]) -> Iterator[Key]:
    for jwk in listed:
        key = _key(jwk) if isinstance(jwk, dict) else None
        if key is not None:
            yield key


def _key(jwk: Mapping[str, Any]) -> Key | None:
    """The key of a JWK if tokens may be signed with it."""
    name, kid = jwk.get("kty"), jwk.get("kid")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None or not isinstance(kid, str | None):
        return None
    purposes = jwk.get("key_ops", ["verify"])
    if (
        jwk.get("alg", kind.algorithm) != kind.algorithm
        or jwk.get("use", "sig") != "sig"
        or not isinstance(purposes, list)
        or "verify" not in purposes
        or (kind.curve is not None and jwk.get("crv") != kind.curve)
    ):
        return None
    public = {member: jwk.get(member) for member in kind.members}
    if not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        made = jwt.PyJWK(public, kind.algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if isinstance(made.key, RSAPublicKey) and not MIN_RSA_BITS <= made.key.key_size <= MAX_RSA_BITS:
        return None
    return Key(kid, kind.algorithm, made)
