"""Events as messages of a WebSocket."""

from __future__ import annotations

import pytest

from server.domain.journal.segments import Segment
from server.http.event_encoders import ProtoEventEncoder
from server.http.websocket_frames import FRAME_BYTES


@pytest.mark.parametrize("limit", [None, 1 << 20])
@pytest.mark.parametrize("size", [1, 122, 123, 124, 127, 128, 16_383, 16_384, FRAME_BYTES - 16])
async def test_readers_at_the_live_end_get_the_message_that_others_read(size: int, limit: int | None) -> None:
    encoder, segment = ProtoEventEncoder(limit), Segment(1, 1, b"x" * size, b"")
    assert [encoder.at_hand(segment)] == [frames async for frames, _ in encoder.segment(segment)]


@pytest.mark.parametrize(("size", "limit"), [(FRAME_BYTES, None), (100, 99)])
def test_a_large_message_is_not_made_for_all_readers_at_once(size: int, limit: int | None) -> None:
    assert ProtoEventEncoder(limit).at_hand(Segment(1, 1, b"x" * size, b"")) is None
