"""The shared secret of all hubs under test, and tokens that it signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from server.auth.tokens import SharedSecret

SECRET = "a secret for tests that is long enough"
VERIFIER = SharedSecret(SECRET)


def token(email: str = "ann@example.com", *, minutes: float = 60) -> str:
    """A token of the user's; with `minutes` below zero one that has expired."""
    return VERIFIER.issue(email=email, lifetime=timedelta(minutes=minutes), now=datetime.now(UTC))


def bearer(value: str) -> dict[str, str]:
    """The header that carries a token; none for an empty one."""
    return {"Authorization": f"Bearer {value}"} if value else {}
