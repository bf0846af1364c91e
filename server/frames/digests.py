"""Digests that stand for values of earlier frames, where only whether a value is the same matters.

A value may have 16 MiB, a user may have 50 runs, and each run remembers such values until it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

_DIGEST_BYTES = 32


def digest_of_texts(texts: Iterable[str]) -> bytes:
    """The digest of a list of texts."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d " % len(encoded))
        digest.update(encoded)
    return digest.digest()


def short(value: bytes) -> bytes:
    """The value, or its digest if it is longer than that."""
    return value if len(value) <= _DIGEST_BYTES else blake2b(value, digest_size=_DIGEST_BYTES).digest()


def short_text(text: str) -> str:
    """As `short`, for a text."""
    if len(text) <= 2 * _DIGEST_BYTES:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    return blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()
