"""What every token must hold, whichever key signed it: its form, its header and its claims. Pure.

The form is the compact one of RFC 7515 and nothing beside it. A token's own `alg` and `kid` choose among
keys that are already trusted, and never bring one: `jku`, `jwk`, `x5u` and `x5c` are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard
from uuid import NAMESPACE_URL, UUID, uuid5

import jwt

from server.domain.access.stream_authorization import LEEWAY
from server.domain.errors import Unauthenticated
from server.domain.model import Principal

#: Longest token that is looked at, in characters.
MAX_TOKEN_CHARS = 8192
#: Longest subject (OpenID Connect Core 1.0 section 2) and email (RFC 5321), in characters.
MAX_SUBJECT_CHARS, MAX_EMAIL_CHARS = 255, 320
#: `typ` of a token that stands for a caller (RFC 7519, RFC 9068); an issuer signs other kinds, too.
TYPES = frozenset({"jwt", "at+jwt"})

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says of itself, before anything of it is proved."""

    algorithm: str
    kid: str | None


def invalid() -> Unauthenticated:
    """The error of most wrong tokens, without a word about what is wrong."""
    return Unauthenticated("the token is not valid")


def header_of(token: str) -> Header:
    """A token's header. Raises Unauthenticated for what is no token, or none that stands for a caller."""
    if len(token) > MAX_TOKEN_CHARS:
        raise Unauthenticated("the token is too long")
    if not _COMPACT.fullmatch(token):
        raise invalid() from None
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise invalid() from None
    # No extension is understood here, and one that is critical must be (RFC 7515 section 4.1.11).
    if "crit" in header or "b64" in header:
        raise invalid() from None
    kind, algorithm = header.get("typ", "JWT"), header.get("alg")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise invalid() from None
    if not isinstance(algorithm, str):
        raise invalid() from None
    return Header(algorithm, header.get("kid"))


def principal_of(
    token: str,
    key: jwt.PyJWK | str,
    algorithm: str,
    *,
    issuer: str | None,
    audience: str | None,
    now: datetime,
) -> Principal:
    """The caller of a token that `key` must have signed, with `algorithm`, the key's own.

    issuer, audience: required of the token when given. Raises Unauthenticated.
    """
    named = {"iss": issuer, "aud": audience}
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=audience,
            options={
                "require": ["exp", "sub", *(name for name, value in named.items() if value is not None)],
                "verify_aud": audience is not None,
                "enforce_minimum_key_length": True,
                # Times are checked below: PyJWT takes numbers in strings, and the machine's clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise invalid() from None
    expires_at = _moment(claims["exp"])
    for name in ("nbf", "iat"):
        if name in claims and _moment(claims[name]) > now + LEEWAY:
            raise invalid() from None
    if expires_at <= now - LEEWAY:
        raise Unauthenticated("the token has expired: get a new one")
    subject = claims["sub"]
    if not _readable(subject, MAX_SUBJECT_CHARS):
        raise Unauthenticated("the token names no subject")
    email = claims.get("email")
    return Principal(
        user_id=user_id_of(subject, issuer),
        subject=subject,
        email=email if _readable(email, MAX_EMAIL_CHARS) and "@" in email else None,
        expires_at=expires_at,
    )


def user_id_of(subject: str, issuer: str | None) -> UUID:
    """The user id of a token's subject: itself if it is a UUID in its usual form, else one made of it.

    One subject, one id: the other ways to write a UUID are subjects of their own.
    """
    try:
        user_id = UUID(subject)
    except ValueError:
        user_id = None
    if user_id is not None and str(user_id) == subject:
        return user_id
    return uuid5(NAMESPACE_URL, f"{issuer or 'ide-orchestrator'}|{subject}")


def _moment(value: object) -> datetime:
    """A NumericDate (RFC 7519 section 2). Raises Unauthenticated for what is none, or beyond any calendar."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid() from None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise invalid() from None


def _readable(value: object, longest: int) -> TypeGuard[str]:
    """Whether it is a text of 1 to `longest` characters without controls and surrogates."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()
