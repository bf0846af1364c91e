"""The digests of frames that begin as the one before: what both have is not hashed again."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from server.encoding.frame_delta import DIGEST_BYTES

#: Bytes between two states of the hash that are kept, and what Python needs for one.
STEP_BYTES, _STATE_BYTES = 16 << 10, 450


class PrefixDigest:
    """The digest of one frame, as `frame_digest`, and the hash's states on the way to it."""

    def __init__(self, states: Sequence[blake2b] = ()) -> None:
        """states: the hash after each STEP_BYTES of the frame's beginning. They are never changed."""
        self._states = list(states)

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept."""
        return _STATE_BYTES * len(self._states)

    def __deepcopy__(self, memo: object) -> PrefixDigest:
        return PrefixDigest(self._states)

    def of_next(self, same_bytes: int) -> PrefixDigest:
        """That of a frame with so many bytes at its beginning that this one has, too."""
        return PrefixDigest(self._states[: same_bytes // STEP_BYTES])

    def of(self, frame: bytes) -> bytes:
        """The digest of the frame."""
        states = self._states
        hashed = states[-1].copy() if states else blake2b(digest_size=DIGEST_BYTES)
        view, at = memoryview(frame), STEP_BYTES * len(states)
        for end in range(at + STEP_BYTES, len(frame) + 1, STEP_BYTES):
            hashed.update(view[at:end])
            states.append(hashed.copy())
            at = end
        hashed.update(view[at:])
        return hashed.digest()
