"""Secrets of webhooks, and the headers that sign a call (Standard Webhooks, HMAC-SHA256)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from secrets import token_bytes
from uuid import UUID

#: Begins the secret of every webhook as it is shown.
SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix)
#: Bytes of a secret: as many as the hash has, within the 24 to 64 of the standard.
SECRET_BYTES = 32


def new_secret() -> bytes:
    """A random secret."""
    return token_bytes(SECRET_BYTES)


def shown_secret(secret: bytes) -> str:
    """A secret as receivers get it."""
    return SECRET_PREFIX + b64encode(secret).decode()


def signed_headers(
    event_id: UUID, timestamp: int, body: bytes, secrets: Sequence[bytes]
) -> Mapping[str, str]:
    """The headers of a call, with a signature by each secret. timestamp: of the attempt, in seconds of Unix
    time."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    signatures = (b64encode(hmac.digest(secret, signed, sha256)).decode() for secret in secrets)
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
