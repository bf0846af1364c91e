"""The checks of every token, regardless of its key: its form, its header and its claims. Pure.

The form is the compact serialization of RFC 7515. The header's `alg` and `kid` choose among keys that are
already trusted. A token never brings a key: `jku`, `jwk`, `x5u` and `x5c` are ignored.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

import jwt

from server.domain.access.refusals import EXPIRED
from server.domain.access.stream_authorization import LEEWAY
from server.domain.access.users import TokenClaims
from server.domain.errors import Unauthenticated

#: Longest token that is read, in characters.
MAX_TOKEN_CHARS = 8192
#: Longest subject (OpenID Connect Core 1.0 section 2) and longest email (RFC 5321), in characters.
MAX_SUBJECT_CHARS, MAX_EMAIL_CHARS = 255, 320
#: Values of `typ` in access tokens (RFC 7519, RFC 9068). Issuers also sign other kinds of tokens.
ACCESS_TOKEN_TYPES = frozenset({"jwt", "at+jwt"})

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a token. Nothing in it is verified yet."""

    algorithm: str
    kid: str | None


def invalid() -> Unauthenticated:
    """The error for most invalid tokens. It does not say what is wrong."""
    return Unauthenticated("the token is not valid")


def header_of(token: str) -> Header:
    """The header of a token. Raises Unauthenticated when the text is not a token, or not an access token."""
    if len(token) > MAX_TOKEN_CHARS:
        raise Unauthenticated("the token is too long")
    if not _COMPACT.fullmatch(token):
        raise invalid() from None
    try:
        jwt.get_unverified_header(token)  # checks the form of all parts
        header = _json_object(token.partition(".")[0])
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise invalid() from None
    # A critical extension must be understood (RFC 7515 section 4.1.11), and none is here.
    if "crit" in header or "b64" in header:
        raise invalid() from None
    kind, algorithm = header.get("typ", "JWT"), header.get("alg")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in ACCESS_TOKEN_TYPES:
        raise invalid() from None
    if not isinstance(algorithm, str):
        raise invalid() from None
    return Header(algorithm, header.get("kid"))


def claims_of(
    token: str,
    key: jwt.PyJWK | str,
    algorithm: str,
    *,
    issuer: str,
    audience: str,
    now: datetime,
    optional: frozenset[str] = frozenset(),
) -> TokenClaims:
    """What a token says, which must be signed with `key` and the algorithm of that key.

    issuer, audience: the token must name them. optional: `iss` or `aud`, if a token may also lack them; one
    that names others is refused (RFC 7519 section 4.1.3). Raises Unauthenticated.
    """
    try:
        jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            options={
                "require": ["exp", "sub"],
                "enforce_minimum_key_length": True,
                # Checked below: PyJWT has no claim that may be absent but must match.
                "verify_aud": False,
                "verify_iss": False,
                # Times are checked below: PyJWT accepts strings with numbers, and uses the machine's clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        claims: Mapping[str, Any] = _json_object(token.split(".")[1])
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise invalid() from None
    for name, named, expected in (
        ("iss", [claims.get("iss")], issuer),
        ("aud", _audiences(claims.get("aud")), audience),
    ):
        if expected not in named and not (name in optional and name not in claims):
            raise invalid() from None
    expires_at = _numeric_date(claims["exp"])
    for name in ("nbf", "iat"):
        if name in claims and _numeric_date(claims[name]) > now + LEEWAY:
            raise invalid() from None
    if expires_at <= now - LEEWAY:
        raise Unauthenticated("the token has expired: get a new one", reason=EXPIRED)
    subject = claims["sub"]
    if not is_subject(subject):
        raise Unauthenticated("the token has no valid subject")
    return TokenClaims(subject, issuer, _email(claims), expires_at)


def _json_object(part: str) -> dict[str, Any]:
    """The JSON object of a part of a token, in UTF-8 (RFC 8725 section 3.7).

    Another reader of the token must not find other values in it: PyJWT guesses the encoding, and takes the
    last one of several members with the same name. Raises ValueError, RecursionError.
    """
    text = urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
    value = _STRICT.decode(text)
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value


def _unique_members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError("JSON has no such number")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_refuse_constant)


def _audiences(value: object) -> list[object]:
    """The values of `aud`, a text or a list of texts; none if it is anything else."""
    values = value if isinstance(value, list) else [value]
    return values if all(isinstance(each, str) for each in values) else []


def _email(claims: Mapping[str, Any]) -> str | None:
    """The email, unless `email_verified` is present and not true: other users see it as the user's name."""
    email, verified = claims.get("email"), claims.get("email_verified", True)
    if verified is not True and verified != "true":
        return None
    return email if is_email(email) else None


def is_subject(value: object) -> TypeGuard[str]:
    """Whether the value is valid as a token's subject."""
    return _is_printable(value, MAX_SUBJECT_CHARS)


def is_email(value: object) -> TypeGuard[str]:
    """Whether the value is valid as a user's email."""
    return _is_printable(value, MAX_EMAIL_CHARS) and "@" in value


def _numeric_date(value: object) -> datetime:
    """The time of a NumericDate (RFC 7519 section 2). Raises Unauthenticated for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid() from None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise invalid() from None


def _is_printable(value: object, max_chars: int) -> TypeGuard[str]:
    """Whether it is a text of 1 to `max_chars` characters without control characters and surrogates."""
    return isinstance(value, str) and 0 < len(value) <= max_chars and value.isprintable()
