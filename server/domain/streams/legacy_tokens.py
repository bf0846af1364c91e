"""Legacy frames of tokens that follow each other, made together.

`LegacyFrames` makes each legacy frame by itself. Where compiled code is at hand, it makes those of tokens.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Framing:
    """How the transport frames legacy frames.

    part: frames a part of one; the flags say whether it is the first, and the last one. header: what comes
    before a whole one of so many bytes, at most 32 KiB.
    """

    part: Callable[[bytes, bool, bool], bytes]
    header: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class TokensMade:
    """The framed legacy frames of tokens. ends: the index in `data` after each. token: the text of the last
    frame of the runtime's."""

    data: bytes
    ends: array[int]
    token: bytes


class LegacyTokens(Protocol):
    """Makes the legacy frames of tokens."""

    def take(
        self,
        deltas: bytes,
        at: int,
        seq: int,
        last_seq: int,
        token: bytes,
        framing: Framing,
        max_bytes: int,
    ) -> TokensMade | None:
        """Those of the events from `seq` to `last_seq`, as far as they are regular tokens: until they have
        `max_bytes`. None if the first is not. The same as `FrameReconstructor` gives, but faster.

        deltas: a batch of deltas, in which that of `seq` begins at `at`. token: the text of the token frame
        before."""
        ...
