"""Legacy frames whole, as a client receives them; the hub makes and writes them in parts."""

from __future__ import annotations

from server.domain.journal.events import EventKind
from server.domain.journal.frame_reconstruction import FrameReconstructor


def frames_for(
    reconstructor: FrameReconstructor, seq: int, delta: bytes, kind: EventKind | None
) -> list[bytes]:
    """The frames of event `seq`, from a reconstructor that keeps all files."""
    frames = reconstructor.parts_for(seq, delta, kind)
    return [b"".join(part for part in frame if isinstance(part, bytes)) for frame in frames]
