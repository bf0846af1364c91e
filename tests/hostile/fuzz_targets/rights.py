"""Fuzz targets for what grants rights: tokens, and the addresses that webhooks call."""

from __future__ import annotations

import contextlib
import hmac
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from server.auth.claims import claims_of, header_of
from server.auth.tokens import SharedSecret
from server.domain.errors import Unauthenticated
from server.domain.webhooks.targets import AllowedHosts, BadTarget, parse_target
from tests.hostile.fuzz_targets.target import Target, text_of
from tests.unit.auth.issuer import b64

_SECRET = "a secret that no fuzzer has seen"
_VERIFIER = SharedSecret(_SECRET)
_HEADER = b64(b'{"alg":"HS256"}')
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_NOTHING_ALLOWED = AllowedHosts()


def tokens(data: bytes) -> None:
    """Tokens. One that the hub's key did not sign is never taken, whatever its parts say; claims that it
    did sign are taken or refused."""
    parts = [b64(part) for part in data.split(b"\n")]
    for token in (text_of(data), ".".join(parts)):
        with contextlib.suppress(Unauthenticated):
            header_of(token)
        try:
            _VERIFIER.verify(token).send(None)
        except Unauthenticated:
            continue
        except StopIteration:
            raise AssertionError("a forged token was taken") from None
    signed = f"{_HEADER}.{parts[0]}"
    signature = hmac.new(_SECRET.encode(), signed.encode(), "sha256").digest()
    with contextlib.suppress(Unauthenticated):
        claims_of(f"{signed}.{b64(signature)}", _SECRET, "HS256", issuer="i", audience="a", now=_NOON)


def targets(data: bytes) -> None:
    """Addresses of webhooks: one that may be called has a public host and TLS, and means the same when it is
    written again."""
    try:
        target = parse_target(text_of(data))
    except BadTarget:
        return
    scheme = "https" if target.secure else "http"
    assert parse_target(f"{scheme}://{target.authority}{target.path}") == target
    assert not set("\r\n \t@#\\") & set(target.authority)
    assert not set("\r\n ") & set(target.path)
    try:
        _NOTHING_ALLOWED.check(target)
    except BadTarget:
        return
    assert target.secure
    with contextlib.suppress(ValueError):
        assert ip_address(target.host).is_global


_CLAIMS = b'{"sub":"ann","email":"ann@example.com","iss":"i","aud":"a","exp":1772366400,"nbf":1}'

TARGETS = {
    "tokens": Target(
        tokens,
        [
            _CLAIMS,
            b'{"alg":"none"}\n' + _CLAIMS + b"\n",
            b'{"alg":"HS256"}\n' + _CLAIMS,
            _VERIFIER.issue(email="ann@example.com", lifetime=timedelta(hours=-9), now=_NOON).encode(),
        ],
    ),
    "targets": Target(
        targets,
        [
            b"https://receiver.example:8443/hook?x=1",
            b"http://[::ffff:127.0.0.1]/",
            b"https://8.8.8.8/a",
            b"https://user@0x7f.1/\\evil#x",
        ],
    ),
}
