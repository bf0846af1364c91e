"""Etags: the state of a resource that a write is made for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

#: Hexadecimal digits of an etag's digest: 64 bits tell the few states apart that may have had one number.
_ETAG_DIGITS = 16


def strong_etag(number: int, *parts: object) -> str:
    """The strong etag of a state with this number.

    The parts tell it from another state with the same number: a database that lost commits counts on from an
    earlier one.
    """
    return f"{number}-{hashlib.sha256(' '.join(map(str, parts)).encode()).hexdigest()[:_ETAG_DIGITS]}"


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The etags of a write: the resource must have one of them. any_state: any etag will do."""

    etags: frozenset[str] = frozenset()
    any_state: bool = False

    def matches(self, etag: str) -> bool:
        """Whether what has this etag may be written."""
        return self.any_state or etag in self.etags
